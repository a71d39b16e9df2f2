"""Metrics against values worked out by hand, from published tables, and by scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest

from sharpeye.core.metrics import (
    auroc,
    box_scores,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    mcnemar,
    mean_interval,
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


def test_mcnemar_is_the_exact_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for lost, gained in ((0, 0), (1, 0), (3, 1), (0, 6), (7, 7), (40, 22), (500, 430)):
        expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
        assert mcnemar(lost, gained) == mcnemar(gained, lost)
    assert mcnemar(0, 3000) == pytest.approx(0.0, abs=1e-300)


def example(count: int = 200, classes: int = 4) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.full(classes, 0.5), count)
    targets = np.where(random.uniform(size=count) < 0.6, probs.argmax(axis=1), 1)
    return targets, probs


def test_log_loss_by_hand() -> None:
    probs = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    assert log_loss(np.array([0, 1]), probs) == pytest.approx(expected)


def test_log_loss_of_a_certain_error_is_large_but_finite() -> None:
    assert log_loss(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-12))


def test_reliability_bins_by_hand() -> None:
    probs = np.array([[0.95, 0.05], [0.91, 0.09], [0.4, 0.6], [1.0, 0.0], [0.5, 0.5]])
    targets = np.array([0, 1, 1, 0, 0])
    bins = reliability_bins(targets, probs)
    assert [(b["low"], b["count"]) for b in bins] == [(0.5, 1), (0.6, 1), (0.9, 3)]
    assert bins[-1]["high"] == 1.0
    assert bins[-1]["confidence"] == pytest.approx((0.95 + 0.91 + 1.0) / 3)
    assert bins[-1]["accuracy"] == pytest.approx(2 / 3)
    gaps = 1 * 0.5 + 1 * 0.4 + 3 * abs((0.95 + 0.91 + 1.0) / 3 - 2 / 3)
    assert expected_calibration_error(targets, probs) == pytest.approx(gaps / 5)


def test_a_calibrated_classifier_has_little_error_and_an_overconfident_one_much() -> None:
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 20_000)
    targets = (random.uniform(size=20_000) > sure).astype(int)
    calibrated = np.stack([sure, 1 - sure], axis=1)
    assert expected_calibration_error(targets, calibrated) < 0.015
    overconfident = np.stack([np.full(20_000, 0.99), np.full(20_000, 0.01)], axis=1)
    assert expected_calibration_error(targets, overconfident) == pytest.approx(
        0.99 - 0.75, abs=0.01
    )


def test_confusion_has_the_true_classes_in_rows() -> None:
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
    targets, probs = example()
    predicted = probs.argmax(axis=1)
    scores = summarize(targets, probs, ("a", "b", "c", "d"))
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert scores["log_loss"] == pytest.approx(
        reference.log_loss(targets, probs, labels=[0, 1, 2, 3]), rel=1e-6
    )
    matrix = confusion_matrix(targets, predicted, 4)
    assert (matrix == reference.confusion_matrix(targets, predicted)).all()
    expected = reference.precision_recall_fscore_support(targets, predicted, zero_division=0)
    for c, row in enumerate(scores["per_class"].values()):
        values = [row[name] for name in ("precision", "recall", "f1", "support")]
        assert values == pytest.approx([score[c] for score in expected])


def test_a_summary_holds_what_it_promises() -> None:
    scores = summarize(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], ("a", "b"))
    assert scores["count"] == 3 and scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["accuracy_ci95"] == list(wilson_interval(2, 3))
    assert set(scores) == {"count", "accuracy", "accuracy_ci95", "log_loss", "ece", "per_class"}


def test_no_images_give_no_numbers_and_no_error() -> None:
    scores = summarize(np.empty(0, int), np.empty((0, 2)), ("a", "b"))
    assert scores["count"] == 0 and scores["accuracy_ci95"] == [0.0, 1.0]
    assert all(math.isnan(scores[name]) for name in ("accuracy", "log_loss", "ece"))
    assert reliability_bins(np.empty(0, int), np.empty((0, 2))) == []
    assert scores["per_class"]["a"]["support"] == 0


# --- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "quantile"),
    # Fisher and Yates 1963, table III: Student's t, two-sided 5 %
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (11, 2.228), (31, 2.042), (121, 1.980)],
)
def test_the_interval_of_a_mean_is_students(count: int, quantile: float) -> None:
    values = 0.5 + 0.01 * np.resize([-1.0, 1.0], count)
    low, high = mean_interval(values)
    spread = quantile * values.std(ddof=1) / math.sqrt(count)
    assert (high - low) / 2 == pytest.approx(spread, rel=2e-3)
    assert (high + low) / 2 == pytest.approx(values.mean())


def test_scipy_agrees_on_the_interval_of_a_mean() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for count in (2, 3, 4, 6, 20, 500):
        values = random.uniform(0.4, 0.6, count)
        theirs = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
        theirs = np.clip(theirs, 0, 1)
        assert mean_interval(values) == pytest.approx(theirs, rel=2e-3, abs=1e-4)


def test_the_interval_of_a_mean_covers_and_stays_within_0_and_1() -> None:
    random = np.random.default_rng(0)
    trials = random.beta(4, 1, (2000, 40))  # skewed, as overlaps are; its mean is 0.8
    ends = np.array([mean_interval(row) for row in trials])
    assert ((ends[:, 0] <= 0.8) & (ends[:, 1] >= 0.8)).mean() == pytest.approx(0.95, abs=0.02)
    assert mean_interval(np.array([1.0, 0.98, 0.3])) == (0.0, 1.0)
    assert mean_interval(np.array([0.7])) == mean_interval(np.empty(0)) == (0.0, 1.0)


def test_scores_of_boxes_by_hand() -> None:
    correct = np.array([True, True, True, False, True])
    ious = np.array([0.5, 0.75, 0.4999, 1.0, 0.9])
    scores = box_scores(correct, ious)
    assert scores["mean_iou"] == pytest.approx(ious.mean())
    assert scores["accuracy_at_iou50"] == 0.6  # the right box of a wrong class counts for nothing
    assert scores["accuracy_at_iou50_ci95"] == list(wilson_interval(3, 5))
    assert scores["accuracy_at_iou75"] == 0.4
    assert scores["accuracy_at_iou75_ci95"] == list(wilson_interval(2, 5))


def test_a_summary_with_boxes_adds_to_the_one_without() -> None:
    targets, probs = np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]]
    ious = np.array([0.6, 0.9, 0.2])
    plain = summarize(targets, probs, ("a", "b", "none"))
    scores = summarize(targets, probs, ("a", "b", "none"), ious=ious)
    names = ("mean_iou", "accuracy_at_iou50", "accuracy_at_iou75")
    per_class = scores["per_class"]
    assert [per_class["a"][name] for name in names] == pytest.approx([0.75, 0.5, 0.0])
    assert [per_class["b"][name] for name in names] == pytest.approx([0.2, 0.0, 0.0])
    assert [per_class["none"][name] for name in names] == [0.0, 0.0, 0.0]
    assert scores["accuracy_at_iou50"] == pytest.approx(1 / 3)
    added = {*names, "mean_iou_ci95", "accuracy_at_iou50_ci95", "accuracy_at_iou75_ci95"}
    assert set(scores) - set(plain) == added
    for row in per_class.values():
        for name in names:
            del row[name]
    assert {key: value for key, value in scores.items() if key not in added} == plain


def test_no_boxes_at_all_give_no_numbers_and_no_error() -> None:
    scores = summarize(np.empty(0, int), np.empty((0, 2)), ("a", "b"), ious=np.empty(0))
    assert math.isnan(scores["mean_iou"]) and math.isnan(scores["accuracy_at_iou75"])
    assert scores["mean_iou_ci95"] == scores["accuracy_at_iou50_ci95"] == [0.0, 1.0]
    assert scores["per_class"]["a"]["mean_iou"] == 0.0


def test_auroc_is_the_share_of_pairs_in_the_right_order_and_equal_ones_count_half() -> None:
    random = np.random.default_rng(0)
    known, unknown = random.integers(0, 6, 40) / 5, random.integers(2, 9, 30) / 5
    pairs = [1.0 if u > k else 0.5 if u == k else 0.0 for u in unknown for k in known]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))
    assert auroc(unknown, known) == pytest.approx(1 - np.mean(pairs))
    assert auroc(known, known) == pytest.approx(0.5)
    assert math.isnan(auroc(known, known[:0]))
