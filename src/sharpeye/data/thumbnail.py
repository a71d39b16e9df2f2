"""What one image looks like, in 1,192 bytes: a thumbnail, and quick facts for finding odd ones.

Everything is taken at a fixed small size from one decoding, in which a JPEG is only decoded at
half, a quarter or an eighth of its size: 1 to 2 ms a photograph. Nothing here judges; `near.py`
and `odd.py` do.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.types import InputSpec

# Raised with every change that alters a look: the cache keeps it in its key.
THUMBNAIL_VERSION = 1

SIDE, CHROMA_SIDE = 32, 8
# Shares of the pixels, in percent, whose greatest grey level is kept.
QUANTILES = (0.1, 1.0, 5.0, 50.0, 95.0, 99.0, 99.9)

THUMBNAIL = np.dtype(
    [
        ("thumb", "u1", (SIDE, SIDE)),  # grey, stretched to a square
        ("chroma", "u1", (2, CHROMA_SIDE, CHROMA_SIDE)),  # Cb and Cr, 128 is grey
        ("width", "<f4"),  # of the whole upright image, pixels
        ("height", "<f4"),
        ("quantiles", "<f4", (len(QUANTILES),)),  # grey levels 0..255
        ("sharpness", "<f4"),  # 0..4, see `_sharpness`
    ]
)
ThumbnailArray = npt.NDArray[np.void]  # LOOK[N]

# How an image is decoded for its look: a JPEG keeps 2 * 96 pixels on its longer side.
THUMBNAIL_SPEC = InputSpec(height=96, width=96, fit="pad")
_LONGER = 192

Floats = npt.NDArray[np.float32]


def make_thumbnail(image: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.void]:
    """The look of one image.

    Args:
        image: mode RGB, decoded with `LOOK_SPEC` or whole.
        size: width and height of the whole upright image.

    Returns:
        LOOK[1].
    """
    look = np.zeros(1, THUMBNAIL)
    look["width"], look["height"] = size
    scale = _LONGER / max(image.size)
    if scale < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BOX,
        )
    luma, blue, red = image.convert("YCbCr").split()
    grey = np.asarray(luma)
    look["thumb"] = np.asarray(luma.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    small = (CHROMA_SIDE, CHROMA_SIDE)
    for row, channel in enumerate((blue, red)):
        look["chroma"][0, row] = np.asarray(channel.resize(small, Image.Resampling.BILINEAR))
    counts = np.bincount(grey.ravel(), minlength=256).cumsum()
    found = np.searchsorted(counts, np.array(QUANTILES) / 100 * counts[-1])
    look["quantiles"] = found
    look["sharpness"] = _sharpness(grey.astype(np.float32), float(found[-1] - found[0]))
    return look


def _sharpness(grey: Floats, contrast: float) -> float:
    """How sharp the sharpest thousandth of an image is: 0..4, an ideal edge has about 1.

    The 99.9th percentile of the absolute Laplacian over the contrast. Its variance, which is used
    more often, also calls smooth images blurred, and those with a sharp flower before a soft
    background; here something in the image must be sharp.

    Args:
        grey: float32[H,W], 0..255.
        contrast: grey levels between the darkest and the lightest thousandth.
    """
    if contrast < 1 or min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = np.abs(4 * middle - around).ravel()
    place = min(len(laplacian) - 1, round(0.999 * len(laplacian)))
    return float(np.partition(laplacian, place)[place]) / contrast
