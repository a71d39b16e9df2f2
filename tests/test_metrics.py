"""Scores against values worked out by hand, from tables, and by scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest

from sharpeye.metrics import (
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    per_class,
    reliability_bins,
    summarize,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, table I, method 3: the examples that papers on intervals share
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_gives_the_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_without_trials_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_is_symmetric_and_within_0_and_1() -> None:
    for trials in (1, 2, 7, 1000):
        for successes in range(0, trials + 1, max(1, trials // 7)):
            low, high = wilson_interval(successes, trials)
            share = successes / trials
            assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
            mirrored = wilson_interval(trials - successes, trials)
            assert (1 - high, 1 - low) == pytest.approx(mirrored)


def example(count: int = 200, classes: int = 4) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.full(classes, 0.5), count)
    truth = np.where(random.uniform(size=count) < 0.6, probs.argmax(axis=1), 1)
    return truth, probs


def test_log_loss_by_hand() -> None:
    probs = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    assert log_loss(np.array([0, 1]), probs) == pytest.approx(expected)


def test_log_loss_of_a_certain_error_is_large_but_finite() -> None:
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-12))


def test_reliability_bins_by_hand() -> None:
    probs = np.array([[0.95, 0.05], [0.91, 0.09], [0.4, 0.6], [1.0, 0.0], [0.5, 0.5]])
    truth = np.array([0, 1, 1, 0, 0])
    bins = reliability_bins(truth, probs)
    assert [(b["low"], b["count"]) for b in bins] == [(0.5, 1), (0.6, 1), (0.9, 3)]
    assert bins[-1]["high"] == 1.0
    assert bins[-1]["confidence"] == pytest.approx((0.95 + 0.91 + 1.0) / 3)
    assert bins[-1]["accuracy"] == pytest.approx(2 / 3)
    gaps = 1 * 0.5 + 1 * 0.4 + 3 * abs((0.95 + 0.91 + 1.0) / 3 - 2 / 3)
    assert expected_calibration_error(truth, probs) == pytest.approx(gaps / 5)


def test_a_calibrated_classifier_has_little_error_and_a_boastful_one_much() -> None:
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 20_000)
    truth = (random.uniform(size=20_000) > sure).astype(int)
    honest = np.stack([sure, 1 - sure], axis=1)
    assert expected_calibration_error(truth, honest) < 0.015
    boastful = np.stack([np.full(20_000, 0.99), np.full(20_000, 0.01)], axis=1)
    assert expected_calibration_error(truth, boastful) == pytest.approx(0.99 - 0.75, abs=0.01)


def test_confusion_has_the_truth_in_rows() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert matrix.dtype == np.int64
    assert confusion_matrix(np.empty(0, int), np.empty(0, int), 2).tolist() == [[0, 0], [0, 0]]


def test_scores_of_each_class_by_hand() -> None:
    matrix = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    table = per_class(matrix, ("cat", "dog", "eel"))
    assert list(table) == ["cat", "dog", "eel"]
    assert table["cat"]["precision"] == pytest.approx(8 / 9)
    assert table["cat"]["recall"] == pytest.approx(0.8)
    assert table["cat"]["f1"] == pytest.approx(2 * 8 / (10 + 9))
    assert table["cat"]["support"] == 10
    assert table["cat"]["recall_ci95"] == pytest.approx(wilson_interval(8, 10))
    assert table["eel"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 0,
        "recall_ci95": [0.0, 1.0],
    }


def test_scikit_learn_agrees() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    truth, probs = example()
    predicted = probs.argmax(axis=1)
    found = summarize(truth, probs, ("a", "b", "c", "d"))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["log_loss"] == pytest.approx(
        reference.log_loss(truth, probs, labels=[0, 1, 2, 3]), rel=1e-6
    )
    matrix = confusion_matrix(truth, predicted, 4)
    assert (matrix == reference.confusion_matrix(truth, predicted)).all()
    scores = reference.precision_recall_fscore_support(truth, predicted, zero_division=0)
    for c, each in enumerate(found["per_class"].values()):
        values = [each[name] for name in ("precision", "recall", "f1", "support")]
        assert values == pytest.approx([score[c] for score in scores])


def test_a_summary_holds_what_it_promises() -> None:
    found = summarize(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("a", "b"))
    assert found["count"] == 3 and found["accuracy"] == pytest.approx(2 / 3)
    assert found["accuracy_ci95"] == list(wilson_interval(2, 3))
    assert set(found) == {"count", "accuracy", "accuracy_ci95", "log_loss", "ece", "per_class"}


def test_no_pictures_give_no_numbers_and_no_error() -> None:
    found = summarize(np.empty(0, int), np.empty((0, 2)), ("a", "b"))
    assert found["count"] == 0 and found["accuracy_ci95"] == [0.0, 1.0]
    assert all(math.isnan(found[name]) for name in ("accuracy", "log_loss", "ece"))
    assert reliability_bins(np.empty(0, int), np.empty((0, 2))) == []
    assert found["per_class"]["a"]["support"] == 0
