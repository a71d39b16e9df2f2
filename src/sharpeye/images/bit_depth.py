"""Which image files have more than 8 bits a sample, and how many of these bits they use."""

import io

import numpy as np
from PIL import Image

from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.images.color import is_wide, wide_samples
from sharpeye.images.formats import AVIF, BMP, GIF, HEIC, JPEG, PNG, WEBP, sniff
from sharpeye.images.open_image import PILLOW_WARNINGS, open_reader

_NARROW_FORMATS = (JPEG, GIF, WEBP, BMP, AVIF, HEIC)  # always 8 bits when they are decoded
_PNG_BITS, _PNG_COLOUR_TYPE, _GREY = 24, 25, 0  # offsets in the file, and a colour type
# Dead and hot pixels of a camera may be so many, and a drawn scale bar is more.
_MAX_OUTLIERS = 1e-4


def is_wide_file(data: bytes) -> bool:
    """Whether a file's header says more than 8 bits a sample. Damaged files do not.

    Only a TIFF takes longer than two comparisons: Pillow reads its header.
    """
    format_ = sniff(data[:32])
    if format_ is None or format_ in _NARROW_FORMATS:
        return False
    if format_ == PNG:
        return len(data) > _PNG_COLOUR_TYPE and (data[_PNG_BITS], data[_PNG_COLOUR_TYPE]) == (
            MAX_BIT_DEPTH,
            _GREY,
        )
    try:
        with PILLOW_WARNINGS, open_reader(io.BytesIO(data), format_) as image:
            return is_wide(image)
    except Exception:  # decoders raise nearly any exception on damaged bytes
        return False


def significant_bits(image: Image.Image) -> int | None:
    """The smallest n of 8..16 for which at most 1 of 10,000 samples needs more than n bits.

    None if the image has 8 bits, or samples that are no whole numbers of 16 bits.
    """
    samples = wide_samples(image) if is_wide(image) else None
    if samples is None:
        return None
    allowed = _MAX_OUTLIERS * samples.size
    for bits in range(8, MAX_BIT_DEPTH):
        if np.count_nonzero(samples >> bits) <= allowed:
            return bits
    return MAX_BIT_DEPTH
