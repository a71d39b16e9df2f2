"""Draw images of single objects whose bounding boxes are known exactly.

An image is a background, an object in another colour, and the object's coverage of every pixel.
Boxes are measured on that coverage, so they are exact to the pixel for any rotation.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sharpeye.core.arrays import Bools, Floats, Pixels
from sharpeye.images.voc_xml import VocObject, write_voc

Random = np.random.Generator

_SUPERSAMPLING = 4  # each pixel's coverage is counted on 4 x 4 points


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawn image."""

    pixels: Pixels  # uint8[H,W,3], RGB
    mask: Bools  # bool[H,W], the pixels of which the object covers more than half


def _corners(count: int, radii: tuple[float, ...] = (1.0,)) -> Floats:
    """float32[count,2]: corners (x, y) at equal angles, the first one up, and radii in turn."""
    radians = np.arange(count) * (2 * np.pi / count)
    radius = np.resize(radii, count)
    corners = np.stack([radius * np.sin(radians), -radius * np.cos(radians)], axis=1)
    return corners.astype(np.float32)


def _cross(arm: float) -> Floats:
    """float32[12,2]: a plus sign whose arms are 2 * `arm` wide and end on the unit circle."""
    tip = float(np.sqrt(1 - arm**2))
    quarter = np.array([(-arm, -tip), (arm, -tip), (arm, -arm)])
    directions = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    quarters = [quarter @ np.array([(c, s), (-s, c)]) for c, s in directions]
    return np.concatenate(quarters).astype(np.float32)


# Every outline lies in the unit circle, so that a centre and a radius keep it inside an image.
# A second outline is a hole. Append only: a class's index in the table is part of its seed.
SHAPES: dict[str, tuple[Floats, ...]] = {
    "circle": (_corners(180),),
    "square": (_corners(4),),
    "triangle": (_corners(3),),
    "star": (_corners(10, (1.0, 0.45)),),
    "ring": (_corners(180), 0.6 * _corners(180)),
    "cross": (_cross(0.3),),
}


def draw_shape(name: str, random: Random) -> Drawing:
    """Draw one object of `SHAPES`, wholly inside an image of 160..320 x 120..240 pixels.

    Size, rotation, position, colours and background are random.
    """
    width, height = int(random.integers(160, 321)), int(random.integers(120, 241))
    hue = random.uniform()
    background = _background(random, width, height, hue=hue)
    coverage = _coverage(SHAPES[name], random, width, height=height)
    # A third to two thirds of the colour circle away, and so never the background's colour.
    rgb = _rgb(hue + random.uniform(1 / 3, 2 / 3), random.uniform(0.75, 1), random.uniform(0.7, 1))
    light = 1.0 - 0.25 * _gradient(random, width, height)[..., None]
    image = background + coverage[..., None] * (rgb * light - background)
    image += random.normal(0, 0.012, image.shape).astype(np.float32)  # sensor noise
    pixels = np.rint(image * 255).clip(0, 255).astype(np.uint8)
    return Drawing(pixels, coverage > 0.5)


def box_of_mask(mask: Bools) -> tuple[int, int, int, int]:
    """The box around the pixels of a mask, bool[H,W] with at least one set, as Pascal VOC counts.

    Returns:
        (xmin, ymin, xmax, ymax) in pixels, 1-based, the last ones included.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]) + 1, int(rows[0]) + 1, int(columns[-1]) + 1, int(rows[-1]) + 1


def voc_annotation(folder: str, filename: str, label: str, *, drawing: Drawing) -> bytes:
    """The Pascal VOC annotation of one drawing, UTF-8 XML laid out as LabelImg writes it.

    It has no `path`: an absolute path would be wrong as soon as the folder is moved.
    """
    height, width, depth = drawing.pixels.shape
    item = VocObject(label, *box_of_mask(drawing.mask))
    return write_voc(
        folder, filename, (width, height), objects=[item], database="SharpEye", depth=depth
    )


def _rgb(hue: float, saturation: float, value: float) -> Floats:
    """float32[3] 0..1; `hue` in turns, any float."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _coverage(outlines: tuple[Floats, ...], random: Random, width: int, *, height: int) -> Floats:
    """float32[height,width] 0..1: the share of every pixel that the object covers."""
    radius = random.uniform(0.17, 0.43) * min(width, height)
    x, y = random.uniform(radius + 2, (width - radius - 2, height - radius - 2))
    radians = random.uniform(0, 2 * np.pi)
    c, s = np.cos(radians), np.sin(radians)
    canvas = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for outline, ink in zip(outlines, (255, 0), strict=False):
        corners = radius * outline @ np.array([(c, s), (-s, c)]) + (x, y)
        pen.polygon([(px, py) for px, py in (corners * _SUPERSAMPLING).tolist()], fill=ink)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / np.float32(255)


def _background(random: Random, width: int, height: int, *, hue: float) -> Floats:
    """float32[height,width,3] 0..1: two dull colours near `hue`, mixed by one of `_MIXTURES`."""
    first, second = (
        _rgb(hue + random.uniform(-0.06, 0.06), random.uniform(0.1, 0.5), value)
        for value in random.permutation([random.uniform(0.2, 0.5), random.uniform(0.55, 0.95)])
    )
    mixture = _MIXTURES[random.integers(len(_MIXTURES))](random, width, height)[..., None]
    return first + mixture * (second - first)


def _gradient(random: Random, width: int, height: int) -> Floats:
    """float32[height,width]: 0..1 from one side to the other, in a random direction."""
    along = _distance_along(random, width, height)
    low, high = along.min(), along.max()
    return np.asarray((along - low) / (high - low), np.float32)


def _stripes(random: Random, width: int, height: int) -> Floats:
    """float32[height,width] 0..1: waves 10..45 pixels long, from soft to nearly sharp."""
    along = _distance_along(random, width, height)
    waves = np.sin(along * np.float32(2 * np.pi / random.uniform(10, 45)))
    sharpness = random.uniform(1, 6)
    return np.asarray(0.5 + 0.5 * np.tanh(sharpness * waves) / np.tanh(sharpness), np.float32)


def _noise(random: Random, width: int, height: int) -> Floats:
    """float32[height,width] 0..1: grain over coarser patches, both faint."""
    patches = _upscaled(random, 24, width, height=height)
    grain = random.normal(0, 0.1, (height, width)).astype(np.float32)
    return (0.25 + 0.5 * patches + grain).clip(0, 1)


def _blobs(random: Random, width: int, height: int) -> Floats:
    """float32[height,width] 0..1: a few large soft patches."""
    return _upscaled(random, int(random.integers(3, 7)), width, height=height)


def _distance_along(random: Random, width: int, height: int) -> Floats:
    """float32[height,width]: pixels along a random direction."""
    radians = random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(columns * np.cos(radians) + rows * np.sin(radians), np.float32)


def _upscaled(random: Random, cells: int, width: int, *, height: int) -> Floats:
    """float32[height,width] 0..1: `cells` x `cells` random values, blended smoothly."""
    grid = Image.fromarray(random.uniform(0, 1, (cells, cells)).astype(np.float32))
    smooth = grid.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32).clip(0, 1)


_MIXTURES = (_gradient, _stripes, _noise, _blobs)
