"""Augment batches of training images. Needs Keras when changes are applied.

The random numbers, a few per image, are drawn on the host with a NumPy generator; applying them
is a pure function of images and numbers. So a resumed training sees the same images as an
uninterrupted one, on every backend of Keras.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats
from sharpeye.core.config import AugmentConfig
from sharpeye.errors import ConfigError
from sharpeye.learn.nets.box_augment import Draws, clip_boxes, draw_moves, move_boxes
from sharpeye.learn.nets.policies import draw_policy
from sharpeye.learn.nets.rectangles import draw_erased, draw_pasted, draw_squares

Tensor = Any  # of Keras' backend

# Drawing a normal number per pixel on the host would be too slow. Instead each image takes rows of
# a fixed bank, which gives a million different noise images. The number of rows is a power of two,
# so that every odd step visits all of them.
_NOISE_ROWS = 1024
_FACTORS = ("brightness", "contrast", "saturation", "sharpness")


class Augmentation:
    """The changes of a configuration, in this order: flip; shear, rotation and zoom about the
    centre; shift; brightness, contrast, saturation, hue, sharpness, fewer levels, inverted levels,
    stretched contrast, and noise; cutout and erased rectangles; mixup or CutMix.

    Pixels that move in from outside are reflected at the border, without repeating the edge. With
    boxes they get the value `fill`: a reflected object would be a second one.

    Args:
        height, width: of the images, pixels.
        fill: grey level of blanked squares, 0..255.
    """

    def __init__(self, config: AugmentConfig, height: int, width: int, *, fill: float) -> None:
        self._config, self._size, self._fill = config, (height, width), fill
        # One reflection cannot fill more than this.
        self._max_shift = (
            min(_percent_of(config.shift, height), height - 1),
            min(_percent_of(config.shift, width), width - 1),
        )
        self._hole = _percent_of(config.cutout, min(height, width))

    def draw(self, count: int, random: np.random.Generator, boxes: Floats | None = None) -> Draws:
        """Draw the random numbers for `count` images; only active changes have a key.

        Args:
            boxes: float32[count,4], the object of each image, shares 0..1. With boxes, zoom and
                shift are limited so that the object stays visible, see `draw_moves`; both are
                drawn if any of rotation, zoom and shift is active. A cutout hides at most a third
                of the object.

        Returns:
            flip: int32[count], 1 to mirror, half of the time.
            shift: int32[count,2], pixels down and to the right.
            angle: float32[count], degrees, counterclockwise.
            zoom: float32[count], above 1 enlarges. Log-uniform between 1 / (1 + z) and 1 + z, so
                that enlarging and reducing by the same factor are equally likely.
            brightness, contrast, saturation: float32[count], factors, uniform.
            hue: float32[count], degrees, uniform.
            noise: int32[count,3], start, step and sign, see `pixel_augment.add_noise`.
            cutout, erase: int32[count,4], rectangles, see `rectangles.py`.
            mixup: float32[count], the image's share, 0.5..1: the larger part of a
                Beta(alpha, alpha); 1 where CutMix mixes.
            cutmix: int32[count,4], the rectangle that the previous image gives; empty where mixup
                mixes. cutmix_share: float32[count], the share of the image outside of it.

            A policy adds its own, see `draw_policy`.

        Raises:
            ConfigError: mixup or CutMix is active, and there are boxes.
        """
        config, size = self._config, self._size
        policy = (
            None if config.policy == "none" else draw_policy(config, count, size, random=random)
        )
        if boxes is None:
            draws = self._draw_moves(count, random, policy)
        else:
            self._require_unmixed()
            shift = self._max_shift
            draws = draw_moves(boxes, config, size, max_shift=shift, random=random, policy=policy)
        draws |= self._draw_levels(count, random, policy)
        if config.cutout or config.erase:
            moved = None if boxes is None else clip_boxes(move_boxes(boxes, draws, size))
            if config.cutout:
                draws["cutout"] = draw_squares(count, self._hole, size, random=random, boxes=moved)
            if config.erase:
                draws["erase"] = draw_erased(count, config.erase, size, random=random, boxes=moved)
        return draws | self._draw_mixing(count, random)

    def _require_unmixed(self) -> None:
        for name in ("mixup", "cutmix"):
            if alpha := getattr(self._config, name):
                raise ConfigError(f"augment.{name} must be 0 with boxes. Received: {alpha}")

    def _draw_levels(self, count: int, random: np.random.Generator, policy: Draws | None) -> Draws:
        config, draws = self._config, Draws()
        for name in _FACTORS:
            largest = getattr(config, name, 0)
            if largest:
                change = random.uniform(-largest, largest, count)
                draws[name] = (1 + change / 100).astype(np.float32)
            if policy:
                draws[name] = draws.get(name, np.float32(1)) * policy[name]
        if config.hue:
            draws["hue"] = random.uniform(-config.hue, config.hue, count).astype(np.float32)
        if policy:
            draws |= {name: policy[name] for name in ("posterize", "solarize", "autocontrast")}
        if config.noise:
            start = random.integers(0, _NOISE_ROWS, count)
            step = 2 * random.integers(0, _NOISE_ROWS // 2, count) + 1
            sign = 2 * random.integers(0, 2, count) - 1
            draws["noise"] = np.stack([start, step, sign], axis=1).astype(np.int32)
        return draws

    def _draw_mixing(self, count: int, random: np.random.Generator) -> Draws:
        config, draws = self._config, Draws()
        if config.mixup:
            share = random.beta(config.mixup, config.mixup, count)
            draws["mixup"] = np.maximum(share, 1 - share).astype(np.float32)
        if config.cutmix:
            shares = random.beta(config.cutmix, config.cutmix, count)
            rectangles, outside = draw_pasted(shares, self._size, random)
            if config.mixup:
                pastes = random.integers(0, 2, count) == 1
                draws["mixup"][pastes] = 1
                rectangles[~pastes], outside[~pastes] = 0, 1
            draws["cutmix"], draws["cutmix_share"] = rectangles, outside.astype(np.float32)
        return draws

    def _draw_moves(self, count: int, random: np.random.Generator, policy: Draws | None) -> Draws:
        config, draws = self._config, Draws()
        if config.flip:
            draws["flip"] = random.integers(0, 2, count, np.int32)
        if config.shift:
            limit = np.array(self._max_shift, np.int32)
            draws["shift"] = random.integers(-limit, limit, (count, 2), np.int32, endpoint=True)
        if config.rotate:
            angle = random.uniform(-config.rotate, config.rotate, count)
            draws["angle"] = angle.astype(np.float32)
        if config.zoom:
            max_log = np.log1p(config.zoom / 100)
            draws["zoom"] = np.exp(random.uniform(-max_log, max_log, count)).astype(np.float32)
        if policy:
            draws["shear"] = policy["shear"]
            draws["angle"] = draws.get("angle", np.float32(0)) + policy["angle"]
            limit = np.array(self._size) - 1  # One reflection cannot fill more.
            shift = draws.get("shift", 0) + np.rint(policy["shift"]).astype(np.int32)
            draws["shift"] = np.clip(shift, -limit, limit).astype(np.int32)
        return draws

    def apply(
        self, pixels: Tensor, label_probs: Tensor, draws: Mapping[str, Any], *, boxes: Tensor = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change a batch; works eagerly, in `tf.function` and in `jax.jit`.

        Args:
            pixels: float32[B,H,W,C], 0..255.
            label_probs: float32[B,classes], target probabilities.
            draws: from `draw`, arrays or tensors; a change without a key is not made.
            boxes: float32[B,4], shares 0..1, those that `draws` were drawn for.

        Returns:
            the changed pixels, target probabilities, and the visible parts of boxes, each with an
            area above 0.
        """
        from keras import ops

        from sharpeye.learn.nets import pixel_augment

        draws = {key: ops.convert_to_tensor(value) for key, value in draws.items()}
        fill = None if boxes is None else self._fill
        if {"angle", "zoom", "shear"} & draws.keys():
            pixels = pixel_augment.warp(pixels, draws, fill=fill)
        elif "shift" in draws or "flip" in draws:
            pixels = pixel_augment.flip_and_shift(pixels, draws, fill=fill)
        if boxes is not None:
            moves = dict(draws)
            if "shift" in moves:
                moves["shift"] = ops.cast(moves["shift"], "float32")
            boxes = move_boxes(ops.convert_to_tensor(boxes), moves, self._size, ops=ops)
            boxes = clip_boxes(boxes, ops)
        pixels = self._change_levels(pixels, draws)
        for name in ("cutout", "erase"):
            if name in draws:
                pixels = pixel_augment.fill_rectangles(pixels, draws[name], self._fill)
        if "mixup" in draws:
            share = draws["mixup"]
            pixels = pixel_augment.mix_with_previous(pixels, share[:, None, None, None])
            label_probs = pixel_augment.mix_with_previous(label_probs, share[:, None])
        if "cutmix" in draws:
            pixels = pixel_augment.paste_previous(pixels, draws["cutmix"])
            share = draws["cutmix_share"]
            label_probs = pixel_augment.mix_with_previous(label_probs, share[:, None])
        return pixels, label_probs, boxes

    def _change_levels(self, pixels: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        from keras import ops

        from sharpeye.learn.nets import colour_augment, pixel_augment

        changes = {
            "brightness": lambda x, factor: x * colour_augment.per_image(factor),
            "contrast": colour_augment.scale_contrast,
            "saturation": colour_augment.scale_saturation,
            "hue": colour_augment.turn_hue,
            "sharpness": colour_augment.scale_sharpness,
            "posterize": colour_augment.posterize,
            "solarize": colour_augment.solarize,
            "autocontrast": colour_augment.normalize_contrast,
        }
        for name, change in changes.items():
            if name in draws:
                # As with images of bytes: a later change must not meet levels that none has.
                pixels = ops.clip(change(pixels, draws[name]), 0.0, 255.0)
        if "noise" in draws:
            bank = _noise_bank(math.prod(pixels.shape[2:]))
            deviation = self._config.noise
            pixels = pixel_augment.add_noise(pixels, draws["noise"], bank, deviation=deviation)
            pixels = ops.clip(pixels, 0.0, 255.0)
        return pixels


@lru_cache(maxsize=4)
def _noise_bank(width: int) -> npt.NDArray[np.float32]:
    """float32[_NOISE_ROWS, width], standard normal."""
    random = np.random.default_rng(0)
    return random.standard_normal((_NOISE_ROWS, width), np.float32)


def _percent_of(percent: int, side: int) -> int:
    """Pixels, at least 1 unless `percent` is 0."""
    return max(1, round(percent * side / 100)) if percent else 0
