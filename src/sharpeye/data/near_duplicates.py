"""Finds images that are nearly the same: recompressed, resized, slightly cropped, of one burst.

1. The low frequencies of a thumbnail, as a unit vector, go through an index (`near_index.py`), so
   that not all pairs are compared. Hashes whose bits stand for places or frequencies (dHash, pHash)
   fail on drawings: where an image is symmetric or flat, their bits are noise.
2. The thumbnails of such a pair are laid over each other: shift and scale are found by least
   squares (Lucas and Kanade 1981), so that a slight crop costs little. They are nearly the same
   if grey levels and their gradients agree, and colours and shapes too.

Whether two images are nearly the same depends on these two alone. Measured on 203 drawings on
white and on 810 photographs with an object in each, share of copies found: JPEG quality 30 to 90,
WebP 40, half to double size: 99.8 % or more; a quarter of the size: 92 % and 99.8 %; brightness
+-20 %: 98 % or more; cut by 2 % on all sides: 99.5 % and 87 %, by 4 %: 90 % and 70 %. Of their
20,503 and 327,645 pairs of different images none and one are called nearly the same (that one
is: an orange on the same cloud).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from sharpeye.data.lsh import lsh_pairs
from sharpeye.data.thumbnail import SIDE, ThumbnailArray

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_FREQUENCIES = 7
_MIN_COSINE, _MIN_COSINE_TINY = 0.88, 0.97
_CHUNK, _SIGNED = 512, 4096
_STEPS = 3
_MAX_SHIFT, _MAX_SCALE = 4.0, 0.3  # pixels of the thumbnail, share
_HOPELESS = 0.6  # agreement of edges after the first step of alignment

# See above. Images of at most _TINY pixels hold so little that different ones look alike: of
# 10,000 of Fashion-MNIST 837 have a twin at the first limit, 34 at the second.
_TINY = 40
_MIN_EDGES, _MIN_EDGES_TINY = 0.955, 0.985
_MIN_GREY = 0.85
_MAX_COLOUR = 12.0
_MAX_ASPECT = 0.12  # log of the ratio of the aspect ratios
_MIN_CONTRAST = 10.0  # grey levels; below it there is nothing to compare


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, and how alike they are.

    Attributes:
        first, second: int64[K], rows of the looks, first < second.
        grey: float32[K], correlation of the grey levels after alignment, -1..1.
        edges: float32[K], correlation of their gradients.
        colour: float32[K], mean absolute difference of Cb and Cr, 0..255.
        likeness: float32[K], the one of these, or another measure, that is told.
    """

    first: Ints
    second: Ints
    grey: Floats
    edges: Floats
    colour: Floats
    likeness: Floats

    def __len__(self) -> int:
        return len(self.first)

    def told_by(self, likeness: Floats) -> "Pairs":
        """The same with another likeness, float32[K]."""
        return replace(self, likeness=likeness)

    def only(self, kept: npt.NDArray[np.bool_]) -> "Pairs":
        """Those for which `kept`, bool[K], is true."""
        return Pairs(*(values[kept] for values in vars(self).values()))


_NO_ROWS, _NO_VALUES = np.empty(0, np.int64), np.empty(0, np.float32)
NO_PAIRS = Pairs(_NO_ROWS, _NO_ROWS, _NO_VALUES, _NO_VALUES, _NO_VALUES, _NO_VALUES)


def find_near_duplicates(looks: ThumbnailArray, sorts: Ints | None = None) -> Pairs:
    """The pairs of images that are nearly the same, in order.

    Of images that hang together by pairs already no more pairs are looked for: ten thousand
    frames of a standing camera would have a million.

    Args:
        looks: LOOK[N]. Exact copies must not be among them: take each digest once.
        sorts: int64[N], such as one number for each class and part: pairs of different ones are
            all looked for.
    """
    first, second = candidates(looks)
    sort = np.zeros(len(looks), np.int64) if sorts is None else sorts
    together, found = _DisjointSets(), [NO_PAIRS]
    for start in range(0, len(first), _CHUNK):
        one, other = first[start : start + _CHUNK], second[start : start + _CHUNK]
        open_ = sort[one] != sort[other]
        for place in np.flatnonzero(~open_).tolist():
            open_[place] = together.find(int(one[place])) != together.find(int(other[place]))
        pairs = _nearly_same(looks, compare(looks, one[open_], other[open_]))
        for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            together.join(a, b)
        found.append(pairs)
    return Pairs(*(np.concatenate([vars(own)[name] for own in found]) for name in vars(NO_PAIRS)))


def _nearly_same(looks: ThumbnailArray, pairs: Pairs) -> Pairs:
    tiny = is_tiny(looks[pairs.first]) & is_tiny(looks[pairs.second])
    least = np.where(tiny, _MIN_EDGES_TINY, _MIN_EDGES)
    return pairs.only(
        (pairs.edges >= least) & (pairs.grey >= _MIN_GREY) & could_be_same(looks, pairs)
    )


def could_be_same(looks: ThumbnailArray, pairs: Pairs) -> npt.NDArray[np.bool_]:
    """bool[K]: whether colours and shapes allow it."""
    one, other = (_aspect(looks[rows]) for rows in (pairs.first, pairs.second))
    found: npt.NDArray[np.bool_] = np.abs(one - other) <= _MAX_ASPECT
    return found & (pairs.colour <= _MAX_COLOUR)


def _aspect(looks: ThumbnailArray) -> Floats:
    ratio: Floats = np.log(np.maximum(looks["width"], 1) / np.maximum(looks["height"], 1))
    return ratio


class _DisjointSets:
    """Rows that hang together, by union and find; the smallest row names its group."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, row: int) -> int:
        parent = self._parent
        while parent.setdefault(row, row) != row:
            parent[row] = row = parent[parent[row]]
        return row

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low


def duplicate_groups(*near: Pairs) -> list[list[int]]:
    """Rows that hang together by pairs, each group in order, of two or more."""
    together, rows = _DisjointSets(), set[int]()
    for pairs in near:
        for one, other in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            together.join(one, other)
            rows |= {one, other}
    members: dict[int, list[int]] = {}
    for row in sorted(rows):
        members.setdefault(together.find(row), []).append(row)
    return list(members.values())


def is_tiny(looks: ThumbnailArray) -> npt.NDArray[np.bool_]:
    """bool[N]: images with too little in them to tell them well apart."""
    tiny: npt.NDArray[np.bool_] = np.maximum(looks["width"], looks["height"]) <= _TINY
    return tiny


def _cosines() -> Floats:
    """float32[frequencies, SIDE]: the first rows of a DCT-II."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    return np.asarray(np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * places), np.float32)


def signatures(looks: ThumbnailArray, rows: Ints) -> Floats:
    """float32[K,48]: low frequencies without the mean, as unit vectors; zeros for flat images.

    They are weighted by frequency, as those of images fall with it.
    """
    basis = _cosines()
    across = np.arange(_FREQUENCIES)
    weights = np.hypot(across[:, None], across).ravel()[1:].astype(np.float32)
    found = np.empty((len(rows), len(weights)), np.float32)
    for start in range(0, len(rows), _SIGNED):
        thumbs = looks["thumb"][rows[start : start + _SIGNED]].astype(np.float32)
        waves = (basis @ thumbs @ basis.T).reshape(len(thumbs), -1)[:, 1:] * weights
        lengths = np.linalg.norm(waves, axis=1, keepdims=True)
        found[start : start + _SIGNED] = waves / np.maximum(lengths, 1e-3)
    return found


def candidates(looks: ThumbnailArray) -> tuple[Ints, Ints]:
    """Pairs that are worth a closer look: int64[K] and int64[K], first < second, in order."""
    contrast = looks["quantiles"][:, -1] - looks["quantiles"][:, 0]
    rows = np.flatnonzero(contrast >= _MIN_CONTRAST)
    least = np.where(is_tiny(looks)[rows], _MIN_COSINE_TINY, _MIN_COSINE).astype(np.float32)
    first, second = lsh_pairs(signatures(looks, rows), least)
    return rows[first], rows[second]


def compare(
    looks: ThumbnailArray, first: Ints, second: Ints, crops: Sequence[float] = (0.0,)
) -> Pairs:
    """How alike given pairs are.

    Args:
        crops: how much one of the two may have been cut on every side, as shares 0..0.15 to begin
            the alignment at: it finds what is within 0.05 of one of them.
    """
    parts = [
        _compare_some(looks[first[at : at + _CHUNK]], looks[second[at : at + _CHUNK]], crops)
        for at in range(0, len(first), _CHUNK)
    ]
    found = np.concatenate([np.empty((3, 0), np.float32), *parts], axis=1)
    grey, edges, colour = found
    return Pairs(first, second, grey, edges, colour, edges)


def _compare_some(one: ThumbnailArray, other: ThumbnailArray, crops: Sequence[float]) -> Floats:
    """float32[3,K]: grey, edges, colour."""
    a, b = (_standard(looks["thumb"].astype(np.float32)) for looks in (one, other))
    found = _agreement(a, b)
    # Nobody crops images of 28 pixels, and most pairs of photographs agree as they are.
    unclear = np.flatnonzero((found[1] < _MIN_EDGES) & ~(is_tiny(one) & is_tiny(other)))
    for crop, (moved, fixed) in product(crops, ((a, b), (b, a))):
        if len(unclear):
            found[:, unclear] = np.maximum(
                found[:, unclear], _aligned(moved[unclear], fixed[unclear], crop)
            )
            unclear = unclear[found[1, unclear] < _MIN_EDGES]
    difference = one["chroma"].astype(np.float32) - other["chroma"]
    colour = np.abs(difference).reshape(len(one), -1).mean(axis=1)
    return np.concatenate([found, colour[None]]).astype(np.float32)


def _standard(thumbs: Floats) -> Floats:
    """Mean 0 and deviation 1 for each thumbnail."""
    mean, spread = thumbs.mean(axis=(1, 2), keepdims=True), thumbs.std(axis=(1, 2), keepdims=True)
    standard: Floats = (thumbs - mean) / np.maximum(spread, 1.0)
    return standard


def _aligned(moved: Floats, fixed: Floats, crop: float) -> Floats:
    """float32[2,K]: correlation of grey levels and of gradients, `moved` laid over `fixed`."""
    best = np.full((2, len(moved)), -1.0, np.float32)
    rows = np.arange(len(moved))
    # Shift and scale in x, then in y.
    steps = np.tile(np.array([0, -crop * SIDE] * 2, np.float32), (len(moved), 1))
    places = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / (SIDE / 2)
    warped = _standard(_warp(moved, steps, places)) if crop else moved
    for _ in range(_STEPS):
        steps = steps + _better_steps(warped, fixed[rows], places)
        limits = np.array([_MAX_SHIFT, _MAX_SCALE * SIDE / 2] * 2, np.float32)
        steps = np.clip(steps, -limits, limits)
        warped = _standard(_warp(moved[rows], steps, places))
        best[:, rows] = np.maximum(best[:, rows], _agreement(warped, fixed[rows]))
        open_ = (best[1, rows] > _HOPELESS) & (best[1, rows] < _MIN_EDGES)
        rows, steps, warped = rows[open_], steps[open_], warped[open_]
        if not len(rows):
            break
    return best


def _better_steps(warped: Floats, fixed: Floats, places: Floats) -> Floats:
    """float32[K,4]: by how much shift and scale in x and y should change, by least squares."""
    down, across = np.gradient(warped, axis=(1, 2))
    columns = [across, across * places, down, down * places[:, None]]
    slopes = np.stack(columns, axis=-1).reshape(len(warped), -1, 4)
    rest = (fixed - warped).reshape(len(warped), -1, 1)
    turned = slopes.transpose(0, 2, 1)
    square = turned @ slopes + 1e-2 * SIDE * np.eye(4, dtype=np.float32)
    found: Floats = np.linalg.solve(square, turned @ rest)[..., 0]
    return found


def _warp(thumbs: Floats, steps: Floats, places: Floats) -> Floats:
    """Each thumbnail read at shifted and scaled places, linearly; its border goes on."""
    count = np.arange(len(thumbs))[:, None]
    for axis, (shift, scale) in ((2, steps.T[:2]), (1, steps.T[2:])):
        at = np.arange(SIDE) + shift[:, None] + scale[:, None] * places
        at = np.clip(at, 0, SIDE - 1)
        low = np.minimum(at.astype(np.int64), SIDE - 2)
        share = (at - low).astype(np.float32)[..., None]
        turned = thumbs.swapaxes(1, 2) if axis == 2 else thumbs
        read = turned[count, low] * (1 - share) + turned[count, low + 1] * share
        thumbs = read.swapaxes(1, 2) if axis == 2 else read
    return thumbs


def _agreement(one: Floats, other: Floats) -> Floats:
    """float32[2,K]: correlation of grey levels and of gradients."""
    grey = (one * other).mean(axis=(1, 2))
    flat = [_slopes(each) for each in (one, other)]
    lengths = np.linalg.norm(flat[0], axis=1) * np.linalg.norm(flat[1], axis=1)
    edges = (flat[0] * flat[1]).sum(axis=1) / np.maximum(lengths, 1e-6)
    return np.stack([grey, edges])


def _slopes(thumbs: Floats) -> Floats:
    """float32[K,2*SIDE*SIDE]: the gradients of each thumbnail."""
    found: Floats = np.concatenate(np.gradient(thumbs, axis=(1, 2)), axis=1)
    return found.reshape(len(thumbs), -1)
