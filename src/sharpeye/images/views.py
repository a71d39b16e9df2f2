"""Draw augmented views of an image: crop, mirror and brightness, from its digest and an index."""

import hashlib
from dataclasses import astuple, dataclass

import numpy as np

from sharpeye.core.types import Box

# Raise it with every change that alters a view's pixels: it is part of cache keys.
VIEWS_VERSION = 1

_MARGIN = 0.02  # share of the image to keep around an object


@dataclass(frozen=True, slots=True)
class View:
    """How one augmented view differs from the image.

    Attributes:
        flip: mirrored left to right.
        crop: (left, top, right, bottom) as shares 0..1 of width and height.
        brightness: factor of the pixels after resizing; the product is clipped to 0..255.
    """

    flip: bool = False
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    brightness: float = 1.0


PLAIN = View()
_UNCROPPED = (PLAIN, View(flip=True))  # views 0 and 1


def draw_view(index: int, sha256: str) -> View:
    """The `index`-th view of the image with this digest; the same on every machine.

    View 0 is the image itself, view 1 its mirror image; of the others every second one is mirrored,
    and all are cropped to 60..100 % of their area with an aspect ratio within 3/4..4/3 of the
    original's (a milder form of the crops in Szegedy et al. 2015).
    """
    if index < len(_UNCROPPED):
        return _UNCROPPED[index]
    random = _random(index, sha256)
    area, ratio = random.uniform(0.6, 1.0), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = float(min(1.0, np.sqrt(area * ratio)))
    height = float(min(1.0, np.sqrt(area / ratio)))
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return View(flip=index % 2 == 1, crop=(left, top, left + width, top + height))


def draw_box_view(index: int, sha256: str, box: Box) -> View:
    """The `index`-th view that shows the whole object; the same on every machine.

    Like `draw_view`, but cropped to 50..100 % of the area. A crop that is too small for the object
    grows until it fits; its position is random, with 2 % of the image around the object if there is
    room.
    """
    if index < len(_UNCROPPED):
        return _UNCROPPED[index]
    random = _random(index, sha256, "box", *(f"{edge:.6f}" for edge in box))
    area, ratio = random.uniform(0.5, 1.0), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    spans = [
        (max(0.0, low - _MARGIN), min(1.0, high + _MARGIN))
        for low, high in zip(box[:2], box[2:], strict=True)
    ]
    sides = (np.sqrt(area * ratio), np.sqrt(area / ratio))
    width, height = (
        min(1.0, max(side, high - low)) for side, (low, high) in zip(sides, spans, strict=True)
    )
    left, right = _draw_span(random, max(width, height * 3 / 4), spans[0])
    top, bottom = _draw_span(random, max(height, width * 3 / 4), spans[1])
    return View(flip=index % 2 == 1, crop=(left, top, right, bottom))


def _draw_span(
    random: np.random.Generator, side: float, span: tuple[float, float]
) -> tuple[float, float]:
    """A random span of 0..1 of length `side` that holds another one, which is no longer."""
    low, high = span
    first = max(0.0, high - side)
    start = random.uniform(first, max(first, min(low, 1 - side)))
    return float(start), float(min(1.0, start + side))


@dataclass(frozen=True, slots=True)
class Distortion:
    """Random views as TensorFlow's retrain.py makes them, with its four options.

    Attributes:
        flip_left_right: mirror a random half of the views.
        crop: percent: the margin around the window.
        scale: percent: how much larger that margin may be.
        brightness: percent: the largest change up and down.

    Raises:
        ValueError: a number is negative.

    Source: `add_input_distortions` in tensorflow/examples/image_retraining/retrain.py.
    """

    flip_left_right: bool = False
    crop: int = 0
    scale: int = 0
    brightness: int = 0

    def __post_init__(self) -> None:
        if min(self.crop, self.scale, self.brightness) < 0:
            raise ValueError(
                "`crop`, `scale` and `brightness` must be 0 percent or more. "
                f"Received: crop={self.crop}, scale={self.scale}, brightness={self.brightness}"
            )

    @property
    def active(self) -> bool:
        """Whether any view can differ from the image."""
        return self != Distortion()

    def draw(self, index: int, sha256: str) -> View:
        """The `index`-th view of the image with this digest; the same on every machine.

        View 0 is the image itself. retrain.py makes the others larger by
        k = (1 + crop/100) * U(1, 1 + scale/100) and cuts a window of the input's size out of
        them: that is a window of 1/k of the image's width and height. It is mirrored with
        probability 1/2 and multiplied by U(1 - brightness/100, 1 + brightness/100). retrain.py lets
        bright pixels exceed 255; SharpEye clips them.
        """
        if index == 0:
            return PLAIN
        random = _random(index, sha256, *astuple(self))
        side = 1 / ((1 + self.crop / 100) * random.uniform(1, 1 + self.scale / 100))
        left, top = random.uniform(0, 1 - side), random.uniform(0, 1 - side)
        flip = self.flip_left_right and random.random() < 0.5
        brightness = 1 + random.uniform(-self.brightness, self.brightness) / 100
        return View(flip, (left, top, left + side, top + side), brightness)


def _random(*parts: object) -> np.random.Generator:
    text = ":".join(str(part) for part in (VIEWS_VERSION, *parts))
    seed = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:8], "little"))
