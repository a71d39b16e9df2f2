"""Draw rectangles in images, int32[B,4] of (top, left, bottom, right) in pixels.

They may reach over the border, and may be empty. Bottom and right are behind the last pixel.
"""

import math

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats, Ints

Rectangles = npt.NDArray[np.int32]

# Random erasing: the share of the image's area, and the logarithm of the ratio of the sides.
_ERASED_AREA, _LOG_RATIO = (0.02, 1 / 3), (math.log(0.3), -math.log(0.3))
# Share of the object's box that must stay visible, so that a model can learn its edges.
_MAX_HIDDEN = 1 / 3
_TRIES = 8


def draw_squares(
    count: int,
    side: int,
    size: tuple[int, int],
    *,
    random: np.random.Generator,
    boxes: Floats | None = None,
) -> Rectangles:
    """Squares of a side around any pixel (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        size: height and width of the images.
        boxes: float[count,4], the objects, shares 0..1: at most a third of each is hidden. The
            first suitable one of several tries is used; if none is, the square is empty.
    """
    tries = 1 if boxes is None else _TRIES
    first = random.integers(0, size, (count, tries, 2), np.int32) - side // 2
    return _choose(np.concatenate([first, first + side], axis=2), boxes, size)


def draw_erased(
    count: int,
    probability: float,
    size: tuple[int, int],
    *,
    random: np.random.Generator,
    boxes: Floats | None = None,
) -> Rectangles:
    """Rectangles inside of the images, or empty ones (Zhong et al. 2017, arXiv:1708.04896).

    Args:
        probability: of a rectangle.
        size, boxes: see `draw_squares`.
    """
    tries = 1 if boxes is None else _TRIES
    area = random.uniform(*_ERASED_AREA, (count, tries)) * size[0] * size[1]
    ratio = np.exp(random.uniform(*_LOG_RATIO, (count, tries)))
    sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=2)
    sides = np.clip(np.rint(sides), 1, size)
    first = np.floor(random.random((count, tries, 2)) * (np.array(size) - sides + 1))
    chosen = _choose(np.concatenate([first, first + sides], axis=2), boxes, size)
    chosen[random.random(count) >= probability] = 0
    return chosen


def draw_pasted(
    shares: Floats, size: tuple[int, int], random: np.random.Generator
) -> tuple[Rectangles, Floats]:
    """Rectangles around any pixel, cut at the borders (Yun et al. 2019, CutMix, arXiv:1905.04899).

    Args:
        shares: float[B], 0..1, the parts of the images outside of the rectangles, before the cut.

    Returns:
        the rectangles, and float64[B]: the parts of the images outside of them.
    """
    half = np.rint(np.sqrt(1 - shares)[:, None] * np.array(size) / 2).astype(np.int64)
    centre = random.integers(0, size, (len(shares), 2))
    first, last = np.maximum(centre - half, 0), np.minimum(centre + half, size)
    inside: Floats = np.prod((last - first) / np.array(size), axis=1)
    return np.concatenate([first, last], axis=1).astype(np.int32), 1 - inside


def _choose(tries: Ints | Floats, boxes: Floats | None, size: tuple[int, int]) -> Rectangles:
    """int32[B,4]: the first of [B,tries,4] that hides little enough of the object; else empty."""
    if boxes is None:
        return tries[:, 0].astype(np.int32)
    edges = (boxes[:, [1, 0, 3, 2]] * np.tile(size, 2))[:, None]
    overlap = np.minimum(tries[..., 2:], edges[..., 2:]) - np.maximum(
        tries[..., :2], edges[..., :2]
    )
    hidden = np.prod(np.maximum(overlap, 0), axis=-1)
    allowed = hidden <= _MAX_HIDDEN * np.prod(edges[..., 2:] - edges[..., :2], axis=-1)
    chosen = tries[np.arange(len(tries)), allowed.argmax(axis=1)]
    return np.where(allowed.any(axis=1)[:, None], chosen, 0).astype(np.int32)
