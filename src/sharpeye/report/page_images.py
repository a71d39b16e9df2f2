"""Put small images into a page: as `data:` addresses, with the boxes and heat maps over them."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.types import Box, InputSpec, Sample
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.images.boxes import to_input
from sharpeye.images.heat_overlay import colorize

# 200 px and quality 80 are 6 to 12 kB a photograph: 60 of them stay under 1 MB.
THUMB = InputSpec(height=200, width=200)
_SIZE = (THUMB.width, THUMB.height)
_QUALITY = 80
# JPEG smears icons and 32 px data sets, and saves nothing on them.
_MAX_TINY_PIXELS = 64


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box over a thumbnail, in pixels of the square that the thumbnail lies in the middle of.

    Attributes:
        kind: "true" or "predicted", a class of the style sheet.
        x, y: upper left corner.
        width, height: at least a pixel, so that a box without area is seen.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class PageImage:
    """A thumbnail.

    Attributes:
        sample: the image that it shows.
        address: a `data:` address, or None if the file cannot be read any more.
        tiny: so small that the page shows its pixels as squares.
        boxes: over the square of `THUMB`.
        heated: the address of the same with a heat map over it; None if there is no map.
    """

    sample: Sample
    address: str | None = None
    tiny: bool = False
    boxes: tuple[Rectangle, ...] = ()
    heated: str | None = None


def page_image(
    sample: Sample, predicted_box: Box | None = None, heat: npt.NDArray[np.float32] | None = None
) -> PageImage:
    """Read an image again and make its thumbnail.

    Args:
        predicted_box: shares 0..1 of the upright image; with it, both boxes are drawn.
        heat: float32[h,w], 0..1, over the upright image.
    """
    try:
        image = read_image(sample, _SIZE)
    except ImageReadError:
        return PageImage(sample)
    tiny = max(image.size) <= _MAX_TINY_PIXELS
    boxes = rectangles(sample.box, predicted_box, image.size) if predicted_box else ()
    image.thumbnail(_SIZE, Image.Resampling.LANCZOS)
    # Comments, places and camera serial numbers must not travel with a page that is passed on.
    image.info.clear()
    heated = None if heat is None else _data_address(_overlay(image, heat, tiny=tiny), tiny=False)
    return PageImage(sample, _data_address(image, tiny=tiny), tiny, boxes, heated)


def rectangles(
    true: Box | None, predicted: Box | None, size: tuple[int, int], *, square: InputSpec = THUMB
) -> tuple[Rectangle, ...]:
    """The boxes that there are, the true one first.

    Args:
        true, predicted: shares 0..1 of the upright image.
        size: width and height of the upright image, or in their proportion.
        square: the place of the thumbnail.
    """
    boxes = (("true", true), ("predicted", predicted))
    return tuple(
        _rectangle(kind, box, size, square=square) for kind, box in boxes if box is not None
    )


def _rectangle(kind: str, box: Box, size: tuple[int, int], *, square: InputSpec) -> Rectangle:
    left, top, right, bottom = to_input(box, size, square)
    width, height = (
        max(1.0, (right - left) * square.width),
        max(1.0, (bottom - top) * square.height),
    )
    x, y = left * square.width, top * square.height
    return Rectangle(kind, round(x, 1), round(y, 1), round(width, 1), round(height, 1))


def _overlay(image: Image.Image, heat: npt.NDArray[np.float32], *, tiny: bool) -> Image.Image:
    """A thumbnail with a heat map, which is smooth on a tiny one too."""
    if tiny:
        times = THUMB.width // max(image.size)
        size = (image.width * times, image.height * times)
        image = image.resize(size, Image.Resampling.NEAREST)
    heat_image = Image.fromarray(heat).resize(image.size, Image.Resampling.BILINEAR)
    return colorize(image, np.asarray(heat_image))


def _data_address(image: Image.Image, *, tiny: bool) -> str:
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
