"""Embed small images into a page as `data:` URLs, with boxes and heat maps over them."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Floats
from sharpeye.core.types import Box, InputSpec, Sample
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.images.boxes import to_input
from sharpeye.images.heat_overlay import colorize

# 200 px and quality 80 are 6 to 12 kB a photograph: 60 of them stay under 1 MB.
THUMB = InputSpec(height=200, width=200)
_SIZE = (THUMB.width, THUMB.height)
_QUALITY = 80
# JPEG blurs icons and 32 px data sets, without saving space.
_MAX_TINY_PIXELS = 64


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box over a thumbnail, in pixels of the square around the centred thumbnail."""

    kind: str  # "true" or "predicted", a class of the style sheet
    x: float
    y: float
    width: float  # at least a pixel, so that a box without area is visible
    height: float


@dataclass(frozen=True, slots=True)
class PageImage:
    """A thumbnail."""

    sample: Sample
    address: str | None = None  # a `data:` URL; None if the file is no longer readable
    tiny: bool = False  # whether the page shows its pixels as squares
    boxes: tuple[Rectangle, ...] = ()  # boxes over the square of `THUMB`
    heated: str | None = None  # the URL of the thumbnail with a heat map


def page_image(
    sample: Sample, predicted_box: Box | None = None, heat: Floats | None = None
) -> PageImage:
    """Read an image again and make its thumbnail.

    With `predicted_box`, shares 0..1 of the upright image, both boxes are drawn; `heat` is
    float32[h,w], 0..1, over the upright image.
    """
    try:
        image = read_image(sample, _SIZE)
    except ImageReadError:
        return PageImage(sample)
    tiny = max(image.size) <= _MAX_TINY_PIXELS
    boxes = rectangles(sample.box, predicted_box, image.size) if predicted_box else ()
    image.thumbnail(_SIZE, Image.Resampling.LANCZOS)
    # The page must not contain comments, places and camera serial numbers of the image.
    image.info.clear()
    heated = None if heat is None else _data_address(_overlay(image, heat, tiny=tiny), tiny=False)
    return PageImage(sample, _data_address(image, tiny=tiny), tiny, boxes, heated)


def rectangles(
    true: Box | None, predicted: Box | None, size: tuple[int, int], *, square: InputSpec = THUMB
) -> tuple[Rectangle, ...]:
    """The existing boxes, the true one first.

    Args:
        true, predicted: shares 0..1 of the upright image.
        size: width and height of the upright image, or proportional to them.
        square: the side of the square around the centred thumbnail.
    """
    drawn = []
    for kind, box in (("true", true), ("predicted", predicted)):
        if box is not None:
            left, top, right, bottom = to_input(box, size, square)
            width = max(1.0, (right - left) * square.width)
            height = max(1.0, (bottom - top) * square.height)
            edges = (left * square.width, top * square.height, width, height)
            drawn.append(Rectangle(kind, *(round(edge, 1) for edge in edges)))
    return tuple(drawn)


def _overlay(image: Image.Image, heat: Floats, *, tiny: bool) -> Image.Image:
    """A thumbnail with a heat map, which is smooth even on a tiny one."""
    if tiny:
        times = THUMB.width // max(image.size)
        size = (image.width * times, image.height * times)
        image = image.resize(size, Image.Resampling.NEAREST)
    heat_image = Image.fromarray(heat).resize(image.size, Image.Resampling.BILINEAR)
    return colorize(image, np.asarray(heat_image))


def _data_address(image: Image.Image, *, tiny: bool) -> str:
    buffer, kind = io.BytesIO(), "png" if tiny else "jpeg"
    options = {} if tiny else {"quality": _QUALITY, "optimize": True}
    # A copy: Pillow asks for the current folder, which may be gone, to save an image from a file.
    image.copy().save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
