"""Compare pairs of thumbnails after aligning one with the other by shift and scale.

Shift and scale are the least-squares fit of Lucas and Kanade (1981): a slight crop costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from sharpeye.core.arrays import Bools, Floats, Ints
from sharpeye.core.inference import available_cores
from sharpeye.core.parallel import parallel_map
from sharpeye.data.thumbnail import SIDE, ThumbnailArray

_CHUNK = 128  # pairs, whose arrays stay in a core's cache
_STEPS = 3
_MAX_SHIFT, _MAX_SCALE = 4.0, 0.3  # pixels of the thumbnail, share
_HOPELESS = 0.6  # agreement of edges after the first step of alignment

# Correlation of gradients above which images can be the same, and need no further alignment.
MIN_EDGES = 0.955
_TINY = 40  # pixels
_MAX_COLOUR = 12.0
_MAX_ASPECT = 0.12  # log of the ratio of the aspect ratios


@dataclass(frozen=True)
class ImagePairs:
    """Pairs of images, and how similar they are.

    Attributes:
        first, second: int64[K], indices of the thumbnails, first < second.
        grey: float32[K], correlation of the grey levels after alignment, -1..1.
        edges: float32[K], correlation of their gradients.
        colour: float32[K], mean absolute difference of Cb and Cr, 0..255.
        similarity: float32[K], the reported measure: one of these, or another one.
    """

    first: Ints
    second: Ints
    grey: Floats
    edges: Floats
    colour: Floats
    similarity: Floats

    def __len__(self) -> int:
        return len(self.first)

    def select(self, mask: Bools) -> "ImagePairs":
        """The pairs for which `mask`, bool[K], is true."""
        return ImagePairs(*(values[mask] for values in vars(self).values()))


def concatenate(chunks: Sequence[ImagePairs]) -> ImagePairs:
    """All pairs of one or more chunks, in their order."""
    columns = zip(*(vars(chunk).values() for chunk in chunks), strict=True)
    return ImagePairs(*map(np.concatenate, columns))


def is_tiny(thumbnails: ThumbnailArray) -> Bools:
    """bool[N]: images of at most 40 pixels a side, whose thumbnails are often alike by chance."""
    tiny: Bools = np.maximum(thumbnails["width"], thumbnails["height"]) <= _TINY
    return tiny


def could_be_same(thumbnails: ThumbnailArray, pairs: ImagePairs) -> Bools:
    """bool[K]: whether colours and aspect ratios are similar enough."""
    images = (thumbnails[pairs.first], thumbnails[pairs.second])
    a, b = (np.log(np.maximum(t["width"], 1) / np.maximum(t["height"], 1)) for t in images)
    same_shape: Bools = np.abs(a - b) <= _MAX_ASPECT
    return same_shape & (pairs.colour <= _MAX_COLOUR)


def compare_pairs(
    thumbnails: ThumbnailArray, first: Ints, second: Ints, *, crops: Sequence[float] = (0.0,)
) -> ImagePairs:
    """The similarity of given pairs.

    Args:
        crops: starting points of the alignment, as shares 0..0.15 that are cut off each side of one
            image: it finds crops within 0.05 of one of them.
    """

    def compare(chunk: slice) -> Floats:
        return _compare_chunk(thumbnails[first[chunk]], thumbnails[second[chunk]], crops)

    slices = [slice(start, start + _CHUNK) for start in range(0, len(first), _CHUNK)]
    # One chunk, as of most folders, needs no threads.
    workers = 1 if len(slices) < 2 else available_cores()
    chunks = [result for _, result in parallel_map(compare, slices, workers)]
    grey, edges, colour = np.concatenate([np.empty((3, 0), np.float32), *chunks], axis=1)
    return ImagePairs(first, second, grey, edges, colour, edges)


def _compare_chunk(
    thumbnails_a: ThumbnailArray, thumbnails_b: ThumbnailArray, crops: Sequence[float]
) -> Floats:
    """float32[3,K]: grey, edges, colour."""
    a, b = (_standardize(t["thumb"].astype(np.float32)) for t in (thumbnails_a, thumbnails_b))
    agreement = _agreement(a, b)
    # Images of 28 pixels are never crops, and most pairs of photographs agree without alignment.
    both_tiny = is_tiny(thumbnails_a) & is_tiny(thumbnails_b)
    unclear = np.flatnonzero((agreement[1] < MIN_EDGES) & ~both_tiny)
    for crop, (moved, fixed) in product(crops, ((a, b), (b, a))):
        if len(unclear):
            aligned = _align(moved[unclear], fixed[unclear], crop)
            agreement[:, unclear] = np.maximum(agreement[:, unclear], aligned)
            unclear = unclear[agreement[1, unclear] < MIN_EDGES]
    difference = thumbnails_a["chroma"].astype(np.float32) - thumbnails_b["chroma"]
    colour = np.abs(difference).reshape(len(difference), -1).mean(axis=1)
    return np.concatenate([agreement, colour[None]]).astype(np.float32)


def _standardize(thumbs: Floats) -> Floats:
    """Mean 0 and deviation 1 for each thumbnail."""
    mean = thumbs.mean(axis=(1, 2), keepdims=True)
    deviation = thumbs.std(axis=(1, 2), keepdims=True)
    standard: Floats = (thumbs - mean) / np.maximum(deviation, 1.0)
    return standard


def _agreement(a: Floats, b: Floats) -> Floats:
    """float32[2,K]: correlation of grey levels and of gradients."""
    return _correlations((a, gradients(a)), (b, gradients(b)))


def gradients(thumbs: Floats) -> Floats:
    """float32[2,K,SIDE,SIDE]: the gradients down and across."""
    result = np.empty((2, *thumbs.shape), np.float32)
    for gradient, lines in zip(result, (thumbs, thumbs.swapaxes(1, 2)), strict=True):
        along = gradient if lines is thumbs else gradient.swapaxes(1, 2)
        np.subtract(lines[:, 2:], lines[:, :-2], out=along[:, 1:-1])
        along[:, 1:-1] *= 0.5
        np.subtract(lines[:, 1], lines[:, 0], out=along[:, 0])
        np.subtract(lines[:, -1], lines[:, -2], out=along[:, -1])
    return result


def _correlations(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """`_agreement` of images with their gradients."""
    grey = np.einsum("kij,kij->k", a[0], b[0]) / SIDE**2
    products = np.einsum("gkij,gkij->k", a[1], b[1])
    first, second = (np.einsum("gkij,gkij->k", g, g) for g in (a[1], b[1]))
    return np.stack([grey, products / np.maximum(np.sqrt(first * second), 1e-6)])


def _align(moved: Floats, fixed: Floats, crop: float) -> Floats:
    """float32[2,K]: `_agreement` after the best alignment of `moved` with `fixed`."""
    best = np.full((2, len(moved)), -1.0, np.float32)
    rows = np.arange(len(moved))
    # Shift and scale in x, then in y.
    warps = np.tile(np.array([0, -crop * SIDE] * 2, np.float32), (len(moved), 1))
    positions = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / (SIDE / 2)
    limits = np.array([_MAX_SHIFT, _MAX_SCALE * SIDE / 2] * 2, np.float32)
    warped = _standardize(_warp(moved, warps, positions)) if crop else moved
    slopes, fixed_slopes = gradients(warped), gradients(fixed)
    for _ in range(_STEPS):
        step = _solve_step(slopes, fixed - warped, positions)
        warps = np.clip(warps + step, -limits, limits)
        warped = _standardize(_warp(moved, warps, positions))
        slopes = gradients(warped)
        agreement = _correlations((warped, slopes), (fixed, fixed_slopes))
        best[:, rows] = np.maximum(best[:, rows], agreement)
        undecided = (best[1, rows] > _HOPELESS) & (best[1, rows] < MIN_EDGES)
        rows, warps, warped, slopes = (
            *(values[undecided] for values in (rows, warps, warped)),
            slopes[:, undecided],
        )
        moved, fixed, fixed_slopes = moved[undecided], fixed[undecided], fixed_slopes[:, undecided]
        if not len(rows):
            break
    return best


def _solve_step(slopes: Floats, residual: Floats, positions: Floats) -> Floats:
    """float32[K,4]: least-squares changes of shift and scale in x and y.

    `slopes` are the gradients of the warped thumbnails, `residual` what the others differ by.
    """
    down, across = slopes
    rows = np.stack([across, across * positions, down, down * positions[:, None]], axis=1)
    rows = rows.reshape(len(residual), 4, -1)
    normal = rows @ rows.transpose(0, 2, 1) + 1e-2 * SIDE * np.eye(4, dtype=np.float32)
    step: Floats = np.linalg.solve(normal, rows @ residual.reshape(len(residual), -1, 1))[..., 0]
    return step


def _warp(thumbs: Floats, warps: Floats, positions: Floats) -> Floats:
    """Each thumbnail sampled at shifted and scaled positions, linearly; its border is repeated."""
    index = np.arange(len(thumbs))[:, None]
    for axis, (shift, scale) in ((2, warps.T[:2]), (1, warps.T[2:])):
        at = np.arange(SIDE) + shift[:, None] + scale[:, None] * positions
        at = np.clip(at, 0, SIDE - 1)
        low = np.minimum(at.astype(np.int64), SIDE - 2)
        fraction = (at - low).astype(np.float32)[..., None]
        lines = thumbs.swapaxes(1, 2) if axis == 2 else thumbs
        sampled = lines[index, low] * (1 - fraction) + lines[index, low + 1] * fraction
        thumbs = sampled.swapaxes(1, 2) if axis == 2 else sampled
    return thumbs
