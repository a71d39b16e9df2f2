"""Which pictures are probably in the wrong class: confident learning on a head's answers.

Each picture is answered for by a head that did not see it (five folds on frozen features). A class
is taken to be said of a picture if its probability is at least the mean that the pictures of that
class themselves reach; where another class than its own is said, the label is in doubt. So a class
that the head finds hard has a low bar, and one that it finds easy a high one.

Measured on 1,797 digits with 90 labels flipped at random, features of EfficientNet-Lite0 at 64 px:
of the flipped ones 80, 83 and 78 are in the first 7 % of the list (three draws), each with the
right suggestion.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels". Written here in a few lines, as the library for it brings pandas and scikit-learn along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.errors import DataError, DivergedError
from sharpeye.training.head import class_weights, root
from sharpeye.training.logistic import NOT_FINITE, fit_logistic
from sharpeye.training.ridge import decompose
from sharpeye.training.strength import FOLDS, StrengthSearch, draw_folds

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

# Above this many picture-classes L2 is chosen on so many pictures, drawn at random.
_SEARCH_LIMIT = 4_000


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture that is probably mislabelled.

    Attributes:
        row: which one.
        suggested: the class that is more probable, as an index.
        given_score, suggested_score: the probabilities 0..1 of its label and of that class.
    """

    row: int
    suggested: int
    given_score: float
    suggested_score: float


def out_of_fold(
    features: Floats,
    truth: Ints,
    classes: int,
    *,
    groups: Sequence[Sequence[int]] = (),
    balance: str = "weights",
    seed: int = 0,
) -> Floats:
    """float64[N,C]: probabilities for each picture by a head that did not see it.

    Args:
        features: float32[N,D], pooled.
        truth: int[N], class indices below `classes`.
        groups: rows of nearly equal pictures, which stay in one fold: else a copy with the same
            wrong label would vouch for it.
        seed: draws the folds.

    Raises:
        DataError: a class has fewer than two pictures.
        DivergedError: the features are not finite.
    """
    if not np.isfinite(features).all():
        raise DivergedError(NOT_FINITE)
    counts = np.bincount(truth, minlength=classes)
    if counts.min() < 2:
        raise DataError(
            "wrong labels can be found where every class has 2 pictures or more; one has "
            f"{counts.min()}: add pictures, or take the class out"
        )
    folds = draw_folds(truth, classes, seed)
    for rows in groups:
        folds[list(rows)] = folds[rows[0]]
    most = max(4 * FOLDS * classes, _SEARCH_LIMIT // classes)
    if len(truth) <= most:
        return _answers(features, truth, classes, folds, balance, None)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(truth))[:most])
    search = _search(features[chosen], truth[chosen], classes, folds[chosen], balance)
    return _answers(features, truth, classes, folds, balance, search.walk().l2)


def _search(
    features: Floats, truth: Ints, classes: int, folds: Ints, balance: str
) -> StrengthSearch:
    basis = decompose(root(features), class_weights(truth, classes, balance))
    search = StrengthSearch(basis, truth, classes, len(truth), [])
    search.use_folds(folds)
    return search


def _answers(
    features: Floats, truth: Ints, classes: int, folds: Ints, balance: str, l2: float | None
) -> Floats:
    search = _search(features, truth, classes, folds, balance)
    if l2 is None:
        fit = search.walk()
    else:
        problems, rank = len(search.masks), search.basis.points.shape[1]
        start = (np.zeros((problems, rank, classes)), np.zeros((problems, classes)))
        fit = fit_logistic(search.basis, truth, classes, l2, search.masks, start)
    probs = search.left_out(fit)
    return np.empty((0, classes)) if probs is None else probs


def doubtful(probs: Floats, truth: Ints) -> list[Doubt]:
    """The pictures whose label is in doubt, the most doubtful first.

    Args:
        probs: float64[N,C], from `out_of_fold`.
        truth: int[N].
    """
    rows = np.arange(len(truth))
    own = probs[rows, truth]
    classes = probs.shape[1]
    sums = np.bincount(truth, weights=own, minlength=classes)
    usual = sums / np.maximum(np.bincount(truth, minlength=classes), 1)
    said = np.where(probs >= usual, probs, -1.0)
    suggested = said.argmax(axis=1)
    likely = said[rows, suggested]
    doubted = np.flatnonzero((suggested != truth) & (likely > own))
    margin = likely - own
    ranked = doubted[np.argsort(-margin[doubted], kind="stable")]
    return [Doubt(int(r), int(suggested[r]), float(own[r]), float(likely[r])) for r in ranked]
