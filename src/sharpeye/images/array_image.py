"""Arrays in memory to images, with the meaning that a file of the same pixels would have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Array, Pixels
from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.errors import UsageError
from sharpeye.images.color import reduce_bits, to_rgb

DATA_FORMATS = ("channels_last", "channels_first")
_CHANNELS = (1, 3, 4)
_VALUE_RANGES = "[0, 1], [0, 255] or [0, 2**n - 1] for n bits, up to 16"


def array_to_image(
    array: Array,
    *,
    data_format: str = "channels_last",
    value_range: Sequence[float] | None = None,
    bit_depth: int = MAX_BIT_DEPTH,
) -> Image.Image:
    """An array as an image of mode RGB.

    Args:
        array: [H,W] or [H,W,1] grey, [H,W,3] RGB, or [H,W,4] RGB with alpha, which is composited
            over white. bool is black and white, uint8 0..255; uint16 is read by `bit_depth`. Other
            numbers are 0..255 if all are whole and the largest is above 1.
        data_format: `channels_first` for [C,H,W].
        value_range: black and white of the array, where the rules above do not say: (0, 1),
            (0, 255), or (0, 2**n - 1) for samples of n bits.
        bit_depth: significant bits of a uint16, 8..16, as `InputSpec.bit_depth`.

    Raises:
        UsageError: another shape or type, a value outside of the range or not finite, or a range
            that the array does not say.
    """
    array = _to_array(array)
    pixels = _to_uint8(_channels_last(array, data_format), _parse_range(value_range), bit_depth)
    return to_rgb(Image.fromarray(pixels), "the array")


def describe(array: Array) -> str:
    """The type and shape of an array: `uint8[480,640,3]`."""
    return f"{array.dtype}{list(array.shape)}".replace(" ", "")


def _to_array(value: Any) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:  # `__array__` of other libraries raises anything, as on a GPU
        raise UsageError(f"this {type(value).__name__} gives no NumPy array: {error}") from None
    if array.dtype.kind not in "buif":
        raise UsageError(f"an image is an array of numbers. Received: {describe(array)}")
    return array


def _channels_last(array: Array, data_format: str) -> Array:
    """[H,W], [H,W,3] or [H,W,4]."""
    if data_format not in DATA_FORMATS:
        raise UsageError(
            f"data_format must be one of {', '.join(DATA_FORMATS)}. Received: {data_format}"
        )
    first = data_format == "channels_first"
    image = array.transpose(1, 2, 0) if first and array.ndim == 3 else array
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in _CHANNELS):
        shapes = "[1,H,W], [3,H,W] or [4,H,W]" if first else "[H,W,1], [H,W,3] or [H,W,4]"
        raise UsageError(
            f"an image must be an array [H,W], {shapes}. Received: {describe(array)}"
            f"{_remedy(array, data_format)}"
        )
    if not image.size:
        raise UsageError(f"an image has at least one pixel. Received: {describe(array)}")
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _remedy(array: Array, data_format: str) -> str:
    if array.ndim == 4:
        return "; a batch is given as a list of its images: list(array)"
    if array.ndim != 3:
        return ""
    if data_format == "channels_last" and array.shape[0] in _CHANNELS:
        return "; for [C,H,W], say data_format='channels_first'"
    if data_format == "channels_first" and array.shape[2] in _CHANNELS:
        return "; for [H,W,C], say data_format='channels_last'"
    return ""


def _parse_range(value_range: Any) -> int | None:
    """The value of white."""
    if value_range is None:
        return None
    try:
        low, high = (0.0 + value for value in value_range)
    except (TypeError, ValueError):
        low, high = -1.0, -1.0
    allowed = (1, *(2**bits - 1 for bits in range(8, MAX_BIT_DEPTH + 1)))
    if low != 0 or high not in allowed:
        raise UsageError(f"value_range must be {_VALUE_RANGES}. Received: {value_range!r:.60}")
    return int(high)


def _to_uint8(array: Array, white: int | None, bit_depth: int) -> Pixels:
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8 and white in (None, 255):
        return array
    high = _check_values(array, white)
    if white is None and array.dtype.kind == "u" and array.dtype.itemsize == 2:
        if 0 < high <= 255 and bit_depth == MAX_BIT_DEPTH:
            raise _ambiguous(array, "0..255 or 0..65535")
        return reduce_bits(array.astype(np.uint16), bit_depth)
    white = white or _infer_white(array, high, bit_depth)
    if white > 255:
        return reduce_bits(np.rint(array).astype(np.uint16), white.bit_length())
    scaled = array.astype(np.float32) * (255 // white)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _check_values(array: Array, white: int | None) -> float:
    """The largest value; all must be finite, and from 0 to white."""
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"an image has no NaN and no infinite value. Received: {describe(array)}")
    limit = white or 2**MAX_BIT_DEPTH - 1
    if low < 0:
        raise UsageError(
            "pixels must not be negative; scale them to 0..1 (-1..1 by (x + 1) / 2) or to 0..255. "
            f"Received: {describe(array)} from {low:g} to {high:g}"
        )
    if high > limit:
        raise UsageError(
            f"pixels must be from 0 to {limit}; scale or clip them. Received: {describe(array)} "
            f"from {low:g} to {high:g}"
        )
    return high


def _infer_white(array: Array, high: float, bit_depth: int) -> int:
    if high <= 1 and (array.dtype.kind == "f" or high == 1):
        raise _ambiguous(array, "0..1 or 0..255")
    if high > 255:
        raise _ambiguous(array, "of 9 to 16 bits")
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise _ambiguous(array, "of any range, as they are not whole numbers")
    if bit_depth < MAX_BIT_DEPTH:
        raise _ambiguous(array, f"0..255 or 0..{2**bit_depth - 1}")
    return 255


def _ambiguous(array: Array, ranges: str) -> UsageError:
    return UsageError(
        f"the pixels may be {ranges}; say which by value_range: {_VALUE_RANGES}. "
        f"Received: {describe(array)} from {array.min():g} to {array.max():g}"
    )
