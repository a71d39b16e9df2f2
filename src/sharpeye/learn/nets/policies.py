"""Draw the changes of an augmentation policy: TrivialAugment or RandAugment.

A policy chooses operations for each image at random. They are parameters of the changes that
`Augmentation` makes anyway, at most one of each, in its order. The papers' equalization of the
histogram is left out, since it needs a histogram of each image in each step.

Sources: Müller and Hutter 2021, TrivialAugment, arXiv:2103.10158 (one operation of any magnitude,
the "wide" ranges); Cubuk et al. 2019, RandAugment, arXiv:1909.13719 (some of one magnitude).
"""

from dataclasses import dataclass

import numpy as np

from sharpeye.core.arrays import Array, Floats
from sharpeye.core.config import AugmentConfig

_OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness"),
    *("saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast"),
)
_MAX_MAGNITUDE = 30


@dataclass(frozen=True)
class _Ranges:
    """The changes at full magnitude."""

    shear: float  # pixels sideways for each pixel down, or the reverse
    translate: float  # share of the side
    rotate: float  # degrees
    factor: float  # change of the factors of brightness, saturation, contrast and sharpness
    posterize: int  # bits that are dropped


_TRIVIAL = _Ranges(0.99, 0.45, 135.0, 0.99, 6)
_RAND = _Ranges(0.3, 0.45, 30.0, 0.9, 4)


def draw_policy(
    config: AugmentConfig, count: int, size: tuple[int, int], *, random: np.random.Generator
) -> dict[str, Array]:
    """Draw the operations of `augment.policy` for `count` images.

    Args:
        size: height and width of the images, pixels.

    Returns:
        arrays of the images, by change; where it is not chosen for an image, it changes nothing:
        shear float32[count,2]: sideways and down; shift float64[count,2]: pixels down and to the
        right; angle float32[count], degrees; brightness, saturation, contrast, sharpness
        float32[count], factors; posterize float32[count], the distance of grey levels; solarize
        float32[count], the level from which on levels are inverted; autocontrast int32[count].
    """
    trivial = config.policy == "trivial"
    ranges, number = (_TRIVIAL, 1) if trivial else (_RAND, config.policy_operations)
    chosen = random.integers(0, len(_OPERATIONS), (count, number))
    magnitude = np.full((count, number), config.policy_magnitude / _MAX_MAGNITUDE)
    if trivial:
        magnitude = random.integers(0, _MAX_MAGNITUDE + 1, (count, number)) / _MAX_MAGNITUDE
    signed = magnitude * (2 * random.integers(0, 2, (count, number)) - 1)

    def total(name: str, amounts: Floats) -> Floats:
        """float64[count]: the amount of an operation, 0 where it is not chosen; the largest one
        where it is chosen twice.
        """
        amounts = np.where(chosen == _OPERATIONS.index(name), amounts, 0.0)
        result: Floats = amounts[np.arange(count), np.abs(amounts).argmax(axis=1)]
        return result

    factors = {
        name: (1 + total(name, signed * ranges.factor)).astype(np.float32)
        for name in ("brightness", "saturation", "contrast", "sharpness")
    }
    shear = np.stack(
        [total(name, signed * ranges.shear) for name in ("shear_x", "shear_y")], axis=1
    )
    moves = (total(name, signed * ranges.translate) for name in ("translate_y", "translate_x"))
    return {
        "shear": shear.astype(np.float32),
        "shift": np.stack([*moves], axis=1) * np.array(size),
        "angle": total("rotate", signed * ranges.rotate).astype(np.float32),
        **factors,
        "posterize": 2.0
        ** np.round(total("posterize", magnitude * ranges.posterize)).astype(np.float32),
        "solarize": (256 * (1 - total("solarize", magnitude))).astype(np.float32),
        "autocontrast": (total("autocontrast", np.ones_like(magnitude)) > 0).astype(np.int32),
    }
