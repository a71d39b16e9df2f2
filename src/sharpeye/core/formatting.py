"""Format shares, times and lists of names, in one way for all pages and messages."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

NBSP = "\u00a0"  # keeps a number and its unit on one line
MISSING = "–"


def number(value: Any) -> float:
    """A float; NaN for a missing value or a text, such as an empty cell of a CSV file."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def percent(share: Any, digits: int = 0) -> str:
    """A share 0..1 for a page: "91 %", with a no-break space; a dash if it is missing.

    Only a share of 1 is "100 %" and only 0 is "0 %", see `rounded_percentage`.
    """
    value = number(share)
    if math.isnan(value):
        return MISSING
    return f"{rounded_percentage(value, 0 if value in (0, 1) else digits)}{NBSP}%"


def plain_percent(share: Any, digits: int = 1) -> str:
    """A share 0..1 for a terminal or for Markdown: "91.4%", "100.0%"; "nan%" if it is missing."""
    value = number(share)
    return "nan%" if math.isnan(value) else f"{rounded_percentage(value, digits)}%"


def rounded_percentage(share: float, digits: int) -> str:
    """100 * `share`, rounded half to even, so that only 1 becomes "100" and only 0 becomes "0".

    A smaller share that would round to 100 gets more digits ("99.7", "99.96", at last ">99.99"); a
    larger one that would round to 0 becomes "<1", or "<0.1" with one digit.
    """
    # As floats, 100 * 0.575 (23 of 40) is 57.49999999999999: a tie would round to the wrong side.
    value = 100 * Decimal(repr(float(share)))
    text = f"{value:.{digits}f}"
    if value > 0 and float(text) == 0:
        return f"<{10**-digits:g}"
    while value < 100 and float(text) == 100:
        if digits >= 2:  # 1 of 10,000 still shows
            return f">{100 - 10**-digits:.{digits}f}"
        digits += 1
        text = f"{value:.{digits}f}"
    return text


def duration(seconds: Any) -> str:
    """ "0.42 s", "12 s", "3 min 20 s", "1 h 5 min"."""
    amount = number(seconds)
    if not math.isfinite(amount):
        return MISSING
    if amount < 120:
        return f"{amount:.2g}{NBSP}s" if amount < 10 else f"{amount:.0f}{NBSP}s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def counted(count: int, noun: str) -> str:
    """ "1 file", "1,204 files": for messages; pages have `report.wording.plural`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def name_list(names: Sequence[str], max_names: int = 5) -> str:
    """Names in a message: the first ones, and how many more there are."""
    if len(names) <= max_names:
        return ", ".join(names)
    return f"{', '.join(names[:max_names])} and {len(names) - max_names:,} more"
