"""The augmentations of `sharpeye augment`: eight fixed ones, or random ones, of image and boxes.

An image is uint8[H,W,3], RGB. Boxes are float64[M,4], shares 0..1 of the image; M may be 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageEnhance

from sharpeye.core.arrays import Bools, Floats, Pixels
from sharpeye.core.config import AugmentConfig
from sharpeye.learn.nets.box_augment import Draws, clip_boxes, draw_moves, move_boxes

# Limits of random augmentations, mild enough for every kind of object.
_MOVES = AugmentConfig(flip=True, shift=10, rotate=15, zoom=20)
_MAX_COLOUR_CHANGE = 0.2  # of brightness, contrast and saturation, as a factor up and down
_MAX_NOISE_DEVIATION = 8.0  # grey levels
_FILL = (127, 127, 127)  # the padding of most networks' input

_MIN_VISIBLE = 0.9  # of each object's box, if an image has several
_MAX_DRAWS = 20
_TRUNCATED_BELOW = 0.98  # An object with a smaller visible share is marked as truncated.
_NOISE_ROWS = 256  # Noise is drawn for so many rows at a time, to save memory.


@dataclass(frozen=True)
class AugmentedImage:
    """An augmented image, and for each object whether a part of it left the image."""

    pixels: Pixels
    boxes: Floats
    truncated: Bools


@dataclass(frozen=True)
class FixedAugmentation:
    """One of the eight combinations of mirroring (y), turning upside down (x), and noise."""

    mirrored: bool
    upside_down: bool
    noisy: bool

    @property
    def name(self) -> str:
        """The end of the file's name, such as `y_x_noised`; empty for the image itself."""
        names = (("y", self.mirrored), ("x", self.upside_down), ("noised", self.noisy))
        return "_".join(name for name, applied in names if applied)

    def apply(self, image: Image.Image, boxes: Floats, rng: np.random.Generator) -> AugmentedImage:
        pixels = np.asarray(image)
        xmin, ymin, xmax, ymax = boxes.T
        if self.mirrored:
            pixels, xmin, xmax = pixels[:, ::-1], 1 - xmax, 1 - xmin
        if self.upside_down:
            pixels, ymin, ymax = pixels[::-1], 1 - ymax, 1 - ymin
        if self.noisy:
            # 2 * deviation * U[0, 1) brightens an image by its deviation on average.
            pixels = _add_noise(pixels, 2 * np.float32(_deviation(image)), rng.random)
        moved = np.stack([xmin, ymin, xmax, ymax], axis=1)
        return AugmentedImage(pixels, moved, np.zeros(len(boxes), np.bool_))


FIXED_AUGMENTATIONS = tuple(
    FixedAugmentation(mirrored, upside_down, noisy)
    for noisy, upside_down, mirrored in product((False, True), repeat=3)
)


@dataclass(frozen=True)
class RandomAugmentation:
    """A numbered random augmentation: flip, shift, zoom, rotation, colours and noise."""

    number: int

    @property
    def name(self) -> str:
        """The end of the file's name, such as `r3`."""
        return f"r{self.number}"

    def apply(self, image: Image.Image, boxes: Floats, rng: np.random.Generator) -> AugmentedImage:
        """Augment an image at its own size, on a grey background; every object stays visible."""
        draws = _draw_moves(boxes, (image.height, image.width), rng)
        image = image.transform(
            image.size,
            Image.Transform.AFFINE,
            _affine_coefficients(draws, image.size),
            Image.Resampling.BICUBIC,
            fillcolor=_FILL,
        )
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            factor = rng.uniform(1 - _MAX_COLOUR_CHANGE, 1 + _MAX_COLOUR_CHANGE)
            image = kind(image).enhance(factor)
        deviation = rng.uniform(0, _MAX_NOISE_DEVIATION)
        pixels = _add_noise(np.asarray(image), np.float32(deviation), rng.standard_normal)
        moved = move_boxes(boxes, draws, (image.height, image.width))
        truncated = _visible_shares(moved) < _TRUNCATED_BELOW
        return AugmentedImage(pixels, clip_boxes(moved), truncated)


def _draw_moves(boxes: Floats, size: tuple[int, int], rng: np.random.Generator) -> Draws:
    """Moves of one image [1,...] that keep all objects visible; without objects, its centre."""
    around_all = np.array([[0.5, 0.5, 0.5, 0.5]])
    if len(boxes):
        around_all = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]
    height, width = size
    max_shift = (round(height * _MOVES.shift / 100), round(width * _MOVES.shift / 100))
    for _ in range(_MAX_DRAWS):
        draws = draw_moves(around_all, _MOVES, size, max_shift=max_shift, random=rng)
        # A rotation may move an object in a corner of the common box out of the image.
        if (_visible_shares(move_boxes(boxes, draws, size)) >= _MIN_VISIBLE).all():
            return draws
    return {"flip": draws["flip"]}


def _visible_shares(boxes: Floats) -> Floats:
    """float64[M], 0..1: the share of each box that lies in the image."""
    sides, visible = boxes[:, 2:] - boxes[:, :2], clip_boxes(boxes)
    shares: Floats = np.prod((visible[:, 2:] - visible[:, :2]) / np.maximum(sides, 1e-9), axis=1)
    return shares


def _affine_coefficients(
    draws: Draws, size: tuple[int, int]
) -> tuple[float, float, float, float, float, float]:
    """Pillow's six numbers from a point of the result to its source: `move_boxes` inverted."""
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
    """The standard deviation of the grey levels of all channels."""
    counts = np.array(image.histogram()).reshape(-1, 256).sum(axis=0)
    levels = np.arange(256)
    mean = np.average(levels, weights=counts)
    return float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))


def _add_noise(pixels: Pixels, scale: np.float32, draw: Callable[..., Floats]) -> Pixels:
    """Add noise `scale * draw(shape, dtype)`, rounded, within 0..255."""
    noisy = np.empty_like(pixels)
    for start in range(0, len(pixels), _NOISE_ROWS):
        rows = pixels[start : start + _NOISE_ROWS]
        noise = scale * draw(rows.shape, np.float32)
        noisy[start : start + _NOISE_ROWS] = np.clip(np.rint(rows + noise), 0, 255)
    return noisy
