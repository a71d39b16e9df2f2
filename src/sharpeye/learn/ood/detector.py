"""Detect images unlike the training images, by a score calibrated on known images.

1. The out-of-distribution (OOD) score is a sum of three parts, each divided by its standard
   deviation among known images: the cosine distance to the nearest image of the bank (Sun et al.
   2022, arXiv:2204.06507), half of that to the nearest class mean, both in the features as the head
   takes them, and 0.3 times the logarithm of the probability that the best class is wrong.
2. The unknown score is 1 minus a conformal p-value: the share of calibration images with at least
   this OOD score (Vovk et al. 2005; Bates et al. 2023, arXiv:2104.08279).

The guarantee: for a new image from the distribution of the calibration images, the unknown score
exceeds `coverage` with a probability of at most 1 - coverage, on average over such sets. It does
not hold within one class or for another source, and does not promise detection of unknown images.
With too few calibration images (19 or fewer for 0.95) no image is called unknown. For a frozen
network one image at a time is left out; then the guarantee is approximate (Barber et al. 2021,
arXiv:1905.02928).

Measured with EfficientNet-Lite0 on 203 images of 8 classes, each class in turn left out, mean AUROC
of 12 splits (n = 96, bench/unknown.py): this 0.923, the first distance alone 0.907, the second
0.896, ViM and Mahalanobis 0.914, energy 0.829, the largest probability 0.825. At 0.95, 3.1 % of
known test images and 39.8 % of the others were called unknown.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.blas_threads import limit_blas_threads
from sharpeye.learn.heads.head import square_root

# The largest size of the bank in a model file.
MAX_BANK_BYTES = 2 * 2**20
MAX_IMAGES = 2000

# Below it, float32 keeps too few digits of 1 minus a probability.
MIN_ERROR_PROB = 1e-2
MIN_NORM = 1e-9

_ERROR_WEIGHT = 0.3  # values of 0.25 to 0.5 gave the same AUROC within 0.003
_MEAN_WEIGHT = 0.5
# Floors on the standard deviations, for sets of near-identical images.
_MIN_DISTANCE_STD, _MIN_ERROR_STD = 0.01, 0.5
# Calibration scores are rounded up to a grid: float32 cannot represent steeper steps of the score.
_GRID_STEPS, _MIN_GRID_RANGE = 100, 4.0


@dataclass(frozen=True)
class OodDetector:
    """A fitted and calibrated detector.

    Attributes:
        bank: float16[M,D], unit vectors of known images, in the features as the head takes them.
        means: float16[C,D], unit vectors in the directions of the class means.
        knots: float32[K], ascending: OOD scores of the calibration images.
        knot_shares: float32[K]: the share of calibration images, and one more, at each knot.
        tail: distance in OOD score after the last knot at which half of the last share is added.
        calibrated_on: number of calibration images.
        coverage: an image with a higher unknown score is called unknown.
        square_root: whether it takes the square root of the features.
    """

    bank: npt.NDArray[np.float16]
    means: npt.NDArray[np.float16]
    distance_weight: float
    mean_weight: float
    error_weight: float
    knots: npt.NDArray[np.float32]
    knot_shares: npt.NDArray[np.float32]
    tail: float
    calibrated_on: int
    coverage: float
    square_root: bool = True

    def ood_score(self, features: Floats, probs: Floats) -> Floats:
        """float64[N], unbounded, for pooled features float[N,D] and probabilities float[N,C]."""
        vectors = unit_vectors(features, root=self.square_root)
        distance = 1 - cosine_similarity(vectors, self.bank).max(axis=1)
        mean_distance = 1 - cosine_similarity(vectors, self.means).max(axis=1)
        return self.combine(distance, mean_distance, log_error_prob(probs))

    def combine(self, distance: Floats, mean_distance: Floats, log_error: Floats) -> Floats:
        """float[N]: the OOD score from its three parts."""
        score: Floats = self.distance_weight * distance + self.mean_weight * mean_distance
        return score + self.error_weight * log_error

    def unknown_score(self, features: Floats, probs: Floats) -> Floats:
        """float64[N], 0..1: an upper bound on the share of known images with a lower OOD score.

        The score is linear between the knots and below the steps of the p-value, so that it keeps
        the p-value's guarantee; after the last knot it approaches N / (N + 1).
        """
        ood = self.ood_score(features, probs)
        below = np.concatenate([[0.0], np.cumsum(self.knot_shares[:-1], dtype=np.float64)])
        beyond = np.maximum(ood - self.knots[-1], 0)
        last = self.knot_shares[-1] * beyond / (beyond + self.tail)
        score: Floats = np.interp(ood, self.knots, below) + last
        return score

    def to_dict(self) -> dict[str, Any]:
        """The entry of the manifest."""
        return {
            "coverage": self.coverage,
            "calibrated_on": self.calibrated_on,
            "compared_with": len(self.bank),
            "how": "distance to the nearest image and class mean, and probability; conformal",
        }


@dataclass(frozen=True)
class KnownImages:
    """Pooled features float32[N,D] of known images, and class indices int[N].

    Attributes:
        groups: int[N]; an image is not compared with its own group: itself and its copies.
    """

    features: Floats
    targets: Ints
    groups: Ints


def fit_ood_detector(
    bank: KnownImages,
    held_out: KnownImages,
    probs: Floats,
    *,
    coverage: float,
    square_root: bool = True,
) -> OodDetector:
    """Fit the weights of the score's parts, and calibrate.

    Args:
        held_out: N >= 1 calibration images, which may also be in the bank.
        probs: float[N,C], from a head that was not fitted to the calibration images.
        coverage: 0..1.
    """
    bank_vectors = unit_vectors(bank.features, root=square_root).astype(np.float16)
    bank_rounded = bank_vectors.astype(np.float32)  # as the model file has them
    vectors = unit_vectors(held_out.features, root=square_root)
    same_group = held_out.groups[:, None] == bank.groups[None, :]
    cosines = cosine_similarity(vectors, bank_rounded)
    cosines[same_group] = -1
    nearest = cosines.max(axis=1)
    sums = class_sums(bank_rounded, bank.targets, probs.shape[1])
    means = unit_vectors(sums, root=False).astype(np.float16)
    to_means = cosine_similarity(vectors, means)
    # The mean of an image's own class excludes the images of its own group.
    group_sums = _sums_of_groups(bank_rounded, bank, held_out)
    means_without = unit_vectors(sums[held_out.targets] - group_sums, root=False)
    to_means[np.arange(len(vectors)), held_out.targets] = (vectors * means_without).sum(axis=1)
    distance, mean_distance = 1 - nearest, 1 - to_means.max(axis=1)
    log_error = log_error_prob(probs)
    detector = OodDetector(
        bank=bank_vectors,
        means=means,
        distance_weight=1 / max(float(distance.std()), _MIN_DISTANCE_STD),
        mean_weight=_MEAN_WEIGHT / max(float(mean_distance.std()), _MIN_DISTANCE_STD),
        error_weight=_ERROR_WEIGHT / max(float(log_error.std()), _MIN_ERROR_STD),
        knots=np.zeros(1, np.float32),
        knot_shares=np.ones(1, np.float32),
        tail=1.0,
        calibrated_on=len(vectors),
        coverage=coverage,
        square_root=square_root,
    )
    scores = detector.combine(distance, mean_distance, log_error)
    knots, counts = _round_up(scores)
    return replace(
        detector,
        knots=knots.astype(np.float32),
        # Shrunk by 1e-6, so that rounding of 19 of 20 cannot exceed 0.95.
        knot_shares=(counts / (len(scores) + 1) * (1 - 1e-6)).astype(np.float32),
        tail=max(float(scores.std()), 0.1),
    )


def class_sums(vectors: Floats, targets: Ints, classes: int) -> npt.NDArray[np.float32]:
    """float32[C,D]: sums of the vectors of each class."""
    members = np.arange(classes)[:, None] == targets[None, :]
    sums: npt.NDArray[np.float32] = members.astype(np.float32) @ vectors.astype(np.float32)
    return sums


def _sums_of_groups(vectors: Floats, bank: KnownImages, held_out: KnownImages) -> Floats:
    """float32[N,D]: the sum of the bank's images of each calibration image's group and class.

    `vectors` float32[M,D] are those of the bank.
    """
    count = 1 + max(bank.targets.max(), held_out.targets.max())
    keys, held_out_keys = (k.groups.astype(np.int64) * count + k.targets for k in (bank, held_out))
    order = np.argsort(keys, kind="stable")
    unique, starts = np.unique(keys[order], return_index=True)
    sums: Floats = np.add.reduceat(vectors[order], starts, axis=0)
    nearest = np.minimum(np.searchsorted(unique, held_out_keys), len(unique) - 1)
    sums = sums[nearest]
    sums[unique[nearest] != held_out_keys] = 0
    return sums


def unit_vectors(features: Floats, *, root: bool) -> npt.NDArray[np.float32]:
    """float32[N,D]: features, or their square root, scaled to length 1."""
    inputs = square_root(features) if root else features.astype(np.float32)
    length = np.linalg.norm(inputs, axis=1, keepdims=True)
    vectors: npt.NDArray[np.float32] = inputs / np.maximum(length, np.float32(MIN_NORM))
    return vectors


def cosine_similarity(vectors: npt.NDArray[np.float32], bank: Floats) -> Floats:
    """float32[N,M], -1..1, of unit vectors float[N,D] and float[M,D]."""
    with limit_blas_threads(vectors.size * len(bank)):
        cosines: Floats = vectors @ bank.astype(np.float32, copy=False).T
    return cosines


def log_error_prob(probs: Floats) -> Floats:
    """float[N]: logarithm of the probability that the best class is wrong."""
    logs: Floats = np.log(np.maximum(1 - probs.max(axis=1), MIN_ERROR_PROB))
    return logs


def stratified_indices(targets: Ints, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Ascending indices of at most `count` images, with as equal class counts as possible."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(targets))
    rank_in_class = np.empty(len(targets), np.int64)
    for c in np.unique(targets):
        members = order[targets[order] == c]
        rank_in_class[members] = np.arange(len(members))
    by_rank = order[np.argsort(rank_in_class[order], kind="stable")]
    chosen: npt.NDArray[np.int64] = np.sort(by_rank[:count])
    return chosen


def _round_up(scores: Floats) -> tuple[Floats, Ints]:
    """The scores rounded up to a grid: distinct values, ascending, and their counts."""
    low, high = float(scores.min()), float(scores.max())
    step = max(high - low, _MIN_GRID_RANGE) / _GRID_STEPS
    cells, counts = np.unique(np.ceil((scores - low) / step), return_counts=True)
    # Raised by 1e-6, since float32 may round down.
    return low + cells * step + 1e-6 * max(abs(low), abs(high), 1.0), counts
