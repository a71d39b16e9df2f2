"""Scores of a classifier, from class indices and probabilities, and of a localizer's boxes. Pure
NumPy, no files.

Shapes: N samples, C classes. `truth` is int[N], `probs` is float[N,C] with rows that sum to 1,
`overlaps` is float[N], 0..1: intersection over union (IoU) of the true box and the predicted one.
"""

import math
from fractions import Fraction
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


def mean_interval(values: Floats) -> tuple[float, float]:
    """95 % confidence interval of the mean of values within 0..1, itself within 0..1.

    Student's t interval (Student 1908), which needs no more than a mean that is about normal: from
    some 30 values on it covers well even for skewed ones. With fewer than two values it is (0, 1):
    nothing is known of their spread.
    """
    count = len(values)
    if count < 2:
        return 0.0, 1.0
    mean = float(values.mean())
    spread = _t_quantile(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return max(0.0, mean - spread), min(1.0, mean + spread)


def _t_quantile(freedom: int, z: float = 1.959964) -> float:
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


def mcnemar(lost: int, gained: int) -> float:
    """How probable so uneven a change is by chance: the exact two-sided p-value, 0..1.

    Of images that one of two models names right and the other wrong, as many should fall to each
    side if the models are equally good (McNemar 1947; exact: the binomial test of the smaller).

    Args:
        lost: images that only the first model names right.
        gained: images that only the second one does.
    """
    count, term, tail = lost + gained, 1, 0
    for k in range(min(lost, gained) + 1):
        tail += term
        term = term * (count - k) // (k + 1)
    return min(1.0, float(Fraction(2 * tail, 2**count)))


def expected_calibration_error(truth: Ints, probs: Floats, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size, 0..1 (Guo et al. 2017)."""
    gaps = reliability_bins(truth, probs, bins)
    total = sum(g["count"] for g in gaps)
    if not total:
        return math.nan
    return float(sum(g["count"] * abs(g["confidence"] - g["accuracy"]) for g in gaps) / total)


def auroc(known: Floats, unknown: Floats) -> float:
    """The chance that one of `unknown` has a larger score than one of `known`, 0..1.

    Equal scores count half (Mann and Whitney 1947). NaN if either has none.
    """
    if not len(known) or not len(unknown):
        return math.nan
    ordered = np.sort(known)
    below = np.searchsorted(ordered, unknown, side="left")
    up_to = np.searchsorted(ordered, unknown, side="right")
    return float((below + up_to).mean() / (2 * len(known)))


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


def box_scores(hit: npt.NDArray[np.bool_], overlaps: Floats) -> dict[str, Any]:
    """How well objects are found: the class right, and the box close.

    Args:
        hit: bool[N]: whether the class is right.
        overlaps: float[N].

    Returns:
        `mean_iou` over all images whatever their class, and the shares `accuracy_at_iou50` and
        `accuracy_at_iou75` of those with the right class and that overlap or more, each with its
        95 % interval. Without images, each is NaN.
    """
    count = len(overlaps)
    scores: dict[str, Any] = {
        "mean_iou": float(overlaps.mean()) if count else math.nan,
        "mean_iou_ci95": list(mean_interval(overlaps)),
    }
    for name, least in (("accuracy_at_iou50", 0.5), ("accuracy_at_iou75", 0.75)):
        found = int((hit & (overlaps >= least)).sum())
        scores[name] = found / count if count else math.nan
        scores[f"{name}_ci95"] = list(wilson_interval(found, count))
    return scores


def summarize(
    truth: Ints, probs: Floats, labels: tuple[str, ...], overlaps: Floats | None = None
) -> dict[str, Any]:
    """All scores of one part: what `metrics.json` holds for it.

    With `overlaps` the scores of the boxes are among them, of all images and by true class.
    """
    predicted = probs.argmax(axis=1) if len(probs) else np.empty(0, int)
    hit, count = predicted == truth, len(truth)
    hits = int(hit.sum())
    classes = per_class(confusion_matrix(truth, predicted, len(labels)), labels)
    if overlaps is not None:
        for c, row in enumerate(classes.values()):
            row.update(_class_box_scores(hit[truth == c], overlaps[truth == c]))
    return {
        "count": count,
        "accuracy": hits / count if count else math.nan,
        "accuracy_ci95": list(wilson_interval(hits, count)),
        "log_loss": log_loss(truth, probs),
        "ece": expected_calibration_error(truth, probs),
        **({} if overlaps is None else box_scores(hit, overlaps)),
        "per_class": classes,
    }


def _class_box_scores(hit: npt.NDArray[np.bool_], overlaps: Floats) -> dict[str, float]:
    """Those of one class; 0 where it has no images, as in `per_class`."""
    found = box_scores(hit, overlaps)
    names = ("mean_iou", "accuracy_at_iou50", "accuracy_at_iou75")
    return {name: found[name] if len(overlaps) else 0.0 for name in names}
