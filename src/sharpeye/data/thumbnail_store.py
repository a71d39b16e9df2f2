"""What images look like: from the cache where it is known, else decoded small.

Looks are kept as features are, by content: they are vectors of bytes, four to a float32. Those of
many images are held in a file without a name, whose pages the system may put back on disk.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.memmap import allocate_array
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import cache_root
from sharpeye.core.types import Rejected, Sample
from sharpeye.data.feature_store import FeatureStore
from sharpeye.data.features import stored
from sharpeye.data.read_image import read_sized
from sharpeye.data.thumbnail import (
    THUMBNAIL,
    THUMBNAIL_SPEC,
    THUMBNAIL_VERSION,
    ThumbnailArray,
    make_thumbnail,
)
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import DECODER_VERSION

log = logging.getLogger(__name__)

FOLDER = "looks"  # of the cache
_MOVED = 4096  # at a time

Progress = Callable[[int, int], None]  # (done, total)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Thumbnails:
    """Looks of images: 1.2 kB each, and no pixels.

    Attributes:
        looks: LOOK[N], one a digest.
        samples: the first sample of each digest, in the same order.
        rejected: what cannot be decoded, one line a sample.
        from_store: how many came from the cache.
    """

    thumbnails: ThumbnailArray
    samples: tuple[Sample, ...]
    rejected: tuple[Rejected, ...]
    from_store: int


def store_key() -> dict[str, Any]:
    """Everything that a look depends on besides the image's bytes."""
    return {"looks": THUMBNAIL_VERSION, "decoder": DECODER_VERSION, "pillow": version("pillow")}


def load_thumbnails(
    samples: Sequence[Sample], progress: Progress | None = None, root: Path | None = None
) -> Thumbnails:
    """The look of each image.

    Args:
        samples: with digests. Equal files are looked at once.
        progress: called with (done, total) after each image that had to be decoded.
        root: the cache; by default `cache_root()`.
    """
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.sha256, sample)
    rows = {digest: row for row, digest in enumerate(first)}
    folder = (root or cache_root()) / FOLDER
    looks: ThumbnailArray = allocate_array((len(rows),), THUMBNAIL, folder, "looks")
    known = np.zeros(len(rows), bool)
    store = FeatureStore(store_key(), THUMBNAIL.itemsize // 4, folder)
    for digest, vector in store.stored(rows):
        looks[rows[digest]], known[rows[digest]] = vector.view(THUMBNAIL)[0], True
    from_store = int(known.sum())
    missing = [sample for row, sample in enumerate(first.values()) if not known[row]]
    failed: dict[str, str] = {}
    if missing:
        results = stored(store, parallel_map(_vector, missing), lambda sample: sample.sha256)
        for done, (sample, result) in enumerate(results, start=1):
            if isinstance(result, ImageReadError):
                failed[sample.sha256] = result.reason
            else:
                row = rows[sample.sha256]
                looks[row], known[row] = result.view(THUMBNAIL)[0], True
            if progress:
                progress(done, len(missing))
        store.merge()
    return Thumbnails(
        _kept(looks, np.flatnonzero(known)),
        tuple(sample for row, sample in enumerate(first.values()) if known[row]),
        tuple(Rejected(s.path, failed[s.sha256]) for s in samples if s.sha256 in failed),
        from_store,
    )


def _kept(looks: ThumbnailArray, rows: npt.NDArray[np.int64]) -> ThumbnailArray:
    """Only these rows, moved up in place: a copy would be as large again."""
    if len(rows) < len(looks):
        for start in range(0, len(rows), _MOVED):
            some = rows[start : start + _MOVED]
            looks[start : start + len(some)] = looks[some]
    return looks[: len(rows)]


def _vector(sample: Sample) -> Floats | ImageReadError:
    """float32[298]: the bytes of a look."""
    try:
        image, size = read_sized(sample, (THUMBNAIL_SPEC.width, THUMBNAIL_SPEC.height))
    except ImageReadError as error:
        return error
    return make_thumbnail(image, size).view(np.float32)
