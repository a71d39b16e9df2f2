"""What pictures look like: from the cache where it is known, else decoded small.

Looks are kept as features are, by content: they are vectors of bytes, four to a float32.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.data.look import LOOK, LOOK_SPEC, LOOK_VERSION, Looks, look_at
from sharpeye.data.reading import read_sized
from sharpeye.errors import ImageReadError
from sharpeye.imaging.decode import DECODER_VERSION
from sharpeye.pipeline.extract import stored
from sharpeye.pipeline.feature_store import FeatureStore
from sharpeye.pipeline.stream import stream
from sharpeye.storage import cache_root
from sharpeye.types import Rejected, Sample

log = logging.getLogger(__name__)

FOLDER = "looks"  # of the cache

Progress = Callable[[int, int], None]  # (done, total)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """Looks of pictures: 1.2 kB each, and no pixels.

    Attributes:
        looks: LOOK[N], one a digest.
        samples: the first sample of each digest, in the same order.
        rejected: what cannot be decoded, one line a sample.
        from_store: how many came from the cache.
    """

    looks: Looks
    samples: tuple[Sample, ...]
    rejected: tuple[Rejected, ...]
    from_store: int


def store_key() -> dict[str, Any]:
    """Everything that a look depends on besides the picture's bytes."""
    return {"looks": LOOK_VERSION, "decoder": DECODER_VERSION, "pillow": version("pillow")}


def see(
    samples: Sequence[Sample], progress: Progress | None = None, root: Path | None = None
) -> Seen:
    """The look of each picture.

    Args:
        samples: with digests. Equal files are looked at once.
        progress: called with (done, total) after each picture that had to be decoded.
        root: the cache; by default `cache_root()`.
    """
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.sha256, sample)
    rows = {digest: row for row, digest in enumerate(first)}
    looks, known = np.zeros(len(rows), LOOK), np.zeros(len(rows), bool)
    store = FeatureStore(store_key(), LOOK.itemsize // 4, (root or cache_root()) / FOLDER)
    for digest, vector in store.stored(rows):
        looks[rows[digest]], known[rows[digest]] = vector.view(LOOK)[0], True
    from_store = int(known.sum())
    missing = [sample for row, sample in enumerate(first.values()) if not known[row]]
    failed: dict[str, str] = {}
    if missing:
        results = stored(store, stream(_vector, missing), lambda sample: sample.sha256)
        for done, (sample, result) in enumerate(results, start=1):
            if isinstance(result, ImageReadError):
                failed[sample.sha256] = result.reason
            else:
                row = rows[sample.sha256]
                looks[row], known[row] = result.view(LOOK)[0], True
            if progress:
                progress(done, len(missing))
        store.merge()
    return Seen(
        looks[known],
        tuple(sample for row, sample in enumerate(first.values()) if known[row]),
        tuple(Rejected(s.path, failed[s.sha256]) for s in samples if s.sha256 in failed),
        from_store,
    )


def _vector(sample: Sample) -> Floats | ImageReadError:
    """float32[298]: the bytes of a look."""
    try:
        image, size = read_sized(sample, LOOK_SPEC)
    except ImageReadError as error:
        return error
    return look_at(image, size).view(np.float32)
