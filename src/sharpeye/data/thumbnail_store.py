"""Load the thumbnails of images from the cache, and make and store those that it lacks.

They are stored like features: as vectors of bytes, four to a float32. Those of many images are
held in a file without a name, whose pages the system may put back on disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats, Ints, allocate_array
from sharpeye.core.progress import Progress
from sharpeye.core.storage import cache_root
from sharpeye.core.types import Rejected, Sample
from sharpeye.data.cached_vectors import load_or_compute
from sharpeye.data.sample_image import read_image_and_size
from sharpeye.data.thumbnail import (
    THUMBNAIL,
    THUMBNAIL_SPEC,
    THUMBNAIL_VERSION,
    ThumbnailArray,
    make_thumbnail,
)
from sharpeye.data.vector_store import VectorStore
from sharpeye.images.decode import DECODER_VERSION

FOLDER = "looks"  # of the cache
_CHUNK = 4096  # rows that are moved at a time


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails of some images: 1.2 kB each.

    Attributes:
        thumbnails: THUMBNAIL[N], one a digest; `from_store` of them came from the cache.
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
    """The thumbnail of each different image.

    Args:
        samples: with digests.
        progress: called after each image that had to be decoded.
        root: the cache; by default `cache_root()`.
    """
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.sha256, sample)
    indices = {digest: index for index, digest in enumerate(first)}
    folder = (root or cache_root()) / FOLDER
    thumbnails: ThumbnailArray = allocate_array(
        (len(first),), THUMBNAIL, folder, description="looks"
    )
    loaded = np.zeros(len(first), bool)

    def receive(digest: str, vector: Floats) -> None:
        index = indices[digest]
        thumbnails[index], loaded[index] = vector.view(THUMBNAIL)[0], True

    store = VectorStore(store_key(), THUMBNAIL.itemsize // 4, folder)
    result = load_or_compute(store, first, _compute, receive=receive, progress=progress)
    return Thumbnails(
        _compact(thumbnails, np.flatnonzero(loaded)),
        tuple(sample for index, sample in enumerate(first.values()) if loaded[index]),
        result.rejected(samples),
        result.from_store,
    )


def store_key() -> dict[str, Any]:
    """Everything that a thumbnail depends on besides the image's bytes."""
    return {"looks": THUMBNAIL_VERSION, "decoder": DECODER_VERSION, "pillow": version("pillow")}


def _compute(sample: Sample) -> Floats:
    """float32[298]: the bytes of a thumbnail."""
    size = (THUMBNAIL_SPEC.width, THUMBNAIL_SPEC.height)
    return make_thumbnail(*read_image_and_size(sample, size)).view(np.float32)


def _compact(thumbnails: ThumbnailArray, indices: Ints) -> ThumbnailArray:
    """Only these rows, moved up in place: a copy would need as much memory again."""
    if len(indices) < len(thumbnails):
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            thumbnails[start : start + len(chunk)] = thumbnails[chunk]
    return thumbnails[: len(indices)]
