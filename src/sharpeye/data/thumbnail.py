"""Make and cache the thumbnails of images, which reveal copies and bad quality.

A thumbnail has 1,192 bytes. It is computed at a fixed small size from one decoding; a JPEG is
decoded at half, a quarter or an eighth of its size: 1 to 2 ms per photograph. The cache stores
thumbnails like features: as vectors of bytes, four to a float32.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core.arrays import Floats, allocate_array
from sharpeye.core.progress import Progress
from sharpeye.core.storage import cache_root
from sharpeye.core.types import MAX_BIT_DEPTH, Rejected, Sample
from sharpeye.data.cached_vectors import load_or_compute
from sharpeye.data.sample_image import WIDE_KEY, read_image_and_size, wide_key
from sharpeye.data.vector_store import VectorStore
from sharpeye.images.decode import DECODER_VERSION

FOLDER = "looks"  # of the cache
# Raise it with every change that alters a thumbnail: it is part of the cache key.
THUMBNAIL_VERSION = 1

SIDE, CHROMA_SIDE = 32, 8
# Percentiles of the grey levels.
QUANTILES = (0.1, 1.0, 5.0, 50.0, 95.0, 99.0, 99.9)

THUMBNAIL = np.dtype(
    [
        ("thumb", "u1", (SIDE, SIDE)),  # grey, stretched to a square
        ("chroma", "u1", (2, CHROMA_SIDE, CHROMA_SIDE)),  # Cb and Cr, 128 is grey
        ("width", "<f4"),  # size of the full-size upright image, pixels
        ("height", "<f4"),
        ("quantiles", "<f4", (len(QUANTILES),)),  # grey levels 0..255
        ("sharpness", "<f4"),  # 0..4, see `_sharpness`
    ]
)
ThumbnailArray = npt.NDArray[np.void]  # THUMBNAIL[N]

_MAX_SIDE = 192
# The size for which an image is decoded: a JPEG then keeps `_MAX_SIDE` on its longer side.
DISPLAY_SIZE = (_MAX_SIDE // 2, _MAX_SIDE // 2)
_CHUNK = 4096  # rows that are moved at a time


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails of some images.

    Attributes:
        thumbnails: THUMBNAIL[N], one per digest; `from_store` of them came from the cache. A large
            array lies in a file, whose pages the system may write back to disk.
        samples: the first sample of each digest, in the same order.
        rejected: samples that cannot be decoded.
    """

    thumbnails: ThumbnailArray
    samples: tuple[Sample, ...]
    rejected: tuple[Rejected, ...]
    from_store: int


def load_thumbnails(
    samples: Sequence[Sample], progress: Progress | None = None, root: Path | None = None
) -> Thumbnails:
    """The thumbnail of each distinct image, from the cache if it is there.

    `progress` is called after each image that had to be decoded.
    """
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.sha256, sample)
    index_by_digest = {digest: index for index, digest in enumerate(first)}
    folder = (root or cache_root()) / FOLDER
    thumbnails: ThumbnailArray = allocate_array(
        (len(first),), THUMBNAIL, folder, description="thumbnails"
    )
    loaded = np.zeros(len(first), bool)

    def receive(digest: str, vector: Floats) -> None:
        index = index_by_digest[digest]
        thumbnails[index], loaded[index] = vector.view(THUMBNAIL)[0], True

    def compute(sample: Sample) -> Floats:
        image, size = read_image_and_size(sample, DISPLAY_SIZE)
        return make_thumbnail(image, size).view(np.float32)

    bit_depth = min((sample.bit_depth for sample in samples), default=MAX_BIT_DEPTH)
    key = store_key(bit_depth) | wide_key(samples)
    store = VectorStore(key, THUMBNAIL.itemsize // 4, folder)
    result = load_or_compute(store, first, compute, receive=receive, progress=progress)
    if not loaded.all():  # moved in place: a copy would double the memory
        indices = np.flatnonzero(loaded)
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            thumbnails[start : start + len(chunk)] = thumbnails[chunk]
    return Thumbnails(
        thumbnails[: loaded.sum()],
        tuple(sample for index, sample in enumerate(first.values()) if loaded[index]),
        result.rejected(samples),
        result.from_store,
    )


def cached_thumbnails(
    digests: Iterable[str], bit_depth: int = MAX_BIT_DEPTH, root: Path | None = None
) -> dict[str, ThumbnailArray]:
    """THUMBNAIL[1] by digest: the thumbnails of images that the cache has."""
    folder = (root or cache_root()) / FOLDER
    digests, cached = set(digests), dict[str, ThumbnailArray]()
    for key in (store_key(bit_depth) | WIDE_KEY, store_key(bit_depth)):
        store = VectorStore(key, THUMBNAIL.itemsize // 4, folder)
        for digest, vector in store.read(digests - cached.keys()):
            cached[digest] = vector.view(THUMBNAIL)
    return cached


def store_key(bit_depth: int = MAX_BIT_DEPTH) -> dict[str, Any]:
    """The key of everything that a thumbnail depends on besides the image's bytes."""
    key = {"looks": THUMBNAIL_VERSION, "decoder": DECODER_VERSION, "pillow": version("pillow")}
    return key if bit_depth == MAX_BIT_DEPTH else key | {"bit_depth": bit_depth}


def make_thumbnail(image: Image.Image, size: tuple[int, int]) -> ThumbnailArray:
    """THUMBNAIL[1] of one image.

    Args:
        image: mode RGB, decoded for `DISPLAY_SIZE` or in full size.
        size: width and height of the full-size upright image.
    """
    thumbnail = np.zeros(1, THUMBNAIL)
    thumbnail["width"], thumbnail["height"] = size
    scale = _MAX_SIDE / max(image.size)
    if scale < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BOX,
        )
    luma, *chroma = image.convert("YCbCr").split()
    grey = np.asarray(luma)
    thumbnail["thumb"] = luma.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    for i, channel in enumerate(chroma):
        small = channel.resize((CHROMA_SIDE, CHROMA_SIDE), Image.Resampling.BILINEAR)
        thumbnail["chroma"][0, i] = small
    counts = np.bincount(grey.ravel(), minlength=256).cumsum()
    quantiles = np.searchsorted(counts, np.array(QUANTILES) / 100 * counts[-1])
    thumbnail["quantiles"] = quantiles
    contrast = float(quantiles[-1] - quantiles[0])
    thumbnail["sharpness"] = _sharpness(grey.astype(np.float32), contrast)
    return thumbnail


def _sharpness(grey: Floats, contrast: float) -> float:
    """The sharpness of the sharpest thousandth of an image: 0..4, an ideal edge has about 1.

    It is the 99.9th percentile of the absolute Laplacian over the contrast. The more common
    variance also calls smooth images blurred, and a sharp flower before a soft background; here one
    sharp area is enough.
    """
    if contrast < 1 or min(grey.shape) < 3:
        return 0.0
    center = grey[1:-1, 1:-1]
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = np.abs(4 * center - neighbours).ravel()
    rank = min(len(laplacian) - 1, round(0.999 * len(laplacian)))
    return float(np.partition(laplacian, rank)[rank]) / contrast
