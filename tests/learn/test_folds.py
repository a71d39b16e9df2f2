"""Folds keep groups together; without groups they are what they always were."""

import numpy as np
import pytest

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.metrics import log_loss
from sharpeye.errors import DataError
from sharpeye.learn.heads.folds import FOLDS, draw_folds, is_predictable
from sharpeye.learn.heads.head import FittedHead, fit_head
from sharpeye.learn.heads.label_errors import find_label_errors, out_of_fold_probs


def folds_of_version_one(targets: Ints, classes: int, seed: int) -> Ints:
    """The rule by which all earlier runs drew their folds."""
    random = np.random.default_rng(seed)
    folds = np.empty(len(targets), np.int64)
    for c in range(classes):
        members = random.permutation(np.flatnonzero(targets == c))
        folds[members] = (np.arange(len(members)) + random.integers(FOLDS)) % FOLDS
    return folds


@pytest.mark.parametrize("seed", range(5))
def test_ungrouped_folds_are_those_of_earlier_runs(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 20))
    targets = random.integers(0, classes, 200)
    expected = folds_of_version_one(targets, classes, seed)
    assert (draw_folds(targets, classes, seed) == expected).all()
    numbers = random.permutation(1000)[:200]
    assert (draw_folds(targets, classes, seed, groups=numbers) == expected).all()


def test_a_class_without_groups_has_its_folds_whatever_others_have() -> None:
    targets = np.repeat([0, 1, 2], 30)
    groups = np.arange(90)
    groups[30:60] = 30 + np.arange(30) // 3
    folds, plain = draw_folds(targets, 3, 7, groups=groups), draw_folds(targets, 3, 7)
    assert (folds[targets != 1] == plain[targets != 1]).all()
    assert (folds[targets == 1] != plain[targets == 1]).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_fold_and_classes_are_spread(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets = np.repeat(np.arange(6), 40)
    groups = targets * 100 + random.integers(0, 12, len(targets))
    # Some images have a copy in another class.
    groups[random.choice(len(groups), 10, replace=False)] = 3
    folds = draw_folds(targets, 6, seed, groups=groups)
    assert (folds == draw_folds(targets, 6, seed, groups=groups)).all()
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    assert is_predictable(targets, folds, 6).all()
    for c in range(6):
        largest = np.bincount(groups[targets == c]).max()
        sizes = np.bincount(folds[targets == c], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= largest + 1


@pytest.mark.parametrize("sizes", [(1, 1), (9, 1), (5, 5), (1, 20, 1)])
def test_two_groups_of_a_class_are_in_different_folds(sizes: tuple[int, ...]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    targets = np.concatenate([np.zeros(len(groups), np.int64), np.ones(10, np.int64)])
    groups = np.concatenate([groups, 100 + np.arange(10)])
    for seed in range(10):
        folds = draw_folds(targets, 2, seed, groups=groups)
        assert is_predictable(targets, folds, 2).all()


def test_groups_across_classes_leave_no_class_without_training_images() -> None:
    """Class 2 has two groups, which it shares with the classes before it."""
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    groups = np.array([1, 2, 3, 4, 5, 6, 7, 8, 1, 5])
    for seed in range(20):
        assert is_predictable(targets, draw_folds(targets, 3, seed, groups=groups), 3).all()


def test_a_class_with_one_group_cannot_be_predicted_without_it() -> None:
    targets = np.array([0] * 8 + [1] * 3)
    groups = np.array([*range(8), 50, 50, 50])
    folds = draw_folds(targets, 2, 0, groups=groups)
    assert is_predictable(targets, folds, 2).tolist() == [True] * 8 + [False] * 3


# --- what groups are for -------------------------------------------------------------------------


def bursts(
    objects: int, shots: int, *, seed: int, gap: float = 0.3, width: int = 60
) -> tuple[Floats, Ints, Ints]:
    """Objects of 4 classes, each with several nearly equal shots: features, targets, groups."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(0, gap, (4, width))
    targets = np.arange(objects) % 4
    of_object = centres[targets] + random.normal(0, 1, (objects, width))
    features = np.repeat(of_object, shots, axis=0) + random.normal(0, 0.4, (objects * shots, width))
    groups = np.repeat(np.arange(objects), shots)
    return np.exp(0.5 * features).astype(np.float32), targets[groups], groups


def fit(seed: int, *, grouped: bool) -> FittedHead:
    train, targets, groups = bursts(40, 6, seed=seed)
    held_out, held_out_targets, _ = bursts(8, 6, seed=100 + seed)
    return fit_head(
        train,
        targets,
        held_out,
        validation_targets=held_out_targets,
        classes=4,
        groups=groups if grouped else None,
        refit=False,
    )


def test_bursts_do_not_lead_to_a_small_l2() -> None:
    """On new objects, the head that kept bursts together has the lower log loss, every time."""
    for seed in range(2):
        test, targets, _ = bursts(400, 1, seed=1000 + seed)
        plain, grouped = fit(seed, grouped=False), fit(seed, grouped=True)
        losses = [
            log_loss(targets, head.final_head.probabilities(test)) for head in (plain, grouped)
        ]
        assert grouped.final_head.l2 > 3 * plain.final_head.l2
        assert losses[1] < losses[0] - 0.05


def test_a_class_of_one_burst_does_not_spoil_the_calibration() -> None:
    train, targets, groups = bursts(32, 3, seed=5)
    is_kept = (targets != 3) | (groups == 3)
    train, targets, groups = train[is_kept], targets[is_kept], groups[is_kept]
    held_out, held_out_targets, _ = bursts(12, 1, seed=6)
    result = fit_head(
        train,
        targets,
        held_out,
        validation_targets=held_out_targets,
        classes=4,
        groups=groups,
    )
    probs = result.out_of_fold_probs
    assert probs is not None
    assert np.isnan(probs[targets == 3]).all() and np.isfinite(probs[targets != 3]).all()
    assert 0.3 < result.final_head.temperature < 3


def test_one_image_a_class_is_validated_on_other_images() -> None:
    """The one image of a class says nothing about heads that were fitted without it."""
    train, targets, _ = bursts(4, 1, seed=1)
    held_out, held_out_targets, _ = bursts(12, 1, seed=2)
    result = fit_head(train, targets, held_out, validation_targets=held_out_targets, classes=4)
    assert result.out_of_fold_probs is None
    assert np.isfinite(result.final_head.weights).all()


def test_equal_labels_of_a_burst_do_not_hide_that_they_are_wrong() -> None:
    train, targets, groups = bursts(24, 3, seed=3, gap=1)
    labels = targets.copy()
    wrong = groups == 4  # a whole burst of class 0
    labels[wrong] = 1
    found = {error.index for error in find_label_errors(train, labels, 4, groups=groups)}
    alone = {error.index for error in find_label_errors(train, labels, 4)}
    assert set(np.flatnonzero(wrong)) <= found
    assert not set(np.flatnonzero(wrong)) <= alone


def test_labels_of_a_class_with_one_burst_are_not_suspected() -> None:
    train, targets, groups = bursts(16, 2, seed=5, gap=1)
    is_kept = (targets != 3) | (groups == 3)
    train, targets, groups = train[is_kept], targets[is_kept], groups[is_kept]
    errors = find_label_errors(train, targets, 4, groups=groups)
    assert not [error for error in errors if targets[error.index] == 3]
    with pytest.raises(DataError, match="two different images"):
        out_of_fold_probs(train, targets, 4, groups=targets)
