"""Numbers and findings in plain words, as the report says them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Keeps a number and its unit on one line.
NBSP = "\u00a0"
MISSING = "–"

# Readings of the expected calibration error: below the first, a score may be read as a chance;
# below the second it is a fair guide. Our choice; for scale, temperature scaling brings the
# networks of Guo et al. 2017 (table 1) under 5 %.
_CALIBRATED, _FAIR = 0.05, 0.12
# Under this many pictures, ten bins hold so few each that chance alone makes a gap.
_FEW = 200


def number(value: Any) -> float:
    """A float, or NaN for what is missing or no number (an empty cell of a CSV file, null)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def percent(share: Any) -> str:
    """A share 0..1 as a whole percentage; only all is "100 %" and only none is "0 %"."""
    value = 100 * number(share)
    if math.isnan(value):
        return MISSING
    return f"{_whole(value)}{NBSP}%"


def _whole(value: float) -> str:
    text = f"{value:.0f}"
    if text == "100" and value < 100:
        return f"{math.floor(10 * value) / 10:.1f}"
    if text == "0" and value > 0:
        return "<1"
    return text


def interval(ends: Sequence[Any]) -> str:
    """Two shares 0..1 as "79–97 %"."""
    low, high = (100 * number(end) for end in ends)
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{_whole(low)}–{_whole(high)}{NBSP}%"


def decimal(value: Any, digits: int = 2) -> str:
    """A number with a fixed count of digits; a dash if it is missing or not finite."""
    amount = number(value)
    return f"{amount:.{digits}f}" if math.isfinite(amount) else MISSING


def compact(value: Any) -> str:
    """A cell of a table of mixed values: numbers with 4 significant digits, else as it is."""
    amount = number(value)
    if isinstance(value, bool) or math.isnan(amount):
        return str(value) if value not in (None, "") and value == value else MISSING
    return f"{amount:.4g}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """ "1 picture", "1,204 pictures"."""
    return f"{count:,}{NBSP}{noun if count == 1 else nouns or noun + 's'}"


def duration(seconds: Any) -> str:
    """ "0.42 s", "12 s", "3 min 20 s", "1 h 5 min"."""
    amount = number(seconds)
    if not math.isfinite(amount):
        return MISSING
    if amount < 10:
        return f"{amount:.2g}{NBSP}s"
    if amount < 120:
        return f"{amount:.0f}{NBSP}s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def verdict(metrics: Mapping[str, Any]) -> str:
    """The sentence that a reader takes away, from one part's entry in `metrics.json`."""
    count, accuracy = metrics["count"], number(metrics["accuracy"])
    if not count:
        return "There were no test pictures, so nothing is known of how good this model is."
    hits = round(accuracy * count)
    return (
        f"Right on {hits:,} of {plural(count, 'test picture')}: {percent(accuracy)} "
        f"(95{NBSP}% interval {interval(metrics['accuracy_ci95'])})"
    )


def calibration(ece: Any, count: int, bins: Sequence[Mapping[str, float]]) -> list[str]:
    """What the expected calibration error means for somebody who uses the scores.

    Args:
        ece: 0..1, or NaN.
        count: pictures it was measured on.
        bins: as `metrics.reliability_bins` returns them.

    Returns:
        sentences, the finding first.
    """
    error = number(ece)
    if math.isnan(error) or not bins:
        return ["There are no answers to compare scores with."]
    size = f"on average they are {_points(error)} away from how often it is right"
    if error <= _CALIBRATED:
        sentences = [f"You can read its scores as chances: {size}."]
    elif error <= _FAIR:
        sentences = [f"Its scores are a fair guide: {size}."]
    else:
        sentences = [f"Do not read its scores as chances: {size}."]
    total = sum(b["count"] for b in bins)
    surplus = sum(b["count"] * (b["confidence"] - b["accuracy"]) for b in bins) / total
    if surplus > 0.02:
        sentences.append("It is more sure of itself than it should be.")
    elif surplus < -0.02:
        sentences.append("It is right more often than it claims to be.")
    if count < _FEW:
        sentences.append(f"{plural(count, 'picture')} are few, so part of the gap is chance.")
    return sentences


def _points(share: float) -> str:
    value = 100 * share
    text = f"{value:.0f}" if value >= 1.5 else f"{value:.1f}"
    return f"{text}{NBSP}percentage point{'' if text in ('1', '1.0') else 's'}"
