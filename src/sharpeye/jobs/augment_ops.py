"""What `sharpeye augment` makes of an image: eight fixed changes, or random ones, with its boxes.

An image is uint8[H,W,3], RGB; boxes are float64[M,4], shares 0..1 of it, M may be 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from sharpeye.core.config import AugmentConfig
from sharpeye.learn.nets.box_augment import clip_boxes, draw_moves, move_boxes

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float64]

# What a random change may be: mild enough for every kind of object.
_MOVES = AugmentConfig(flip=True, shift=10, rotate=15, zoom=20)
_MAX_COLOUR = 0.2  # brightness, contrast and saturation, as a factor up and down
_MAX_NOISE = 8.0  # deviation, grey levels
_FILL = (127, 127, 127)  # the padding of most networks' input

_MIN_KEPT = 0.9  # of each object's box, where an image has several
_TRIES = 20
_CUT = 0.98  # an object of which less is left is marked as truncated
_BAND_ROWS = 256  # noise is drawn for so many rows at a time: floats take much memory


@dataclass(frozen=True)
class Changed:
    """A changed image.

    Attributes:
        pixels: uint8[H,W,3].
        boxes: float64[M,4], in the order of the objects.
        cut: bool[M], whether part of the object was lost over the border.
    """

    pixels: Pixels
    boxes: Boxes
    cut: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FixedChange:
    """One of the eight: mirrored left to right (y), upside down (x), noisy, or several of these."""

    y: bool
    x: bool
    noised: bool

    @property
    def ending(self) -> str:
        """Of the file's name, as in `y_x_noised`; empty for the image itself."""
        parts = (("y", self.y), ("x", self.x), ("noised", self.noised))
        return "_".join(name for name, on in parts if on)

    def apply(self, image: Image.Image, boxes: Boxes, random: np.random.Generator) -> Changed:
        """The image changed so, and where its objects come to lie."""
        pixels = np.asarray(image)
        xmin, ymin, xmax, ymax = boxes.T
        if self.y:
            pixels, xmin, xmax = pixels[:, ::-1], 1 - xmax, 1 - xmin
        if self.x:
            pixels, ymin, ymax = pixels[::-1], 1 - ymax, 1 - ymin
        if self.noised:
            pixels = _one_sided_noise(pixels, _deviation(image), random)
        moved = np.stack([xmin, ymin, xmax, ymax], axis=1)
        return Changed(pixels, moved, np.zeros(len(boxes), np.bool_))


EIGHT = tuple(FixedChange(y, x, noised) for noised, x, y in product((False, True), repeat=3))


@dataclass(frozen=True)
class RandomChange:
    """The `number`-th random one: mirrored, shifted, zoomed, turned, in other colours, noisy."""

    number: int

    @property
    def ending(self) -> str:
        return f"r{self.number}"

    def apply(self, image: Image.Image, boxes: Boxes, random: np.random.Generator) -> Changed:
        """The image changed at random, at its own size; every object stays in sight.

        What comes in over the border is grey.
        """
        draws = _draw_moves(boxes, (image.height, image.width), random)
        image = image.transform(
            image.size,
            Image.Transform.AFFINE,
            _sources(draws, image.size),
            Image.Resampling.BICUBIC,
            fillcolor=_FILL,
        )
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = kind(image).enhance(random.uniform(1 - _MAX_COLOUR, 1 + _MAX_COLOUR))
        pixels = _normal_noise(np.asarray(image), random.uniform(0, _MAX_NOISE), random)
        moved = move_boxes(boxes, draws, image.height, image.width)
        return Changed(pixels, clip_boxes(moved), _kept(moved) < _CUT)


def _draw_moves(
    boxes: Boxes, size: tuple[int, int], random: np.random.Generator
) -> dict[str, npt.NDArray[Any]]:
    """Draws for one image [1,...] that keep all of its objects in sight; without, its centre."""
    around = np.array([[0.5, 0.5, 0.5, 0.5]])
    if len(boxes):
        around = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]
    height, width = size
    most_shift = (round(height * _MOVES.shift / 100), round(width * _MOVES.shift / 100))
    for _ in range(_TRIES):
        draws = draw_moves(around, _MOVES, size, most_shift, random)
        # What lies in a corner of the box around all may leave the image as that is turned.
        if (_kept(move_boxes(boxes, draws, *size)) >= _MIN_KEPT).all():
            return draws
    return {"flip": draws["flip"]}


def _kept(boxes: Boxes) -> npt.NDArray[np.float64]:
    """float64[M]: which share of each box lies in the image."""
    sides, seen = boxes[:, 2:] - boxes[:, :2], clip_boxes(boxes)
    share = np.prod((seen[:, 2:] - seen[:, :2]) / np.maximum(sides, 1e-9), axis=1)
    return np.asarray(share, np.float64)


def _sources(
    draws: dict[str, npt.NDArray[Any]], size: tuple[int, int]
) -> tuple[float, float, float, float, float, float]:
    """Pillow's six numbers: where each point of the result comes from; `move_boxes` undone."""
    middle_x, middle_y = size[0] / 2, size[1] / 2
    radians = np.radians(float(draws["angle"][0])) if "angle" in draws else 0.0
    zoom = float(draws["zoom"][0]) if "zoom" in draws else 1.0
    down, right = draws["shift"][0].tolist() if "shift" in draws else (0, 0)
    side = -1.0 if draws["flip"][0] else 1.0
    cos, sin = float(np.cos(radians)) / zoom, float(np.sin(radians)) / zoom
    a, b, d, e = side * cos, -side * sin, sin, cos
    x, y = middle_x + right, middle_y + down
    return a, b, middle_x - a * x - b * y, d, e, middle_y - d * x - e * y


def _deviation(image: Image.Image) -> float:
    """The standard deviation of all grey levels of all channels."""
    counts = np.array(image.histogram()).reshape(-1, 256).sum(axis=0)
    levels = np.arange(256)
    mean = np.average(levels, weights=counts)
    return float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))


def _one_sided_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """pixels + 2 * deviation * U[0, 1), which makes an image brighter by its deviation."""
    return _banded(
        pixels, lambda shape: 2 * np.float32(deviation) * random.random(shape, np.float32)
    )


def _normal_noise(pixels: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    return _banded(
        pixels, lambda shape: np.float32(deviation) * random.standard_normal(shape, np.float32)
    )


def _banded(pixels: Pixels, draw: Callable[[tuple[int, ...]], npt.NDArray[np.float32]]) -> Pixels:
    """Add what is drawn, rounded, within 0..255."""
    found = np.empty_like(pixels)
    for start in range(0, len(pixels), _BAND_ROWS):
        band = pixels[start : start + _BAND_ROWS]
        noisy = np.rint(band + draw(band.shape))
        found[start : start + _BAND_ROWS] = np.clip(noisy, 0, 255)
    return found
