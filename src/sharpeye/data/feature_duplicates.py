"""Find images with nearly the same features in a network, from features in the cache.

Thumbnails (`near_duplicates.py`) find copies that were recompressed, resized or slightly cropped,
but not those of which more was cut off. So thumbnails of images with similar features are compared
again, from larger crops and with lower limits. Features alone are not enough: an orange and a
mandarin have the same ones, and so have an image and its mirror image. The split ignores them: it
must not depend on a cache.

Measured on 203 drawings and 250 photographs with EfficientNet-Lite0, share of copies found without
and with features: cut by 6 % on all sides 52 and 100 %, 40 and 92 %; by 10 % 1 and 80 %, 2 and
79 %; 30 % brighter 91 and 96 %, 96 and 98 %. None of their 20,503 and 31,125 pairs of different
images is called the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Bools, Floats
from sharpeye.data.near_duplicates import NO_PAIRS
from sharpeye.data.similar_vectors import cosines, lsh_pairs
from sharpeye.data.thumbnail import Thumbnails
from sharpeye.data.thumbnail_comparison import ImagePairs, compare_pairs, could_be_same, is_tiny
from sharpeye.data.vector_store import VectorStore, iter_vector_folders

_MIN_COSINE, _MIN_EDGES, _MIN_GREY = 0.8, 0.94, 0.75
_CROPS = (0.0, 0.05, 0.1)  # starting points of the alignment
_WORDS, _BITS = 32, 12  # of the hash: the cosines are lower than for thumbnails
_MAX_PAIRS_PER_IMAGE = 20  # pairs per image on average, those with the highest cosine
# Features are projected on so many random axes, which keeps a cosine of 0.9 to +-0.01: half a
# kilobyte per image instead of five.
_AXES = 256
# A store is used only if it holds this share of the images: a smaller part says little.
_MIN_SHARE = 0.9
_BATCH_SIZE = 256


def feature_duplicate_pairs(
    images: Thumbnails,
    known: ImagePairs,
    features: Mapping[str, Floats] | None = None,
    *,
    root: Path | None = None,
) -> ImagePairs:
    """Pairs whose features in a network are nearly the same; `similarity` is the cosine.

    Empty if no network has features of nearly all images, or if the images are tiny.

    Args:
        known: pairs that were found before, which are left out.
        features: float32[D] by digest; by default those of the network with the most in the cache.
    """
    thumbnails = images.thumbnails
    indices = np.flatnonzero(~is_tiny(thumbnails))
    rows = {images.samples[index].sha256: row for row, index in enumerate(indices.tolist())}
    vectors = features.items() if features is not None else _cached_features(rows, root)
    points, filled = _project(((d, v) for d, v in vectors if d in rows), rows)
    if filled.sum() < max(2, _MIN_SHARE * len(rows)):
        return NO_PAIRS
    indices, points = indices[filled], points[filled]
    min_cosines = np.full(len(points), _MIN_COSINE, np.float32)
    first, second = lsh_pairs(points, min_cosines, _WORDS, bits=_BITS)
    cosine = cosines(points, first, second)
    best = np.argsort(-cosine, kind="stable")[: _MAX_PAIRS_PER_IMAGE * len(points)]
    best.sort()
    first, second = indices[first[best]], indices[second[best]]
    pairs = compare_pairs(thumbnails, first, second, crops=_CROPS)
    codes, known_codes = (p.first * len(thumbnails) + p.second for p in (pairs, known))
    return replace(pairs, similarity=cosine[best]).select(
        (pairs.edges >= _MIN_EDGES)
        & (pairs.grey >= _MIN_GREY)
        & could_be_same(thumbnails, pairs)
        & ~np.isin(codes, known_codes)
    )


def _cached_features(digests: Mapping[str, int], root: Path | None) -> Iterator[tuple[str, Floats]]:
    """(digest, features) of the network with features of the most images."""
    stores = []
    for _, key, _ in iter_vector_folders(root):
        dimension = key.pop("dimension", None)
        if "backbone" in key and key.get("view") == 0 and isinstance(dimension, int):
            stores.append(VectorStore(key, dimension, root))
    best = max(stores, key=lambda store: store.count(digests), default=None)
    return best.read(digests) if best else iter(())


def _project(
    vectors: Iterator[tuple[str, Floats]], rows: Mapping[str, int]
) -> tuple[Floats, Bools]:
    """float16[N,A], unit vectors of centred square roots of features; and which rows are filled.

    Square roots, as in `learn/heads/head.py`, keep a few large features from dominating.
    """
    filled = np.zeros(len(rows), bool)
    points = np.zeros((len(rows), 0), np.float32)
    axes: Floats | None = None
    while batch := list(islice(vectors, _BATCH_SIZE)):
        features = np.stack([vector for _, vector in batch])
        features = np.sign(features) * np.sqrt(np.abs(features))
        if axes is None:
            axes = _axes(features.shape[1])
            points = np.zeros((len(rows), axes.shape[1]), np.float32)
        batch_rows = [rows[digest] for digest, _ in batch]
        points[batch_rows], filled[batch_rows] = features @ axes, True
    if filled.any():
        points -= points[filled].mean(axis=0)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)
    return points.astype(np.float16), filled


def _axes(features: int) -> Floats:
    """float32[D,A]: random axes; the identity if there are few features."""
    if features <= _AXES:
        return np.eye(features, dtype=np.float32)
    return np.random.default_rng(0).standard_normal((features, _AXES)).astype(np.float32)
