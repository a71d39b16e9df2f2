"""Estimate how well unseen classes are detected, by leaving out the user's own classes.

Each class in turn is left out: a head is fitted without it, its images leave the bank, and their
OOD scores are compared with those of the test images of the other classes. For a frozen network
this equals a training without the class, except that L2 and the weights of the score's parts come
from all classes.
"""

import math
from dataclasses import dataclass

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.blas_threads import limit_blas_threads
from sharpeye.core.metrics import auroc
from sharpeye.core.numerics import softmax
from sharpeye.core.parallel import parallel_map
from sharpeye.learn.heads.gram_basis import decompose_gram
from sharpeye.learn.heads.head import Head, class_weights, square_root
from sharpeye.learn.heads.logistic import fit_logistic
from sharpeye.learn.ood.detector import (
    MIN_NORM,
    OodDetector,
    log_error_prob,
    stratified_indices,
)

MIN_CLASSES = 3
# More images, spread over the classes, would not improve the estimate.
_MAX_IMAGES, _MIN_PER_CLASS = 500, 3
_MAX_LEFT_OUT = 10
# Multiplications per step of all fits: about 30 steps then take a second or two.
_MAX_PRODUCTS = 10**8
_DEFAULT_L2 = 1e-5  # for a head that was fitted without L2


@limit_blas_threads()
def left_out_auroc(
    known: tuple[Floats, Ints],
    test: tuple[Floats, Ints],
    head: Head,
    *,
    detector: OodDetector,
    balance: str = "weights",
    seed: int = 0,
) -> dict[int, float]:
    """AUROC of the OOD score for images of a left-out class against known ones, by class.

    Args:
        known: pooled features float32[N,D] and targets int[N] of images to fit a head to.
        test: float32[M,D] and int[M] of other images.
        head: the final head; its L2 and temperature are used.
        detector: its weights of the score's parts are used.
        balance, seed: see `fit_head`.

    Returns:
        class index to 0..1, for at most ten classes; empty with fewer than three classes, or with
        too many for a short run.
    """
    classes = head.classes
    max_images = math.isqrt(_MAX_PRODUCTS // (4 * classes))
    chosen = stratified_indices(known[1], min(_MAX_IMAGES, max_images), seed)
    count = min(_MAX_LEFT_OUT, classes, _MAX_PRODUCTS // (len(chosen) ** 2 * classes))
    if count < MIN_CLASSES or max_images < _MIN_PER_CLASS * classes:
        return {}
    images = _Images.from_features(
        np.concatenate([known[0][chosen], test[0]]),
        np.concatenate([known[1][chosen], test[1]]),
        head,
        known=len(chosen),
    )

    def auroc_without(left_out: int) -> float:
        scores = images.ood_scores_without(left_out, head, detector, balance=balance)
        is_left_out = images.targets == left_out
        is_known = ~is_left_out
        is_known[: len(chosen)] = False
        return auroc(scores[is_known], scores[is_left_out])

    left_out = np.unique(np.linspace(0, classes - 1, count).astype(int)).tolist()
    return dict(parallel_map(auroc_without, left_out))


@dataclass(frozen=True)
class _Images:
    """N known images and then M test images, by what they have in common with the known ones.

    Attributes:
        targets: int[N+M].
        products: float64[N+M,N], inner products in the features as the head takes them.
        nearest: float64[N+M,C], the cosine to the nearest known image of each class.
        to_means: float64[N+M,C], the cosine to the mean direction of each class.
    """

    targets: Ints
    products: Floats
    nearest: Floats
    to_means: Floats

    @classmethod
    def from_features(cls, features: Floats, targets: Ints, head: Head, *, known: int) -> "_Images":
        """From pooled features float32[N+M,D], of which `known` are those of known images."""
        inputs = (square_root(features) if head.square_root else features).astype(np.float64)
        products = inputs @ inputs[:known].T
        lengths = np.maximum(np.linalg.norm(inputs, axis=1), MIN_NORM)
        cosines = products / lengths[:, None] / lengths[:known]
        members = targets[:known, None] == np.arange(head.classes)
        nearest = [cosines[:, m].max(axis=1, initial=-1) for m in members.T]
        sums = cosines @ members
        squares = (members * sums[:known]).sum(axis=0)  # of the lengths of the sums of each class
        to_means = sums / np.maximum(np.sqrt(np.maximum(squares, 0)), MIN_NORM)
        return cls(targets, products, np.stack(nearest, axis=1), to_means)

    def ood_scores_without(
        self, left_out: int, head: Head, detector: OodDetector, *, balance: str
    ) -> Floats:
        """float64[N+M]: OOD scores by a model without a class."""
        known = self.products.shape[1]
        indices = np.flatnonzero(self.targets[:known] != left_out)
        targets, classes = self.targets[indices], head.classes - 1
        targets = targets - (targets > left_out)
        # The basis must also exclude the class: its axes alone contain most of the class, and the
        # estimate would be 0.02 too high (measured on 8 classes, n = 40).
        gram = self.products[np.ix_(indices, indices)]
        basis = decompose_gram(gram, class_weights(targets, classes, balance))
        fit = fit_logistic(basis, targets, classes, l2=head.l2 or _DEFAULT_L2)
        coefficients, intercept = basis.to_products(fit.solution[0], fit.intercept[0])
        of_all = np.zeros((known, classes))
        of_all[indices] = coefficients
        logits = self.products @ of_all + intercept
        log_error = log_error_prob(softmax(logits / head.temperature))
        distance, mean_distance = (
            1 - np.delete(cosines, left_out, axis=1).max(axis=1)
            for cosines in (self.nearest, self.to_means)
        )
        return detector.combine(distance, mean_distance, log_error)
