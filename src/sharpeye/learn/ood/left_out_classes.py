"""How well classes that were never seen are told, estimated on the user's own classes.

Each class in turn is left out: a head that did not see it is fitted, its images leave
the bank, and their oddity is held against that of the test images of the other classes.
For a frozen network this is what would have happened without the class, but for its L2 and
the scales of the oddity, which are those of the whole.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.metrics import auroc
from sharpeye.learn.heads.head import Head, class_weights, square_root
from sharpeye.learn.heads.logistic import fit_logistic, softmax
from sharpeye.learn.heads.ridge import decompose
from sharpeye.learn.ood.detector import (
    OodDetector,
    class_sums,
    log_error_prob,
    stratified_indices,
    unit,
)

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

MIN_CLASSES = 3
# As many images, spread over the classes, tell as much as more would.
_MAX_IMAGES, _MIN_PER_CLASS = 500, 3
_MAX_LEFT_OUT = 10
# Products that a step of all fits may take: together they are some 30 steps, of a second or two.
_MAX_PRODUCTS = 10**8
_DEFAULT_L2 = 1e-5  # of heads that have none of their own


def left_out_auroc(
    learned: Floats,
    truth: Ints,
    held: Floats,
    held_truth: Ints,
    head: Head,
    unknown: OodDetector,
    balance: str = "weights",
    seed: int = 0,
) -> dict[int, float]:
    """AUROC of the oddity, of images of a class that was left out against known ones, by class.

    Args:
        learned: float32[N,D], pooled features of images that were learned from.
        truth: int[N].
        held: float32[M,D], of images that were not.
        held_truth: int[M].
        head: the one that was shipped; its L2 and temperature are taken.
        unknown: its scales are taken.
        balance: as in `fit_head`.
        seed: draws the images, where they are many.

    Returns:
        class index to 0..1, of at most ten classes; none with fewer than three classes, or so many
        that it would take long.
    """
    classes = head.classes
    enough = math.isqrt(_MAX_PRODUCTS // (4 * classes))
    rows = stratified_indices(truth, min(_MAX_IMAGES, enough), seed)
    count = min(_MAX_LEFT_OUT, classes, _MAX_PRODUCTS // (len(rows) ** 2 * classes))
    if count < MIN_CLASSES or enough < _MIN_PER_CLASS * classes:
        return {}
    learned, truth = learned[rows], truth[rows]
    left_out = np.unique(np.linspace(0, classes - 1, count).astype(int))
    everything = _Told(learned, truth, head, unknown, balance)
    found = {}
    for c in left_out:
        oddity = everything.without(int(c))
        strange = np.concatenate([learned[truth == c], held[held_truth == c]])
        found[int(c)] = auroc(oddity(held[held_truth != c]), oddity(strange))
    return found


@dataclass(frozen=True)
class _Told:
    """What a model is made of, so that it can be made without a class."""

    features: Floats
    truth: Ints
    head: Head
    unknown: OodDetector
    balance: str

    def without(self, left_out: int) -> Callable[[Floats], Floats]:
        """From pooled features float32[N,D] to oddities float[N]."""
        kept, classes = self.truth != left_out, self.head.classes - 1
        truth = self.truth[kept] - (self.truth[kept] > left_out)
        vectors = unit(self.features[kept], self.head.root)
        means = unit(class_sums(vectors, truth, classes), root=False)
        logits = self._fitted(kept, truth, classes)
        temperature = self.head.temperature

        def oddity(features: Floats) -> Floats:
            own = unit(features, self.head.root)
            distance, from_mean = (1 - (own @ bank.T).max(axis=1) for bank in (vectors, means))
            doubts = log_error_prob(softmax(logits(features) / temperature))
            return self.unknown.combined(distance, from_mean, doubts)

        return oddity

    def _fitted(self, kept: Ints, truth: Ints, classes: int) -> Callable[[Floats], Floats]:
        # The basis must not know the class either: its axes alone make the head nearly know it, and
        # the estimate 0.02 too good (measured on 8 classes, n = 40).
        basis = decompose(
            self._taken(self.features[kept]), class_weights(truth, classes, self.balance)
        )
        rank, one = basis.points.shape[1], np.ones((1, len(truth)))
        start = np.zeros((1, rank, classes)), np.zeros((1, classes))
        fit = fit_logistic(basis, truth, classes, self.head.l2 or _DEFAULT_L2, one, start)
        weights, bias = basis.to_features(fit.solution[0], fit.intercept[0])
        return lambda features: self._taken(features) @ weights + bias

    def _taken(self, features: Floats) -> Floats:
        return square_root(features) if self.head.root else features
