"""Flipped labels come first."""

import numpy as np
import pytest

from sharpeye.errors import DataError, DivergedError
from sharpeye.learn.heads.label_errors import (
    confident_label_errors,
    find_label_errors,
    out_of_fold_probs,
)


def clusters(
    per_class: int = 40, classes: int = 4, spread: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 4, (classes, 16))
    targets = np.repeat(np.arange(classes), per_class)
    features = centres[targets] + random.normal(0, spread, (len(targets), 16))
    return np.abs(features).astype(np.float32), targets


def flipped(targets: np.ndarray, count: int, seed: int = 1) -> tuple[np.ndarray, set[int]]:
    random = np.random.default_rng(seed)
    rows = random.choice(len(targets), count, replace=False)
    labels = targets.copy()
    labels[rows] = (targets[rows] + random.integers(1, targets.max() + 1, count)) % (
        targets.max() + 1
    )
    return labels, set(rows.tolist())


def test_flipped_labels_are_found_first_with_the_right_suggestion() -> None:
    features, targets = clusters()
    labels, rows = flipped(targets, 8)
    suspects = confident_label_errors(out_of_fold_probs(features, labels, 4), labels)
    first = suspects[: round(0.07 * len(targets))]
    assert len(rows & {uncertainty.index for uncertainty in first}) >= 7
    assert all(
        uncertainty.suggested == targets[uncertainty.index]
        for uncertainty in first
        if uncertainty.index in rows
    )
    scores = [uncertainty.suggested_score - uncertainty.given_score for uncertainty in suspects]
    assert scores == sorted(scores, reverse=True)


def test_clean_labels_raise_few_doubts() -> None:
    features, targets = clusters()
    assert len(confident_label_errors(out_of_fold_probs(features, targets, 4), targets)) <= 2


def test_answers_are_probabilities_by_heads_that_did_not_see_the_image() -> None:
    random = np.random.default_rng(0)
    features = random.uniform(0, 1, (80, 200)).astype(np.float32)  # noise: nothing can be learned
    targets = np.tile([0, 1], 40)
    probs = out_of_fold_probs(features, targets, 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert 0.2 < (probs.argmax(axis=1) == targets).mean() < 0.8


def test_a_copy_does_not_vouch_for_a_wrong_label() -> None:
    features, targets = clusters(spread=0.3)
    labels = targets.copy()
    labels[:2] = 1
    features[1] = features[0]
    probs = out_of_fold_probs(features, labels, 4, groups=np.maximum(np.arange(len(labels)), 1))
    assert {0, 1} <= {uncertainty.index for uncertainty in confident_label_errors(probs, labels)}


def test_a_class_with_a_low_bar_is_heard() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.45, 0.55], [0.6, 0.4]])
    targets = np.array([0, 0, 1, 1, 1])
    # The mean of class 1's own answers is 0.467: none of class 0's reaches it. Row 2's 0.55 for
    # class 0 is under that class's 0.85, and so is row 4's 0.6.
    assert confident_label_errors(probs, targets) == []


@pytest.mark.slow
def test_asking_twice_finds_more_and_doubts_fewer_right_ones() -> None:
    features, targets = clusters(spread=0.8)
    labels, wrong = flipped(targets, 24)
    once = {
        uncertainty.index
        for uncertainty in confident_label_errors(out_of_fold_probs(features, labels, 4), labels)
    }
    twice = {uncertainty.index for uncertainty in find_label_errors(features, labels, 4)}
    assert len(twice & wrong) >= max(20, len(once & wrong))
    assert len(twice - wrong) <= len(once - wrong)


def test_nothing_is_learned_from_what_is_unsure() -> None:
    features, targets = clusters(spread=0.3)
    labels = targets.copy()
    labels[:10] = 1
    trained = out_of_fold_probs(features, labels, 4)[:10, 0]
    spared = out_of_fold_probs(features, labels, 4, excluded=range(10))[:10, 0]
    assert spared.min() > 0.5
    assert spared.mean() > trained.mean()


def test_a_class_that_is_unsure_as_a_whole_is_still_learned() -> None:
    features, targets = clusters()
    suspects = find_label_errors(
        features, targets, 4, excluded=np.flatnonzero(targets == 2).tolist()
    )
    assert len([uncertainty for uncertainty in suspects if targets[uncertainty.index] == 2]) <= 2


def test_what_cannot_be_judged_is_refused() -> None:
    features, targets = clusters(per_class=3)
    with pytest.raises(DataError, match="2 images or more"):
        out_of_fold_probs(features[:10], targets[:10], 4)
    features[0, 0] = np.nan
    with pytest.raises(DivergedError):
        out_of_fold_probs(features, targets, 4)
