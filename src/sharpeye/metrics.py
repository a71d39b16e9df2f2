"""Scores of a classifier, from class indices and probabilities. Pure NumPy, no files.

Shapes: N samples, C classes. `truth` is int[N], `probs` is float[N,C] with rows that sum to 1.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a proportion, within 0..1.

    Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small
    samples). With no trials it is (0, 1): nothing is known.
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def log_loss(truth: Ints, probs: Floats) -> float:
    """Mean negative log-likelihood, in nats."""
    chosen = probs[np.arange(len(truth)), truth]
    return float(np.log(1 / np.clip(chosen, 1e-12, 1.0)).mean()) if len(truth) else math.nan


def reliability_bins(truth: Ints, probs: Floats, bins: int = 10) -> list[dict[str, float]]:
    """Confidence against accuracy in equal-width bins of the highest probability.

    Returns:
        one entry a non-empty bin: `low`, `high`, `count`, `confidence`, `accuracy`.
    """
    confidence = probs.max(axis=1) if len(probs) else np.empty(0)
    correct = probs.argmax(axis=1) == truth if len(probs) else np.empty(0, bool)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int((index == b).sum()),
            "confidence": float(confidence[index == b].mean()),
            "accuracy": float(correct[index == b].mean()),
        }
        for b in range(bins)
        if (index == b).any()
    ]


def expected_calibration_error(truth: Ints, probs: Floats, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size, 0..1 (Guo et al. 2017)."""
    gaps = reliability_bins(truth, probs, bins)
    total = sum(g["count"] for g in gaps)
    if not total:
        return math.nan
    return float(sum(g["count"] * abs(g["confidence"] - g["accuracy"]) for g in gaps) / total)


def confusion_matrix(truth: Ints, predicted: Ints, classes: int) -> npt.NDArray[np.int64]:
    """int64[C,C]: row = true class, column = predicted class."""
    flat = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def per_class(matrix: npt.NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and support of each class, from its confusion matrix.

    A score whose denominator is zero is 0. `recall_ci95` is Wilson's interval.
    """
    table: dict[str, dict[str, Any]] = {}
    for c, label in enumerate(labels):
        hits = int(matrix[c, c])
        support, claimed = int(matrix[c].sum()), int(matrix[:, c].sum())
        precision = hits / claimed if claimed else 0.0
        recall = hits / support if support else 0.0
        total = precision + recall
        table[label] = {
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / total if total else 0.0,
            "support": support,
            "recall_ci95": list(wilson_interval(hits, support)),
        }
    return table


def summarize(truth: Ints, probs: Floats, labels: tuple[str, ...]) -> dict[str, Any]:
    """All scores of one part: what `metrics.json` holds for it."""
    predicted = probs.argmax(axis=1) if len(probs) else np.empty(0, int)
    hits, count = int((predicted == truth).sum()), len(truth)
    return {
        "count": count,
        "accuracy": hits / count if count else math.nan,
        "accuracy_ci95": list(wilson_interval(hits, count)),
        "log_loss": log_loss(truth, probs),
        "ece": expected_calibration_error(truth, probs),
        "per_class": per_class(confusion_matrix(truth, predicted, len(labels)), labels),
    }
