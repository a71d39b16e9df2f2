"""Make the thumbnail of an image: 1,192 bytes from which copies and bad quality are found.

It is computed at a fixed small size from one decoding, in which a JPEG is only decoded at half, a
quarter or an eighth of its size: 1 to 2 ms a photograph. `near_duplicates.py` and
`image_quality.py` use it.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.arrays import Floats
from sharpeye.core.types import InputSpec

# Raised with every change that alters a thumbnail: it is in the key of the cache.
THUMBNAIL_VERSION = 1

SIDE, CHROMA_SIDE = 32, 8
# Percentiles of the grey levels.
QUANTILES = (0.1, 1.0, 5.0, 50.0, 95.0, 99.0, 99.9)

THUMBNAIL = np.dtype(
    [
        ("thumb", "u1", (SIDE, SIDE)),  # grey, stretched to a square
        ("chroma", "u1", (2, CHROMA_SIDE, CHROMA_SIDE)),  # Cb and Cr, 128 is grey
        ("width", "<f4"),  # of the full-size upright image, pixels
        ("height", "<f4"),
        ("quantiles", "<f4", (len(QUANTILES),)),  # grey levels 0..255
        ("sharpness", "<f4"),  # 0..4, see `_sharpness`
    ]
)
ThumbnailArray = npt.NDArray[np.void]  # THUMBNAIL[N]

# How an image is decoded for its thumbnail: a JPEG keeps 2 * 96 pixels on its longer side.
THUMBNAIL_SPEC = InputSpec(height=96, width=96, fit="pad")
_MAX_SIDE = 192


def make_thumbnail(image: Image.Image, size: tuple[int, int]) -> ThumbnailArray:
    """The thumbnail of one image.

    Args:
        image: mode RGB, decoded with `THUMBNAIL_SPEC` or in full size.
        size: width and height of the full-size upright image.

    Returns:
        THUMBNAIL[1].
    """
    thumbnail = np.zeros(1, THUMBNAIL)
    thumbnail["width"], thumbnail["height"] = size
    scale = _MAX_SIDE / max(image.size)
    if scale < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BOX,
        )
    luma, blue, red = image.convert("YCbCr").split()
    grey = np.asarray(luma)
    thumbnail["thumb"] = np.asarray(luma.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    small = (CHROMA_SIDE, CHROMA_SIDE)
    for i, channel in enumerate((blue, red)):
        thumbnail["chroma"][0, i] = np.asarray(channel.resize(small, Image.Resampling.BILINEAR))
    counts = np.bincount(grey.ravel(), minlength=256).cumsum()
    quantiles = np.searchsorted(counts, np.array(QUANTILES) / 100 * counts[-1])
    thumbnail["quantiles"] = quantiles
    contrast = float(quantiles[-1] - quantiles[0])
    thumbnail["sharpness"] = _sharpness(grey.astype(np.float32), contrast)
    return thumbnail


def _sharpness(grey: Floats, contrast: float) -> float:
    """The sharpness of the sharpest thousandth of an image: 0..4, an ideal edge has about 1.

    It is the 99.9th percentile of the absolute Laplacian over the contrast. Its variance, which is
    used more often, also calls smooth images blurred, and those with a sharp flower before a soft
    background; here something in the image must be sharp.

    Args:
        grey: float32[H,W], 0..255.
        contrast: grey levels between the darkest and the lightest thousandth.
    """
    if contrast < 1 or min(grey.shape) < 3:
        return 0.0
    center = grey[1:-1, 1:-1]
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = np.abs(4 * center - neighbours).ravel()
    rank = min(len(laplacian) - 1, round(0.999 * len(laplacian)))
    return float(np.partition(laplacian, rank)[rank]) / contrast
