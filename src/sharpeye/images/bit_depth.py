"""Which image files have more than 8 bits a sample, and how many of these bits they use."""

import io

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Ints
from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.images.color import count_bits, is_wide, wide_samples
from sharpeye.images.formats import AVIF, BMP, GIF, HEIC, JPEG, PNG, WEBP, sniff
from sharpeye.images.open_image import PILLOW_WARNINGS, open_reader
from sharpeye.images.wide_color import is_wide_color

_NARROW_FORMATS = (JPEG, GIF, WEBP, BMP, AVIF, HEIC)  # always 8 bits when they are decoded
_PNG_BITS, _PNG_COLOR_TYPE = 24, 25  # offsets in the file
_PNG_COLOR_TYPES = (0, 2, 6)  # grey, RGB and RGBA; grey with alpha keeps its upper 8 bits


def is_wide_file(data: bytes) -> bool:
    """Whether a file's header says more than 8 bits a sample. Damaged files do not.

    Only a TIFF takes longer than two comparisons: Pillow reads its header.
    """
    format_ = sniff(data[:32])
    if format_ is None or format_ in _NARROW_FORMATS:
        return False
    if format_ == PNG:
        head = data[: _PNG_COLOR_TYPE + 1].ljust(_PNG_COLOR_TYPE + 1, b"\0")
        return head[_PNG_BITS] == MAX_BIT_DEPTH and head[_PNG_COLOR_TYPE] in _PNG_COLOR_TYPES
    try:
        with PILLOW_WARNINGS, open_reader(io.BytesIO(data), format_) as image:
            return is_wide(image) or is_wide_color(image)
    except Exception:  # decoders raise nearly any exception on damaged bytes
        return False


def significant_bits(image: Image.Image) -> int | None:
    """The smallest n of 8..16 for which at most 1 of 10,000 samples needs more than n bits.

    Args:
        image: loaded from a file that `is_wide_file`. Of colours Pillow gives the upper bytes,
            which show all but which of the lower 8 bits are used.

    Returns:
        None if the samples are no whole numbers of 16 bits.
    """
    if is_wide(image):
        samples = wide_samples(image)
        return None if samples is None else count_bits(samples)
    colors: Ints = np.asarray(image)[..., :3]
    return count_bits(colors.astype(np.uint16) << 8)
