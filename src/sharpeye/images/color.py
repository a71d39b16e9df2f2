"""Colours of decoded images: every mode of Pillow becomes RGB, 8 bits a sample.

Samples of more than 8 bits need a range of brightness, which a file seldom names: cameras store 10,
12 or 14 bits in files of 16. The range is therefore a property of the data set: its number of
significant bits, `bit_depth`, which a model stores in its `InputSpec`. The upper 8 of these bits
are used, and larger samples are white. `data/sample_range.py` chooses it.
"""

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Array, Ints, Pixels
from sharpeye.core.types import MAX_BIT_DEPTH
from sharpeye.errors import ImageReadError
from sharpeye.images.composite import over_white

_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _SIGNED = 258, 339, 2  # tags of TIFF, and a value

# Dead and hot pixels of a camera may be so many; a drawn scale bar is more.
_MAX_OUTLIERS = 1e-4


def to_rgb(image: Image.Image, name: str, bit_depth: int | None = MAX_BIT_DEPTH) -> Image.Image:
    """An image of any mode as RGB; transparent ones are composited over white.

    Args:
        image: loaded, and upright.
        bit_depth: significant bits of a sample, 8..16, in an image of more than 8. A TIFF whose
            header names fewer bits, such as 12, has so many. None counts those of this image, for
            people to look at.

    Raises:
        ImageReadError: 32-bit samples that are no whole numbers of 16 bits, or may be of 8.
    """
    if is_wide(image):
        return _reduce(image, name, bit_depth).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        return over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def is_wide(image: Image.Image) -> bool:
    """Whether Pillow gives more than 8 bits a sample."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def wide_samples(image: Image.Image) -> Ints | None:
    """uint16[H,W] of an image of 16 or 32 bits; None if its samples are no such numbers."""
    samples: Array = np.asarray(image)
    if samples.dtype.kind == "f" and not np.array_equal(samples, np.rint(samples)):
        return None
    if not samples.size or samples.min() < 0 or samples.max() > 0xFFFF:
        return None
    return samples.astype(np.uint16, copy=False)


def count_bits(samples: Ints) -> int:
    """The smallest n of 8..16 for which at most 1 of 10,000 samples needs more than n bits."""
    allowed = _MAX_OUTLIERS * samples.size
    for bits in range(8, MAX_BIT_DEPTH):
        if np.count_nonzero(samples >> bits) <= allowed:
            return bits
    return MAX_BIT_DEPTH


def reduce_bits(samples: Array, bit_depth: int) -> Pixels:
    """The upper 8 bits of samples with `bit_depth` significant bits; larger samples give 255."""
    shifted: Ints = np.minimum(samples >> (bit_depth - 8), 255)
    return shifted.astype(np.uint8)


def _reduce(image: Image.Image, name: str, bit_depth: int | None) -> Image.Image:
    samples, header_bits = wide_samples(image), _header_bits(image)
    if samples is None:
        raise ImageReadError(
            name, "32-bit samples have no agreed range of brightness; save it with 8 or 16 bits"
        )
    if bit_depth is None:
        return Image.fromarray(reduce_bits(samples, count_bits(samples)))
    narrow = image.mode in ("I", "F") and header_bits > MAX_BIT_DEPTH and samples.max() <= 255
    if narrow and samples.any() and bit_depth == MAX_BIT_DEPTH:
        raise ImageReadError(
            name, "32-bit samples up to 255 may be of 8 bits or of 16; save it with 8 or 16 bits"
        )
    pixels = reduce_bits(samples, min(bit_depth, header_bits))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # a level of grey
        pixels[samples == transparent] = 255
    return Image.fromarray(pixels)


def _header_bits(image: Image.Image) -> int:
    """Bits of a sample as a TIFF's header says, without the sign; else those of the mode."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE)
    if isinstance(bits, tuple) and bits and 8 <= bits[0] <= 32:
        return int(bits[0]) - int(tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED)
    of_16_bits = image.mode.startswith("I;16") or image.format == "PPM"
    return MAX_BIT_DEPTH if of_16_bits else 32
