"""Draw the folds of a cross-validation: stratified by class, and by group.

Images of one group (a burst, near-duplicates, augmented copies of one image) are in one fold. If
they were not, the head without a fold would have seen nearly the same images, and would recognize
them: a small L2 and confident probabilities would look right. On photographs of 71 objects, six
images of each, the log loss on other objects is lower by 0.01 to 0.09 with groups, and by 0.16 to
0.29 on a set of bursts; the accuracy is the same.
"""

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Bools, Ints

FOLDS = 5


def draw_folds(
    targets: Ints, classes: int, seed: int, *, groups: Ints | None = None
) -> npt.NDArray[np.int64]:
    """int64[N]: a fold for each image; each class is spread evenly over the folds.

    Args:
        targets: int[N], class indices below `classes`.
        seed: draws the folds. A class without groups has the same folds, whatever groups others
            have.
        groups: int[N], a number for each group; by default each image is a group of its own.
    """
    random = np.random.default_rng(seed)
    groups = np.arange(len(targets)) if groups is None else groups
    group_sizes = np.unique(groups, return_inverse=True, return_counts=True)
    is_single = group_sizes[2][group_sizes[1]] == 1
    folds = np.full(len(targets), -1, np.int64)
    assign = _GroupAssignment(targets, classes, groups)
    for c in range(classes):
        members = random.permutation(np.flatnonzero(targets == c))
        order = (np.arange(FOLDS) + random.integers(FOLDS)) % FOLDS
        if is_single[members].all():
            folds[members] = order[np.arange(len(members)) % FOLDS]
        else:
            folds[members] = assign(members, order)
    return folds


class _GroupAssignment:
    """Assigns groups to the folds with the smallest share of their classes so far."""

    def __init__(self, targets: Ints, classes: int, groups: Ints) -> None:
        self._targets, self._groups = targets, groups
        self._class_sizes = np.maximum(np.bincount(targets, minlength=classes), 1)
        self._loads = np.zeros((classes, FOLDS))  # the share of a class that is in a fold
        self._fold_of: dict[int, int] = {}
        codes, totals = np.unique(groups * np.int64(classes) + targets, return_counts=True)
        self._shares: dict[int, dict[int, float]] = {}  # of classes, by group
        for code, total in zip(codes.tolist(), totals.tolist(), strict=True):
            group, c = divmod(code, classes)
            self._shares.setdefault(group, {})[c] = total / self._class_sizes[c]

    def __call__(self, members: Ints, order: Ints) -> list[int]:
        """The folds of a class's images; `order` decides between equal folds."""
        c, groups = int(self._targets[members[0]]), self._groups[members].tolist()
        # The largest come first: the others then even out the folds.
        for group in sorted(dict.fromkeys(groups), key=lambda g: -self._shares[g][c]):
            if group not in self._fold_of:
                shares = self._shares[group]
                load = self._loads[list(shares)].sum(axis=0)[order]
                self._fold_of[group] = fold = int(order[load.round(9).argmin()])
                for k, share in shares.items():
                    self._loads[k, fold] += share
        return [self._fold_of[group] for group in groups]


def is_predictable(targets: Ints, folds: Ints, classes: int) -> Bools:
    """bool[N]: whether the head without an image's fold is fitted to images of its class.

    A class with one group has no such head.
    """
    counts = np.zeros((classes, FOLDS), np.int64)
    np.add.at(counts, (targets, folds), 1)
    predictable: Bools = counts.sum(axis=1)[targets] > counts[targets, folds]
    return predictable
