"""Put numbers and findings into words, for the report, the studio and the command line."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sharpeye.core import formatting
from sharpeye.core.formatting import MISSING, NBSP, number, percent

# Limits of the expected calibration error: up to the first, a score can be read as a probability;
# up to the second it is a fair guide. The values are our choice; for comparison, temperature
# scaling brings the networks of Guo et al. 2017 (table 1) under 5 %.
_MAX_CALIBRATED, _MAX_FAIR = 0.05, 0.12
# With fewer images, ten bins hold so few each that chance alone makes a gap.
_MIN_CERTAIN_IMAGES = 200

NO_VALIDATION = "There are no validation images: the lines show only the training images."
FIT_HINT = (
    "A small L2 strength trusts the images more, a large one holds the weights back; "
    "the ring marks the best of the strengths that were tried."
)


def interval(ends: Sequence[Any]) -> str:
    """Two shares 0..1 as "79–97 %"."""
    low, high = (number(end) for end in ends)
    if math.isnan(low) or math.isnan(high):
        return MISSING
    low_text, high_text = (formatting.rounded_percentage(end, 0) for end in (low, high))
    return f"{low_text}–{high_text}{NBSP}%"


def decimal(value: Any, digits: int = 2) -> str:
    """A number with a fixed count of digits; a dash if it is missing or not finite."""
    amount = number(value)
    return f"{amount:.{digits}f}" if math.isfinite(amount) else MISSING


def nats(log_loss: float) -> str:
    """A log loss with 3 decimals, or with 2 significant digits if it is small."""
    return f"{log_loss:.3f}" if log_loss >= 0.01 or log_loss == 0 else f"{log_loss:.2g}"


def compact(value: Any) -> str:
    """A table cell: a whole number in full, another number with 4 significant digits, or a text."""
    amount = number(value)
    if isinstance(value, bool) or math.isnan(amount):
        return str(value) if value not in (None, "") and value == value else MISSING
    # An L2 strength of 1e8 stays one; a step of 12,310 is not 1.231e+04.
    return f"{amount:,.0f}" if amount.is_integer() and abs(amount) < 1e6 else f"{amount:.4g}"


def shorten(text: str, characters: int) -> str:
    """The text, cut to so many characters with an ellipsis at the end."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """ "1 picture", "1,204 pictures"."""
    return f"{count:,}{NBSP}{noun if count == 1 else nouns or noun + 's'}"


def headline(metrics: Mapping[str, Any]) -> str:
    """The headline of a page, from the entry of a split in `metrics.json`."""
    count, accuracy = metrics["count"], number(metrics["accuracy"])
    if not count:
        return "There were no test images, so the quality of this model is unknown."
    return (
        f"Right on {round(accuracy * count):,} of {plural(count, 'test image')}: "
        f"{percent(accuracy)} (95{NBSP}% interval {interval(metrics['accuracy_ci95'])})"
    )


def box_headline(metrics: Mapping[str, Any]) -> str:
    """The headline on a localizer's boxes, from the same entry."""
    low, high = metrics["mean_iou_ci95"]
    return (
        f"Right class and box (IoU{NBSP}≥{NBSP}0.5) on {percent(metrics['accuracy_at_iou50'])} "
        f"(95{NBSP}% interval {interval(metrics['accuracy_at_iou50_ci95'])}). "
        f"Mean IoU {decimal(metrics['mean_iou'])} "
        f"(95{NBSP}% interval {decimal(low)}–{decimal(high)})"
    )


def box_line(metrics: Mapping[str, Any]) -> str:
    """The same for the command line."""
    low, high = metrics["mean_iou_ci95"]
    return (
        f"mean IoU {decimal(metrics['mean_iou'])} ({decimal(low)} to {decimal(high)}), "
        f"right class and IoU >= 0.5: {formatting.plain_percent(metrics['accuracy_at_iou50'])}"
    )


def box_findings(metrics: Mapping[str, Any], loose: int, count: int) -> list[str]:
    """How well the boxes fit, in sentences, the main one first.

    `loose` of `count` images have the right class and an IoU under 0.5.
    """
    verb = "has" if loose == 1 else "have"
    of_loose = f"{plural(loose, 'image')} of {count:,} {verb} the right class but a loose box."
    strict = percent(metrics["accuracy_at_iou75"])
    return [
        f"The boxes overlap the true ones by {decimal(metrics['mean_iou'])} on average.",
        of_loose if loose else "No image with the right class has a loose box.",
        f"With IoU{NBSP}≥{NBSP}0.75 asked for, class and box are right on {strict}.",
    ]


def best_fit(log_loss: float, stage: str, l2: float) -> str:
    """The result of a search for the L2 strength."""
    return f"Lowest log loss {decimal(log_loss, 3)}, from the {stage} fit at L2{NBSP}{compact(l2)}."


def best_point(
    log_loss: float, accuracy: float, position: str, *, mean_iou: float = math.nan
) -> str:
    """The result of training by gradient, in scores on validation; see `curves.BestPoint`."""
    others = []
    if math.isnan(log_loss):
        best = f"Highest validation accuracy {percent(accuracy, 1)} at {position}"
    else:
        best = f"Lowest validation log loss {nats(log_loss)} at {position}"
        others += [] if math.isnan(accuracy) else [f"accuracy {percent(accuracy, 1)}"]
    others += [] if math.isnan(mean_iou) else [f"mean IoU {decimal(mean_iou)}"]
    return f"{best}; {', '.join(others)} there." if others else f"{best}."


def curve_hints(axis: str, window: int, per_point: int, *, smoothed: str) -> list[str]:
    """How to read learning curves.

    Args:
        axis: "step" or "epoch".
        window: rows in the moving average; 1 if there is none.
        per_point: the largest number of rows in a point of the drawing.
        smoothed: the moving average at the ringed validation point; "" without validation.
    """
    hints = ["Solid: training. Dashed: validation."] if smoothed else []
    if window > 1:
        means = f" (means of up to {per_point} in a row)" if per_point > 1 else ""
        hints.append(
            f"Pale lines are the measurements{means}, strong ones their moving average over "
            f"{window} rows of history."
        )
    if smoothed:
        single = f", a single measurement: the moving average there is {smoothed}"
        hints.append(f"The ring marks the best validation point{single if window > 1 else ''}.")
        hints.append(
            "Validation that gets worse while training gets better means that the model learns "
            f"its images by heart; if both still get better at the end, more {axis}s may help."
        )
    return hints


def calibration_findings(ece: Any, count: int, bins: Sequence[Mapping[str, float]]) -> list[str]:
    """The meaning of the calibration error for users of the scores, the main sentence first.

    `ece`, 0..1 or NaN, was measured on `count` images; `metrics.reliability_bins` gives the bins.
    """
    error = number(ece)
    if math.isnan(error) or not bins:
        return ["There are no predictions to compare scores with."]
    verdict = "Do not read its scores as chances"
    if error <= _MAX_CALIBRATED:
        verdict = "You can read its scores as chances"
    elif error <= _MAX_FAIR:
        verdict = "Its scores are a fair guide"
    points = f"{100 * error:.0f}" if 100 * error >= 1.5 else f"{100 * error:.1f}"
    unit = f"percentage point{'' if points in ('1', '1.0') else 's'}"
    away = f"on average they are {points}{NBSP}{unit} away from how often it is right"
    sentences = [f"{verdict}: {away}."]
    total = sum(b["count"] for b in bins)
    surplus = sum(b["count"] * (b["confidence"] - b["accuracy"]) for b in bins) / total
    if surplus > 0.02:
        sentences.append("It is more sure of itself than it should be.")
    elif surplus < -0.02:
        sentences.append("It is right more often than it claims to be.")
    if count < _MIN_CERTAIN_IMAGES:
        sentences.append(f"{plural(count, 'image')} are few, so part of the gap is chance.")
    return sentences


def ood_findings(metrics: Mapping[str, Any], total: int) -> list[str]:
    """Describe the results of the output `unknown` in sentences, the main one first.

    Args:
        metrics: the entry `unknown` of a split in `metrics.json`.
        total: number of the model's classes.
    """
    coverage, count = number(metrics["coverage"]), metrics["count"]
    rejected = round(number(metrics["known_rejected"] or 0) * count)
    calibrated_on = metrics["calibrated_on"]
    if coverage >= 1:
        sentences = ["Unknown detection is off (coverage 1)."]
    elif calibrated_on and calibrated_on / (calibrated_on + 1) <= coverage:
        sentences = [
            f"It calls nothing unknown: to promise {percent(coverage, 1)} takes more than the "
            f"{plural(calibrated_on, 'image')} that calibrate its scores."
        ]
    else:
        sentences = [
            f"It calls {rejected} of {plural(count, 'known test image')} unknown: "
            f"{percent(metrics['known_rejected'], 1)} (95{NBSP}% interval "
            f"{interval(metrics['known_rejected_ci95'])}); up to {percent(1 - coverage, 1)} "
            "was asked for."
        ]
    left_out = metrics["auroc_per_class"]
    if left_out:
        of = "each class" if len(left_out) == total else f"{len(left_out)} of its classes"
        few = f" {plural(count, 'test image')} give only a rough estimate."
        sentences.append(
            f"With {of} left out in turn, it ranks that class's images as less known than a "
            f"known test image {percent(metrics['auroc_mean'])} of the time; by chance that is "
            f"50{NBSP}%.{few if count < _MIN_CERTAIN_IMAGES else ''}"
        )
    return sentences
