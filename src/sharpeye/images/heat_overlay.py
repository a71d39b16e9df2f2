"""Overlay heat maps on images: upsample the cells of a model's input, and colour them."""

import math

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Floats
from sharpeye.core.types import InputSpec
from sharpeye.images.resize import placement

# Nine of inferno's colours, from cold to hot: each is lighter than the one before, to the
# colour-blind and in grey too. Smith and van der Walt, https://bids.github.io/colormap/, CC0.
COLOURS = (
    *((0, 0, 4), (31, 12, 72), (85, 15, 109)),
    *((136, 34, 106), (186, 54, 85), (227, 89, 51)),
    *((249, 140, 10), (249, 201, 50), (252, 255, 164)),
)
# Opacity of the colour at the hottest point: the image below must stay visible.
_MAX_OPACITY = 0.8


def upsample_heat_map(
    cells: Floats, decoded: tuple[int, int], spec: InputSpec, *, size: tuple[int, int]
) -> Floats:
    """Resize a heat map over a model's input to the image that the input was made from.

    It is smooth between the centres of the cells (bicubic), 0 where a crop cut the image off, and
    without the cells on padding.

    Args:
        cells: float[h,w], any range, over all of the input.
        decoded: width and height of the upright image that was fitted.
        size: width and height of the result, with the image's aspect ratio.

    Returns:
        float32[H,W], 0..1: the positive part divided by its maximum; all 0 without a positive part.
    """
    scale_x, scale_y, left, top = placement(decoded, spec)
    height, width = cells.shape
    x, columns = _visible_span(left, scale_x * decoded[0], spec.width, cells=width, pixels=size[0])
    y, rows = _visible_span(top, scale_y * decoded[1], spec.height, cells=height, pixels=size[1])
    heat = np.zeros(size[::-1], np.float32)
    source = Image.fromarray(np.ascontiguousarray(cells, np.float32))
    visible_size = (x[1] - x[0], y[1] - y[0])
    box = (columns[0], rows[0], columns[1], rows[1])
    visible = np.asarray(source.resize(visible_size, Image.Resampling.BICUBIC, box))
    heat[y[0] : y[1], x[0] : x[1]] = np.maximum(visible, 0)
    highest = heat.max()
    if highest > 0:
        heat /= highest
    return heat


def _visible_span(
    start: float, length: float, input_pixels: int, *, cells: int, pixels: int
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Along one axis: the pixels of the image that the model sees, and their range of cells."""
    low, high = max(0.0, -start / length), min(1.0, (input_pixels - start) / length)
    first = min(round(low * pixels), pixels - 1)
    last = max(round(high * pixels), first + 1)
    # The ends of whole pixels, since only whole pixels are filled.
    ends = [(start + at / pixels * length) / input_pixels * cells for at in (first, last)]
    low, high = max(0.0, ends[0]), min(float(cells), ends[1])
    return (first, last), (min(low, math.nextafter(high, 0)), high)


def colorize(image: Image.Image, heat: Floats) -> Image.Image:
    """A grey version of an image under a heat map, whose opacity rises with its value.

    Grey, because a red image would hide the map's red. `image` is not changed.

    Args:
        heat: float[H,W], 0..1, of the same size.
    """
    level = Image.fromarray(np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8))
    steps = np.linspace(0, 255, len(COLOURS))
    channels = [
        level.point([round(v) for v in np.interp(range(256), steps, channel)])
        for channel in zip(*COLOURS, strict=True)
    ]
    overlay = image.convert("L").convert("RGB")
    opacity = level.point([round(_MAX_OPACITY * v) for v in range(256)])
    overlay.paste(Image.merge("RGB", channels), mask=opacity)
    return overlay
