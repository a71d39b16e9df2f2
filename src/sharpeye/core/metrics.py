"""Score a classifier by class indices and probabilities, and a localizer by its boxes too.

Shapes: N samples, C classes. `targets` is int[N], `probs` is float[N,C] with rows that sum to 1,
`ious` is float[N], 0..1: intersection over union (IoU) of the true box and the predicted one.

The intervals and tests do not use `scipy.stats`, so that nothing here needs SciPy.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from sharpeye.core.arrays import Bools, Floats, Ints

# The 97.5 % quantile of the normal distribution, for 95 % intervals.
Z_95 = 1.959964


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """95 % confidence interval of a proportion, within 0..1.

    Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small
    samples). Without trials it is (0, 1).
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    low = 0.0 if successes == 0 else (middle - spread) / scale
    high = 1.0 if successes == trials else (middle + spread) / scale
    return low, high


def mean_interval(values: Floats) -> tuple[float, float]:
    """95 % confidence interval of the mean of values within 0..1, itself within 0..1.

    Student's t interval (Student 1908) needs only a mean that is about normal: from some 30 values
    on it covers well even for skewed ones. With fewer than two values it is (0, 1): their spread is
    unknown.
    """
    count = len(values)
    if count < 2:
        return 0.0, 1.0
    mean = float(values.mean())
    spread = _t_quantile(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return max(0.0, mean - spread), min(1.0, mean + spread)


def _t_quantile(freedom: int, z: float = Z_95) -> float:
    """The 97.5 % quantile of Student's t, within 0.2 % (Abramowitz and Stegun 1964, 26.7.5)."""
    if freedom < 3:
        return (12.706205, 4.302653)[freedom - 1]
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def log_loss(targets: Ints, probs: Floats) -> float:
    """Mean negative log-likelihood, in nats; NaN without samples."""
    likelihoods = np.clip(probs[np.arange(len(targets)), targets], 1e-12, 1.0)
    return float(np.log(1 / likelihoods).mean()) if len(targets) else math.nan


def reliability_bins(targets: Ints, probs: Floats, bins: int = 10) -> list[dict[str, float]]:
    """Confidence against accuracy in equal-width bins of the highest probability.

    Each bin that is not empty has `low`, `high`, `count`, `confidence` and `accuracy`.
    """
    if not len(probs):
        return []
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == targets
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int((index == b).sum()),
            "confidence": float(confidence[index == b].mean()),
            "accuracy": float(correct[index == b].mean()),
        }
        for b in np.unique(index).tolist()
    ]


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's exact two-sided p-value, 0..1, under the hypothesis of equally good models.

    Of the images that only the first model (`lost`) or only the second one (`gained`) predicts
    right, as many should fall to each side (McNemar 1947; exact: the binomial test of the smaller).
    """
    count, term, tail = lost + gained, 1, 0
    for k in range(min(lost, gained) + 1):
        tail += term
        term = term * (count - k) // (k + 1)
    return min(1.0, float(Fraction(2 * tail, 2**count)))


def expected_calibration_error(targets: Ints, probs: Floats, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size, 0..1 (Guo et al. 2017)."""
    filled = reliability_bins(targets, probs, bins)
    gaps = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in filled)
    return gaps / len(targets) if len(targets) else math.nan


def auroc(known: Floats, unknown: Floats) -> float:
    """The probability that one of `unknown` has a larger score than one of `known`, 0..1.

    Equal scores count half (Mann and Whitney 1947). NaN if either is empty.
    """
    if not len(known) or not len(unknown):
        return math.nan
    ordered = np.sort(known)
    below = np.searchsorted(ordered, unknown, side="left")
    up_to = np.searchsorted(ordered, unknown, side="right")
    return float((below + up_to).mean() / (2 * len(known)))


def confusion_matrix(targets: Ints, predicted: Ints, classes: int) -> Ints:
    """int64[C,C]: row = true class, column = predicted class."""
    flat = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def per_class(matrix: Ints, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and support of each class; a score with a denominator of 0 is 0."""
    table: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(class_names):
        hits = int(matrix[c, c])
        support, predicted = int(matrix[c].sum()), int(matrix[:, c].sum())
        precision = hits / predicted if predicted else 0.0
        recall = hits / support if support else 0.0
        total = precision + recall
        table[name] = {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / total if total else 0.0,
            "support": support,
            "recall_ci95": list(wilson_interval(hits, support)),
        }
    return table


def box_scores(correct: Bools, ious: Floats) -> dict[str, Any]:
    """Scores of the boxes, alone and together with the class (`correct`, bool[N]).

    `mean_iou` is over all images whatever their class; `accuracy_at_iou50` and `accuracy_at_iou75`
    are the shares of those with the right class and that IoU or more. Each has its 95 % interval;
    without images, each is NaN.
    """
    count = len(ious)
    scores: dict[str, Any] = {
        "mean_iou": float(ious.mean()) if count else math.nan,
        "mean_iou_ci95": list(mean_interval(ious)),
    }
    for name, min_iou in (("accuracy_at_iou50", 0.5), ("accuracy_at_iou75", 0.75)):
        hits = int((correct & (ious >= min_iou)).sum())
        scores[name] = hits / count if count else math.nan
        scores[f"{name}_ci95"] = list(wilson_interval(hits, count))
    return scores


def summarize(
    targets: Ints, probs: Floats, class_names: tuple[str, ...], *, ious: Floats | None = None
) -> dict[str, Any]:
    """All scores of one split, as `metrics.json` holds them.

    With `ious` also the boxes' scores, in all and by true class; 0 for a class without images.
    """
    predicted = probs.argmax(axis=1) if len(probs) else np.empty(0, int)
    correct, count = predicted == targets, len(targets)
    hits = int(correct.sum())
    classes = per_class(confusion_matrix(targets, predicted, len(class_names)), class_names)
    if ious is not None:
        for c, row in enumerate(classes.values()):
            of_class = box_scores(correct[targets == c], ious[targets == c])
            for name in ("mean_iou", "accuracy_at_iou50", "accuracy_at_iou75"):
                row[name] = of_class[name] if row["support"] else 0.0
    return {
        "count": count,
        "accuracy": hits / count if count else math.nan,
        "accuracy_ci95": list(wilson_interval(hits, count)),
        "log_loss": log_loss(targets, probs),
        "ece": expected_calibration_error(targets, probs),
        **({} if ious is None else box_scores(correct, ious)),
        "per_class": classes,
    }
