"""Images that are nearly the same to a network: cosines of features that are in the cache.

Thumbnails (`near.py`) find copies that were recompressed, resized or slightly cropped, and lose
those of which more was cut off. To a network these still are the same. So where a network's
features are at hand, thumbnails of images whose features agree are laid over each other once
more, from further away, and need not agree as closely. Features alone would not do: to them an
orange and a mandarin are the same, and an image and its mirror image.

Measured on 203 drawings and 250 photographs with EfficientNet-Lite0, share of copies found without
and with features: cut by 6 % on all sides 52 and 100 %, 40 and 92 %; by 10 % 1 and 80 %, 2 and
79 %; 30 % brighter 91 and 96 %, 96 and 98 %. Of their 20,503 and 31,125 pairs of different images
none is called the same.

The split does not use them: it must not depend on what happens to be in a cache.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.data.feature_store import FeatureStore, iter_keys
from sharpeye.data.lsh import cosines, lsh_pairs
from sharpeye.data.near_duplicates import NO_PAIRS, Pairs, compare, could_be_same, is_tiny
from sharpeye.data.thumbnail_store import Thumbnails

Floats = npt.NDArray[np.float32]

_MIN_COSINE, _MIN_EDGES, _MIN_GREY = 0.8, 0.94, 0.75
_CROPS = (0.0, 0.05, 0.1)  # where the alignment begins
_WORDS, _BITS = 32, 12  # of the index: cosines are lower than those of thumbnails
_MAX_PAIRS = 20  # an image on average, those with the highest cosine
# The features are projected on so many random axes, which keeps a cosine of 0.9 to +-0.01: half a
# kilobyte an image, where the features are five.
_AXES = 256
# Of the images, that must be in a store before it is used: a part of them says little.
_MIN_SHARE = 0.9
_BATCH = 256


def feature_duplicate_pairs(
    seen: Thumbnails,
    known: Pairs,
    features: Mapping[str, Floats] | None = None,
    root: Path | None = None,
) -> Pairs:
    """Pairs that are nearly the same to a network; `likeness` is the cosine.

    Args:
        seen: looks, and the images that they are of.
        known: pairs that were found already, which are left out.
        features: float32[D] by digest; by default those of the cache, of the network that has most.
        root: the cache; by default `cache_root()`.

    Returns:
        none where no network has looked at nearly all images, or where they are too small.
    """
    large = np.flatnonzero(~is_tiny(seen.thumbnails))
    rows = {seen.samples[row].sha256: place for place, row in enumerate(large.tolist())}
    found = features.items() if features is not None else _stored(rows, root)
    vectors, filled = _projected(((d, v) for d, v in found if d in rows), rows)
    if filled.sum() < max(2, _MIN_SHARE * len(rows)):
        return NO_PAIRS
    large, vectors = large[filled], vectors[filled]
    least = np.full(len(vectors), _MIN_COSINE, np.float32)
    first, second = lsh_pairs(vectors, least, _WORDS, _BITS)
    likeness = cosines(vectors, first, second)
    best = np.sort(np.argsort(-likeness, kind="stable")[: _MAX_PAIRS * len(vectors)])
    first, second = large[first[best]], large[second[best]]
    pairs = compare(seen.thumbnails, first, second, _CROPS).told_by(likeness[best])
    codes = [own.first * len(seen.thumbnails) + own.second for own in (pairs, known)]
    return pairs.only(
        (pairs.edges >= _MIN_EDGES)
        & (pairs.grey >= _MIN_GREY)
        & could_be_same(seen.thumbnails, pairs)
        & ~np.isin(codes[0], codes[1])
    )


def _stored(digests: Mapping[str, int], root: Path | None) -> Iterator[tuple[str, Floats]]:
    """(digest, features) of the network that has looked at most of the images."""
    best: tuple[int, FeatureStore | None] = 0, None
    for _, key, _ in iter_keys(root):
        store = _plain_store(key, root)
        if store is not None:
            count = store.count(digests)
            best = max(best, (count, store), key=lambda one: one[0])
    return best[1].stored(digests) if best[1] is not None else iter(())


def _plain_store(key: dict[str, Any], root: Path | None) -> FeatureStore | None:
    """The store of a network's features of whole images; None for others."""
    own = dict(key)
    dimension = own.pop("dimension", None)
    if "backbone" not in own or own.get("view") != 0 or not isinstance(dimension, int):
        return None
    return FeatureStore(own, dimension, root)


def _projected(
    found: Iterable[tuple[str, Floats]], rows: Mapping[str, int]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """float16[N,A], unit vectors of roots of features about their mean, and which are known.

    Roots, as in `learn/heads/head.py`: else a few large features decide alone.
    """
    filled = np.zeros(len(rows), bool)
    points = np.zeros((len(rows), 0), np.float32)
    axes: Floats | None = None
    for batch in _batches(found):
        taken = np.stack([vector for _, vector in batch])
        taken = np.sign(taken) * np.sqrt(np.abs(taken))
        if axes is None:
            axes = _axes(taken.shape[1])
            points = np.zeros((len(rows), axes.shape[1]), np.float32)
        places = [rows[digest] for digest, _ in batch]
        points[places], filled[places] = taken @ axes, True
    if filled.any():
        points -= points[filled].mean(axis=0)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)
    return points.astype(np.float16), filled


def _axes(features: int) -> Floats:
    """float32[D,A]: random axes; of few features the features themselves."""
    if features <= _AXES:
        return np.eye(features, dtype=np.float32)
    return np.random.default_rng(0).standard_normal((features, _AXES)).astype(np.float32)


def _batches(found: Iterable[tuple[str, Floats]]) -> Iterator[list[tuple[str, Floats]]]:
    batch = []
    for one in found:
        batch.append(one)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
