"""Find nearly the same images: recompressed, resized, slightly cropped, or from one burst.

`similar_vectors.py` finds pairs with similar low frequencies. `thumbnail_comparison.py` aligns
their thumbnails: grey levels, gradients, colours and shapes must agree. Hashes whose bits represent
positions or frequencies (dHash, pHash) fail on drawings: if an image is symmetric or flat, their
bits are noise.

The decision on two images depends only on these two. Measured on 203 drawings on
white and on 810 photographs with an object in each, share of copies found: JPEG quality 30 to 90,
WebP 40, half to double size: 99.8 % or more; a quarter of the size: 92 % and 99.8 %; brightness
+-20 %: 98 % or more; cut by 2 % on all sides: 99.5 % and 87 %, by 4 %: 90 % and 70 %. Of their
20,503 and 327,645 pairs of different images, none and one are called nearly the same (correctly: an
orange on the same cloud).
"""

from collections import defaultdict
from typing import Any, Generic, TypeVar

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.data.similar_vectors import lsh_pairs
from sharpeye.data.thumbnail import SIDE, ThumbnailArray
from sharpeye.data.thumbnail_comparison import (
    MIN_EDGES,
    ImagePairs,
    compare_pairs,
    concatenate,
    could_be_same,
    is_tiny,
)

Member = TypeVar("Member", bound=Any)

FREQUENCIES = 7
_PAIR_CHUNK, _THUMBNAIL_CHUNK = 512, 4096

# Tiny images need higher limits: of 10,000 of Fashion-MNIST, 837 have a twin at the first limit of
# the edges, 34 at the second.
_MIN_COSINE, _MIN_COSINE_TINY = 0.88, 0.97
_MIN_EDGES_TINY = 0.985
_MIN_GREY = 0.85
MIN_CONTRAST = 10.0  # grey levels; flatter images have nothing to compare

_NO_INDICES, _NO_VALUES = np.empty(0, np.int64), np.empty(0, np.float32)
NO_PAIRS = ImagePairs(_NO_INDICES, _NO_INDICES, _NO_VALUES, _NO_VALUES, _NO_VALUES, _NO_VALUES)


class DisjointSets(Generic[Member]):
    """Union-find: sets of members that can be ordered; the smallest member represents its set."""

    def __init__(self) -> None:
        self._parents: dict[Member, Member] = {}

    def find(self, member: Member) -> Member:
        """The representative of the set that a member is in; a new member is alone in its set."""
        parents = self._parents
        while parents.setdefault(member, member) != member:
            parents[member] = member = parents[parents[member]]
        return member

    def join(self, *members: Member) -> None:
        """Put the sets of these members together."""
        representatives = {self.find(member) for member in members}
        if representatives:
            self._parents.update(dict.fromkeys(representatives, min(representatives)))


def find_near_duplicates(thumbnails: ThumbnailArray, categories: Ints | None = None) -> ImagePairs:
    """The pairs of images that are nearly the same, in order.

    Pairs within a group of already connected images are skipped: ten thousand frames of a static
    camera would have a million.

    Args:
        thumbnails: THUMBNAIL[N], one per digest.
        categories: int64[N], such as a number for each class and split: pairs across categories are
            never skipped.
    """
    first, second = candidate_pairs(thumbnails)
    if categories is None:
        categories = np.zeros(len(thumbnails), np.int64)
    groups, chunks = DisjointSets[int](), [NO_PAIRS]
    for start in range(0, len(first), _PAIR_CHUNK):
        a, b = first[start : start + _PAIR_CHUNK], second[start : start + _PAIR_CHUNK]
        needed = categories[a] != categories[b]
        for i in np.flatnonzero(~needed).tolist():
            needed[i] = groups.find(int(a[i])) != groups.find(int(b[i]))
        pairs = compare_pairs(thumbnails, a[needed], b[needed])
        tiny = is_tiny(thumbnails[pairs.first]) & is_tiny(thumbnails[pairs.second])
        min_edges = np.where(tiny, _MIN_EDGES_TINY, MIN_EDGES)
        agree = (pairs.edges >= min_edges) & (pairs.grey >= _MIN_GREY)
        pairs = pairs.select(agree & could_be_same(thumbnails, pairs))
        for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            groups.join(*pair)
        chunks.append(pairs)
    return concatenate(chunks)


def duplicate_groups(*pairs: ImagePairs) -> list[list[int]]:
    """Groups of two or more indices that pairs connect, in order."""
    groups, indices = DisjointSets[int](), set[int]()
    for chunk in pairs:
        for pair in zip(chunk.first.tolist(), chunk.second.tolist(), strict=True):
            groups.join(*pair)
            indices.update(pair)
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(indices):
        members[groups.find(index)].append(index)
    return list(members.values())


def candidate_pairs(thumbnails: ThumbnailArray) -> tuple[Ints, Ints]:
    """Pairs to compare: int64[K] and int64[K], first < second, in order."""
    contrast = thumbnails["quantiles"][:, -1] - thumbnails["quantiles"][:, 0]
    indices = np.flatnonzero(contrast >= MIN_CONTRAST)
    min_cosines = np.where(is_tiny(thumbnails)[indices], _MIN_COSINE_TINY, _MIN_COSINE)
    vectors = _low_frequencies(thumbnails, indices)
    first, second = lsh_pairs(vectors, min_cosines.astype(np.float32))
    return indices[first], indices[second]


def _low_frequencies(thumbnails: ThumbnailArray, indices: Ints) -> Floats:
    """float32[K,48]: the vectors of some thumbnails."""
    vectors = np.empty((len(indices), FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(indices), _THUMBNAIL_CHUNK):
        chunk = indices[start : start + _THUMBNAIL_CHUNK]
        thumbs = thumbnails["thumb"][chunk].astype(np.float32)
        vectors[start : start + _THUMBNAIL_CHUNK] = frequency_vectors(thumbs)
    return vectors


def frequency_vectors(thumbs: Floats) -> Floats:
    """float32[K,48]: DCT-II without the mean, times frequency, of length 1; 0 for flat images."""
    frequencies = np.arange(FREQUENCIES)
    positions = (np.arange(SIDE) + 0.5) / SIDE
    basis = np.cos(np.pi * frequencies[:, None] * positions).astype(np.float32)
    weights = np.hypot(frequencies[:, None], frequencies).ravel()[1:].astype(np.float32)
    waves = (basis @ thumbs @ basis.T).reshape(len(thumbs), -1)[:, 1:] * weights
    lengths = np.linalg.norm(waves, axis=1, keepdims=True)
    vectors: Floats = waves / np.maximum(lengths, 1e-3)
    return vectors
