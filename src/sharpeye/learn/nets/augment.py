"""Random changes of batches of training images. Needs Keras when they are applied.

What is random is drawn on the host with a NumPy generator, a few numbers an image; applying it
is a pure function of images and numbers. So a training that goes on after an interruption sees
the same images, and so does every backend of Keras.

Images/s stand where something is fast for a reason: 64 images of 32x32x3 at a time in a
`tf.function` on one thread of a 2-core machine, TensorFlow 2.21, best of 15 runs of 20 batches.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import AugmentConfig
from sharpeye.errors import ConfigError
from sharpeye.learn.nets.box_augment import Draws, clip_boxes, draw_holes, draw_moves, move_boxes

Tensor = Any  # of whichever backend Keras uses
Boxes = npt.NDArray[np.float32]

_BANK_ROWS = 1024  # a power of two, so that every odd step visits all rows
_BANK_SEED = 0


class Augment:
    """The changes that a configuration asks for, in this order: flip; rotation and zoom about
    the centre; shift; brightness and noise; cutout; mixup.

    What comes in over the border is the image reflected there, without its edge repeated. With
    boxes it is `fill` instead: a reflected object would be a second one.

    Args:
        height, width: of the images, pixels.
        fill: grey level of what is cut out, 0..255.
    """

    def __init__(self, config: AugmentConfig, height: int, width: int, fill: float) -> None:
        self._config, self._fill = config, fill
        self._height, self._width = height, width
        # One reflection brings no more back.
        down, right = (min(_pixels(config.shift, side), side - 1) for side in (height, width))
        self._most = (down, right)
        self._hole = _pixels(config.cutout, min(height, width))

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        own = self._config
        geometry = own.flip or own.shift or own.rotate or own.zoom
        return bool(geometry or own.brightness or own.noise or own.cutout or own.mixup)

    def draw(self, count: int, random: np.random.Generator, boxes: Boxes | None = None) -> Draws:
        """The random numbers for `count` images; keys only for what is active.

        Args:
            boxes: float32[count,4], of the object in each image, shares 0..1. Then zoom and
                shift are limited so that it stays in sight, see `draw_moves`; they are there as
                soon as one of rotation, zoom and shift is active. Cutout hides at most a third.

        Returns:
            flip: int32[count], 1 to mirror, half of the time.
            shift: int32[count,2], pixels down and to the right.
            angle: float32[count], degrees, counterclockwise.
            zoom: float32[count], above 1 enlarges. Log-uniform between 1 / (1 + z) and 1 + z, so
                that images are made larger as often as smaller by the same factor.
            brightness: float32[count], factor of the grey levels, uniform.
            noise: int32[count,3], start, step and sign, see `_noise`.
            cutout: int32[count,2], row and column of the centre, uniform over the image.
            mixup: float32[count], own share, 0.5..1: the larger part of a Beta(alpha, alpha).

        Raises:
            ConfigError: boxes cannot be mixed up.
        """
        own, size = self._config, (self._height, self._width)
        if boxes is None:
            draws = self._draw_moves(count, random)
        elif own.mixup:
            raise ConfigError(f"augment.mixup must be 0 with boxes. Received: {own.mixup}")
        else:
            draws = draw_moves(boxes, own, size, self._most, random)
        if own.brightness:
            change = random.uniform(-own.brightness, own.brightness, count)
            draws["brightness"] = (1 + change / 100).astype(np.float32)
        if own.noise:
            start = random.integers(0, _BANK_ROWS, count)
            step = 2 * random.integers(0, _BANK_ROWS // 2, count) + 1
            sign = 2 * random.integers(0, 2, count) - 1
            draws["noise"] = np.stack([start, step, sign], axis=1).astype(np.int32)
        if own.cutout and boxes is None:
            draws["cutout"] = random.integers(0, size, (count, 2), np.int32)
        elif own.cutout:
            moved = clip_boxes(move_boxes(boxes, draws, *size))
            draws["cutout"] = draw_holes(moved, self._hole, size, random)
        if own.mixup:
            share = random.beta(own.mixup, own.mixup, count)
            draws["mixup"] = np.maximum(share, 1 - share).astype(np.float32)
        return draws

    def _draw_moves(self, count: int, random: np.random.Generator) -> Draws:
        own, draws = self._config, Draws()
        if own.flip:
            draws["flip"] = random.integers(0, 2, count, np.int32)
        if own.shift:
            most = np.array(self._most, np.int32)
            draws["shift"] = random.integers(-most, most, (count, 2), np.int32, endpoint=True)
        if own.rotate:
            draws["angle"] = random.uniform(-own.rotate, own.rotate, count).astype(np.float32)
        if own.zoom:
            most_log = np.log1p(own.zoom / 100)
            draws["zoom"] = np.exp(random.uniform(-most_log, most_log, count)).astype(np.float32)
        return draws

    def apply(
        self, pixels: Tensor, targets: Tensor, draws: Mapping[str, Any], boxes: Tensor = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change a batch; works eagerly, in `tf.function` and in `jax.jit`.

        Args:
            pixels: float32[B,H,W,C], 0..255.
            targets: float32[B,classes], probabilities.
            draws: as from `draw`, arrays or tensors; what has no key is not done.
            boxes: float32[B,4], shares 0..1, those that were drawn for; None: there are none.

        Returns:
            float32[B,H,W,C], 0..255; float32[B,classes]; and the boxes float32[B,4] of what is
            in sight of the objects, shares 0..1, none without area; or None.
        """
        from keras import ops

        draws = {key: ops.convert_to_tensor(value) for key, value in draws.items()}
        change = self._warp if "angle" in draws or "zoom" in draws else self._flip_and_shift
        pixels = change(pixels, draws, boxes is not None)
        if boxes is not None:
            boxes = self._move(ops.convert_to_tensor(boxes), draws)
        if "brightness" in draws:
            pixels = pixels * draws["brightness"][:, None, None, None]
        if "noise" in draws:
            pixels = pixels + self._noise(draws["noise"], pixels.shape[-1])
        if "brightness" in draws or "noise" in draws:
            pixels = ops.clip(pixels, 0.0, 255.0)
        if "cutout" in draws:
            pixels = self._cut_out(pixels, draws["cutout"])
        if "mixup" in draws:
            # The partner is the row before: pairs within the batch that is handed in.
            share = draws["mixup"]
            pixels = _mix(pixels, share[:, None, None, None])
            targets = _mix(targets, share[:, None])
        return pixels, targets, boxes

    def _move(self, boxes: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        from keras import ops

        if "shift" in draws:
            draws = {**draws, "shift": ops.cast(draws["shift"], "float32")}
        return clip_boxes(move_boxes(boxes, draws, self._height, self._width, ops), ops)

    def _flip_and_shift(self, pixels: Tensor, draws: Mapping[str, Tensor], plain: bool) -> Tensor:
        """Whole rows, then whole columns: 118,000 images/s.

        Args:
            plain: fill what comes in over the border, instead of reflecting the image.
        """
        from keras import ops

        rows = ops.arange(self._height, dtype="int32")[None]
        columns = ops.arange(self._width, dtype="int32")[None]
        inside = None
        if "shift" in draws:
            rows, columns = rows - draws["shift"][:, :1], columns - draws["shift"][:, 1:]
            if plain:
                inside = _is_inside(rows, self._height), _is_inside(columns, self._width)
            pixels = _gather(pixels, _bring_inside(rows, self._height, plain))
            columns = _bring_inside(columns, self._width, plain)
        if "flip" in draws:
            columns = ops.where(draws["flip"][:, None] > 0, self._width - 1 - columns, columns)
        if "shift" in draws or "flip" in draws:
            # Columns as first axis: to gather along the second brings 90,000, not 128,000.
            turned = _gather(ops.transpose(pixels, (0, 2, 1, 3)), columns)
            pixels = ops.transpose(turned, (0, 2, 1, 3))
        if inside is not None:
            kept = ops.logical_and(inside[0][:, :, None], inside[1][:, None, :])
            pixels = ops.where(kept[..., None], pixels, float(self._fill))
        return pixels

    def _warp(self, pixels: Tensor, draws: Mapping[str, Tensor], plain: bool) -> Tensor:
        """Flip, rotation, zoom and shift in one bilinear sampling: 22,000 images/s."""
        from keras import ops

        height, width, channels = self._height, self._width, pixels.shape[-1]
        y, x = self._sources(draws)
        # Within half a pixel of its own pixels' centres a place still belongs to the image.
        kept = ops.logical_and(_is_inside(y, height), _is_inside(x, width)) if plain else None
        if plain:
            y, x = ops.clip(y, 0.0, float(height - 1)), ops.clip(x, 0.0, float(width - 1))
        top, bottom, down = _neighbours(y, height)  # [B,H,W] each
        left, right, across = _neighbours(x, width)
        flat = ops.reshape(pixels, (-1, height * width, channels))

        def at(row: Tensor, column: Tensor) -> Tensor:
            return _gather(flat, ops.reshape(row * width + column, (-1, height * width)))

        down, across = (ops.reshape(each, (-1, height * width, 1)) for each in (down, across))
        above, below = at(top, left), at(bottom, left)
        above = above + (at(top, right) - above) * across
        below = below + (at(bottom, right) - below) * across
        found = ops.reshape(above + (below - above) * down, (-1, height, width, channels))
        return found if kept is None else ops.where(kept[..., None], found, float(self._fill))

    def _sources(self, draws: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """float32[B,H,W] each: the row and column that each pixel of the result comes from."""
        from keras import ops

        middle_y, middle_x = (self._height - 1) / 2, (self._width - 1) / 2
        y = ops.arange(self._height, dtype="float32")[None, :, None] - middle_y
        x = ops.arange(self._width, dtype="float32")[None, None, :] - middle_x
        if "shift" in draws:
            shift = ops.cast(draws["shift"], "float32")[:, :, None, None]
            y, x = y - shift[:, 0], x - shift[:, 1]
        known = draws["angle"] if "angle" in draws else draws["zoom"]
        angle = draws.get("angle", ops.zeros_like(known))[:, None, None] * float(np.pi / 180)
        scale = 1 / draws.get("zoom", ops.ones_like(known))[:, None, None]
        sin, cos = ops.sin(angle) * scale, ops.cos(angle) * scale
        y, x = y * cos + x * sin, x * cos - y * sin
        if "flip" in draws:
            x = ops.where(draws["flip"][:, None, None] > 0, -x, x)
        return y + middle_y, x + middle_x

    def _noise(self, draws: Tensor, channels: int) -> Tensor:
        """float32[B,H,W,C] in grey levels.

        A normal number a pixel would be too many to draw on the host. So there is one bank of
        1024 rows of them, always the same, and each image takes another sequence of its rows:
        every `step`-th one from `start`, with its `sign`. That makes a million images of noise.
        """
        from keras import ops

        width = self._width * channels
        rows = ops.arange(self._height, dtype="int32")[None]
        rows = ops.mod(draws[:, :1] + draws[:, 1:2] * rows, _BANK_ROWS)
        bank = ops.convert_to_tensor(_bank(width))
        noise = ops.reshape(ops.take(bank, rows, axis=0), (-1, self._height, self._width, channels))
        strength = ops.cast(draws[:, 2], "float32") * self._config.noise
        return noise * strength[:, None, None, None]

    def _cut_out(self, pixels: Tensor, centre: Tensor) -> Tensor:
        """Blank a square (DeVries and Taylor 2017); what of it lies outside is lost."""
        from keras import ops

        first = centre - self._hole // 2
        channels = pixels.shape[-1]
        rows = ops.arange(self._height, dtype="int32")[None] - first[:, :1]
        columns = np.repeat(np.arange(self._width, dtype=np.int32), channels)[None]
        columns = ops.convert_to_tensor(columns) - first[:, 1:]
        inside_y = ops.logical_and(rows >= 0, rows < self._hole)[:, :, None]
        inside_x = ops.logical_and(columns >= 0, columns < self._hole)[:, None, :]
        # In rows of width * channels: to broadcast over channels takes twice as long.
        lines = ops.reshape(pixels, (-1, self._height, self._width * channels))
        lines = ops.where(ops.logical_and(inside_y, inside_x), float(self._fill), lines)
        return ops.reshape(lines, (-1, self._height, self._width, channels))


def _pixels(percent: int, side: int) -> int:
    """A share of a side; what was asked for is never nothing."""
    return max(1, round(percent * side / 100)) if percent else 0


@lru_cache(maxsize=4)
def _bank(width: int) -> npt.NDArray[np.float32]:
    """float32[_BANK_ROWS, width], standard normal."""
    random = np.random.default_rng(_BANK_SEED)
    return random.standard_normal((_BANK_ROWS, width), np.float32)


def _is_inside(place: Tensor, side: int) -> Tensor:
    """Whether indices, or places between them, lie in the image with its outermost pixels."""
    from keras import ops

    place = ops.cast(place, "float32")
    return ops.logical_and(place >= -0.5, place <= side - 0.5)


def _bring_inside(index: Tensor, side: int, plain: bool) -> Tensor:
    """Indices from -(side - 1) to 2 * (side - 1) brought inside by reflection at the border; or
    plainly, any ones to the border.
    """
    from keras import ops

    if plain:
        return ops.clip(index, 0, side - 1)
    return side - 1 - ops.abs(side - 1 - ops.abs(index))


def _neighbours(place: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after a place, which may lie any number of sides away.

    Returns:
        int32 and int32, 0..side-1, and float32 0..1, how far the place is on the way between.
    """
    from keras import ops

    period = max(1, 2 * (side - 1))
    # The distance to the nearest whole period goes up and down as reflections do.
    place = ops.abs(place - period * ops.round(place * (1 / period)))
    place = ops.minimum(place, float(side - 1))
    floor = ops.floor(place)
    before = ops.cast(floor, "int32")
    return before, ops.minimum(before + 1, side - 1), place - floor


def _mix(values: Tensor, share: Tensor) -> Tensor:
    from keras import ops

    return values * share + ops.roll(values, 1, axis=0) * (1 - share)


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """[B,M,...]: for each of the B the entries `index` int32[B,M] of `values` [B,N,...]."""
    import keras

    if keras.backend.backend() == "tensorflow":
        # 90,000 images/s; Keras's own take_along_axis there 12,000.
        import tensorflow as tf

        return tf.gather(values, index, axis=1, batch_dims=1)
    shape = (*index.shape, *[1] * (len(values.shape) - 2))
    return keras.ops.take_along_axis(values, keras.ops.reshape(index, shape), axis=1)
