"""Estimate how well unseen classes are detected, by leaving out the user's own classes.

Each class in turn is left out: a head is fitted without it, its images leave the bank, and their
OOD scores are compared with those of the test images of the other classes. For a frozen network
this equals a training without the class, except that L2 and the weights of the score's parts come
from all classes.
"""

import math
from collections.abc import Callable

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.metrics import auroc
from sharpeye.core.numerics import softmax
from sharpeye.learn.heads.head import Head, class_weights, square_root
from sharpeye.learn.heads.logistic import fit_logistic
from sharpeye.learn.heads.ridge import decompose
from sharpeye.learn.ood.detector import (
    OodDetector,
    class_sums,
    log_error_prob,
    stratified_indices,
    unit_vectors,
)

MIN_CLASSES = 3
# More images, spread over the classes, would not improve the estimate.
_MAX_IMAGES, _MIN_PER_CLASS = 500, 3
_MAX_LEFT_OUT = 10
# Multiplications per step of all fits: about 30 steps then take a second or two.
_MAX_PRODUCTS = 10**8
_DEFAULT_L2 = 1e-5  # for a head that was fitted without L2


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
    features, targets = known[0][chosen], known[1][chosen]
    test_features, test_targets = test
    result = {}
    for c in np.unique(np.linspace(0, classes - 1, count).astype(int)):
        ood_score = _fit_without(
            int(c), features, targets, head=head, detector=detector, balance=balance
        )
        left_out = np.concatenate([features[targets == c], test_features[test_targets == c]])
        known_scores = ood_score(test_features[test_targets != c])
        result[int(c)] = auroc(known_scores, ood_score(left_out))
    return result


def _fit_without(
    left_out: int,
    features: Floats,
    targets: Ints,
    *,
    head: Head,
    detector: OodDetector,
    balance: str,
) -> Callable[[Floats], Floats]:
    """Fit a model without a class: the OOD score float[N] of pooled features float32[N,D]."""

    def inputs(features: Floats) -> Floats:
        return square_root(features) if head.square_root else features

    is_known, classes = targets != left_out, head.classes - 1
    features, targets = features[is_known], targets[is_known]
    targets = targets - (targets > left_out)
    bank = unit_vectors(features, root=head.square_root)
    means = unit_vectors(class_sums(bank, targets, classes), root=False)
    # The basis must also exclude the class: its axes alone contain most of the class, and the
    # estimate would be 0.02 too high (measured on 8 classes, n = 40).
    basis = decompose(inputs(features), class_weights(targets, classes, balance))
    fit = fit_logistic(basis, targets, classes, l2=head.l2 or _DEFAULT_L2)
    coefficients, intercept = basis.to_features(fit.solution[0], fit.intercept[0])

    def ood_score(features: Floats) -> Floats:
        vectors = unit_vectors(features, root=head.square_root)
        distance, mean_distance = (1 - (vectors @ known.T).max(axis=1) for known in (bank, means))
        logits = inputs(features) @ coefficients + intercept
        log_error = log_error_prob(softmax(logits / head.temperature))
        return detector.combine(distance, mean_distance, log_error)

    return ood_score
