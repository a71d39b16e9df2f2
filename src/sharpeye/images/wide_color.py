"""Colour images of 16 bits a sample, of which Pillow decodes the upper 8 only.

Where a data set uses fewer bits, the lower ones are needed: the file is decoded a second time, with
the byte order exchanged, so that Pillow takes the lower byte of each sample for the upper one.
"""

import sys

import numpy as np
from PIL import Image, ImageFile

from sharpeye.core.arrays import Array
from sharpeye.images.color import reduce_bits
from sharpeye.images.orientation import ORIENTATION

_NATIVE_LOW = ";16B" if sys.byteorder == "little" else ";16L"
_LOW = {";16B": ";16L", ";16L": ";16B", ";16N": _NATIVE_LOW}
_MODES = ("RGB", "RGBA")


def is_wide_color(image: Image.Image) -> bool:
    """Whether an opened image, not yet loaded, stores colours of 16 bits a sample."""
    tiles = getattr(image, "tile", ()) if isinstance(image, ImageFile.ImageFile) else ()
    raw_modes = [_raw_mode(tile.args) for tile in tiles]
    return bool(raw_modes) and all(mode[:-4] in _MODES and mode[-4:] in _LOW for mode in raw_modes)


def load_lower_bytes(image: Image.Image) -> Image.Image:
    """Decode the lower byte of each sample of an opened image that `is_wide_color`."""
    tiles = []
    for tile in image.tile if isinstance(image, ImageFile.ImageFile) else ():
        mode = _raw_mode(tile.args)
        low = mode[:-4] + _LOW[mode[-4:]]
        args = (low, *tile.args[1:]) if isinstance(tile.args, tuple) else low
        tiles.append(tile._replace(args=args))
    image.tile = tiles  # type: ignore[attr-defined]
    image.load()
    return image


def join_bytes(upper: Image.Image, lower: Image.Image, bit_depth: int) -> Image.Image:
    """The image of `bit_depth` significant bits, from its upper and its lower bytes.

    Alpha has no camera's range: it keeps its upper byte.
    """
    high: Array = np.asarray(upper)
    samples = (high[..., :3].astype(np.uint16) << 8) | np.asarray(lower)[..., :3]
    pixels = reduce_bits(samples, bit_depth)
    image = Image.fromarray(np.dstack([pixels, high[..., 3:]]))
    orientation = upper.getexif().get(ORIENTATION)
    if orientation is not None:
        image.getexif()[ORIENTATION] = orientation
    return image


def _raw_mode(args: object) -> str:
    mode = args[0] if isinstance(args, tuple) and args else args
    return mode if isinstance(mode, str) else ""
