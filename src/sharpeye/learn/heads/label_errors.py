"""Find images that are probably in the wrong class: confident learning on a head's predictions.

Each image is predicted by a head that was not fitted to it (five folds on frozen features). A class
is suggested for an image if its probability is at least the mean probability of that class among
its own images; a label is suspect if another class is suggested. Wrong labels support each other,
so a second pass leaves the suspects of the first one out of the fits.

Of 1,797 digits with 90 labels flipped at random, on EfficientNet-Lite0 features, 97 to 99 % of the
flipped ones are in the first 7 % of the list (five draws), each with the right class.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels". The library for it needs pandas and scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.errors import DataError, DivergedError
from sharpeye.learn.heads.folds import FOLDS, draw_folds, is_predictable
from sharpeye.learn.heads.head import class_weights, square_root
from sharpeye.learn.heads.l2_search import L2Search
from sharpeye.learn.heads.logistic import NOT_FINITE
from sharpeye.learn.heads.ridge import decompose

# Above this number of images times classes, L2 is chosen on so many random images.
_SEARCH_LIMIT = 4_000
# A class is also suggested if it is likely and the image's own class is nearly impossible. Among
# 203 images with 10 wrong labels (26 draws) this finds five more, without a false alarm.
_IMPOSSIBLE, _LIKELY = 0.02, 0.5
# For few images, probabilities are means over so many draws of the folds: the random folds decide
# about as many suspect labels as the labels themselves.
_DRAWS = 5


@dataclass(frozen=True, slots=True)
class LabelError:
    """An image that is probably mislabelled.

    Attributes:
        index: the image's index; `suggested` is the index of the more probable class.
        given_score, suggested_score: probabilities 0..1 of its label and of that class.
    """

    index: int
    suggested: int
    given_score: float
    suggested_score: float


def find_label_errors(
    features: Floats,
    targets: Ints,
    classes: int,
    *,
    groups: Ints | None = None,
    excluded: Sequence[int] = (),
    balance: str = "weights",
    seed: int = 0,
) -> list[LabelError]:
    """The images with a suspect label, the most suspect first; see `out_of_fold_probs`."""
    predict = partial(
        out_of_fold_probs, features, targets, classes, groups=groups, balance=balance, seed=seed
    )

    def find(excluded: Sequence[int]) -> list[LabelError]:
        allowed = _limit_to_half(excluded, targets, classes)
        return confident_label_errors(predict(excluded=allowed), targets)

    return find([*excluded, *(error.index for error in find(excluded))])


def _limit_to_half(excluded: Sequence[int], targets: Ints, classes: int) -> list[int]:
    """The excluded images, without classes of which more than half would be excluded."""
    indices = sorted(set(excluded))
    counts = np.bincount(targets[indices], minlength=classes)
    allowed = 2 * counts <= np.bincount(targets, minlength=classes)
    return [index for index in indices if allowed[targets[index]]]


def out_of_fold_probs(
    features: Floats,
    targets: Ints,
    classes: int,
    *,
    groups: Ints | None = None,
    excluded: Sequence[int] = (),
    balance: str = "weights",
    seed: int = 0,
) -> Floats:
    """float64[N,C]: probabilities for each image by a head that was not fitted to its group.

    They are NaN for a class with one group, since such a head does not know it.

    Args:
        features: float32[N,D], pooled.
        groups: int[N], equal for copies, near-duplicates and images of one burst, which stay in one
            fold: otherwise a copy with the same wrong label would support it. By default each image
            is a group of its own.
        excluded: indices of images with useless labels: no head is fitted to them, but they are
            predicted.
        seed: draws the folds.

    Raises:
        DataError: a class has fewer than two images, or no class has two groups.
        DivergedError: the features are not finite.
    """
    if not np.isfinite(features).all():
        raise DivergedError(NOT_FINITE)
    counts = np.bincount(targets, minlength=classes)
    if counts.min() < 2:
        raise DataError(
            "wrong labels can be found where every class has 2 images or more; one has "
            f"{counts.min()}: add images, or take the class out"
        )
    search_size = max(4 * FOLDS * classes, _SEARCH_LIMIT // classes)
    draws = _DRAWS if len(targets) <= search_size else 1
    l2, probs = None, np.zeros((len(targets), classes))
    for draw in range(draws):
        folds = draw_folds(targets, classes, seed + draw, groups=groups)
        predictable = is_predictable(targets, folds, classes)
        if not predictable.any():
            raise DataError(
                "wrong labels can be found where a class has two different images; here each class "
                "has copies of one: add images"
            )
        if l2 is None and len(targets) > search_size:
            drawn = np.random.default_rng(seed).permutation(len(targets))[:search_size]
            subset = np.sort(drawn)
            search = _search(
                features[subset], targets[subset], classes, folds=folds[subset], balance=balance
            )
            search.masks[:, np.isin(subset, list(excluded))] = 0
            l2 = search.search().l2
        search = _search(features, targets, classes, folds=folds, balance=balance)
        search.masks[:, list(excluded)] = 0
        fit = search.search() if l2 is None else search.fit_at(l2)
        l2 = fit.l2
        probs += search.out_of_fold_probs(fit) / draws
        probs[~predictable] = np.nan
    return probs


def _search(
    features: Floats, targets: Ints, classes: int, *, folds: Ints, balance: str
) -> L2Search:
    basis = decompose(square_root(features), class_weights(targets, classes, balance))
    search = L2Search(basis, targets, classes, image_count=len(targets), history=[])
    search.use_folds(folds)
    return search


def confident_label_errors(probs: Floats, targets: Ints) -> list[LabelError]:
    """The images with a suspect label, the most suspect first, by probabilities float64[N,C].

    Images whose probabilities are NaN are skipped.
    """
    indices, classes = np.arange(len(targets)), probs.shape[1]
    known = np.isfinite(probs[:, 0])
    probs = np.where(known[:, None], probs, 0.0)
    given: Floats = probs[indices, targets]
    sums = np.bincount(targets, weights=given, minlength=classes)
    counts = np.bincount(targets, weights=known, minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    is_impossible = (given[:, None] <= _IMPOSSIBLE) & (probs >= _LIKELY)
    candidates = np.where((probs >= thresholds) | is_impossible, probs, -1.0)
    suggested = candidates.argmax(axis=1)
    score = candidates[indices, suggested]
    suspects = np.flatnonzero((suggested != targets) & (score > given))
    ranked = suspects[np.argsort((given - score)[suspects], kind="stable")]
    return [LabelError(int(i), int(suggested[i]), float(given[i]), float(score[i])) for i in ranked]
