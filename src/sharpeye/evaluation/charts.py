"""The report's two charts as inline SVG. Colours come from the page's style sheet.

Every function is pure: numbers in, a string of SVG out, all text in it escaped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from sharpeye.evaluation.wording import number, percent, plural

# Units of the drawings; the page scales them to the width that it has.
_WIDTH, _LEFT, _RIGHT = 440, 66, 20
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SHAPES = ("circle", "diamond", "square")


@dataclass(frozen=True, slots=True)
class Fit:
    """One regularised fit of a head.

    Attributes:
        stage: which solver, such as "ridge" or "logistic".
        l2: regularisation strength, > 0.
        log_loss: on held-out answers, nats.
    """

    stage: str
    l2: float
    log_loss: float


def fits(history: Sequence[Mapping[str, Any]]) -> list[Fit]:
    """The rows of `history.csv` that the chart can show, in order of stage and strength."""
    found = [
        Fit(str(row.get("stage") or "fit"), number(row.get("l2")), number(row.get("log_loss")))
        for row in history
    ]
    usable = [f for f in found if f.l2 > 0 and math.isfinite(f.l2) and math.isfinite(f.log_loss)]
    order = list(dict.fromkeys(f.stage for f in usable))
    return sorted(usable, key=lambda f: (order.index(f.stage), f.l2))


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against confidence, with the number of pictures of each bin above.

    Args:
        bins: as `metrics.reliability_bins` returns them, at least one.
    """
    top, bottom, strip = 74, 330, 40  # the plot's edges, and the height of the counts' bars
    x, y = _linear(0, 1, _LEFT, _WIDTH - _RIGHT), _linear(0, 1, bottom, top)
    most = max(b["count"] for b in bins)
    parts = [_grid(x, y, [v / 5 for v in range(6)], [v / 5 for v in range(6)], percent, percent)]
    for b in bins:
        left, width = x(b["low"]) + 1.5, x(b["high"]) - x(b["low"]) - 3
        count = int(b["count"])
        height = max(2.0, strip * count / most)
        said, was = y(b["confidence"]), y(b["accuracy"])
        parts.append(
            f"<g><title>{escape(_bin_words(b))}</title>"
            f'<rect class="count" x="{left:.1f}" y="{top - 14 - height:.1f}" width="{width:.1f}"'
            f' height="{height:.1f}" rx="2"/>'
            f'<text class="small" x="{left + width / 2:.1f}" y="{top - 18 - height:.1f}"'
            f' text-anchor="middle">{count:,}</text>'
            f'<rect class="bar" x="{left:.1f}" y="{was:.1f}" width="{width:.1f}"'
            f' height="{max(bottom - was, 1.5):.1f}" rx="2"/>'
            f'<line class="gap" x1="{x(b["confidence"]):.1f}" x2="{x(b["confidence"]):.1f}"'
            f' y1="{said:.1f}" y2="{was:.1f}"/>'
            f'<circle class="dot" cx="{x(b["confidence"]):.1f}" cy="{was:.1f}" r="4.5"/></g>'
        )
    parts.append(
        f'<line class="ideal" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>'
    )
    parts.append(_axis_names("how sure it says it is", "how often it is right", top, bottom))
    label = "Reliability: how often the model is right, by how sure it says it is"
    return _svg(label, bottom + 50, parts)


def _bin_words(b: Mapping[str, float]) -> str:
    return (
        f"{plural(int(b['count']), 'picture')}: {percent(b['confidence'])} sure, "
        f"{percent(b['accuracy'])} right"
    )


def history_chart(rows: Sequence[Fit]) -> str:
    """Log loss over regularisation strength (log axis), a line a stage, the lowest point ringed.

    Args:
        rows: as `fits` returns them, at least one.
    """
    top, bottom = 40, 270
    strengths, losses = [f.l2 for f in rows], [f.log_loss for f in rows]
    x_ticks, y_ticks = _decades(min(strengths), max(strengths)), _nice(min(losses), max(losses))
    x = _logarithmic(x_ticks[0], x_ticks[-1], _LEFT, _WIDTH - _RIGHT)
    y = _linear(y_ticks[0], y_ticks[-1], bottom, top)
    shown = x_ticks[:: math.ceil(len(x_ticks) / 8)]
    parts = [_grid(x, y, shown, y_ticks, _power, lambda v: f"{v:.4g}")]
    cursor = float(_LEFT)
    for i, stage in enumerate(dict.fromkeys(f.stage for f in rows)):
        points = [(x(f.l2), y(f.log_loss), f) for f in rows if f.stage == stage]
        shape = _SHAPES[i % len(_SHAPES)]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
        marks = "".join(
            f"<g><title>{escape(stage)}: log loss {f.log_loss:.4g} at L2 {f.l2:.3g}</title>"
            f"{_mark(shape, px, py)}</g>"
            for px, py, f in points
        )
        name = stage if len(stage) <= 20 else stage[:19] + "…"
        parts.append(
            f'<g class="series s{i % len(_SHAPES)}"><polyline points="{line}"/>{marks}'
            f"{_mark(shape, cursor + 5, 14)}"
            f'<text x="{cursor + 15:.1f}" y="18">{escape(name)}</text></g>'
        )
        cursor += 34 + 8 * len(name)
    best = min(rows, key=lambda f: f.log_loss)
    parts.append(f'<circle class="best" cx="{x(best.l2):.1f}" cy="{y(best.log_loss):.1f}" r="9"/>')
    parts.append(_axis_names("L2 strength", "log loss", top, bottom))
    return _svg("Log loss of each fit by its L2 strength", bottom + 50, parts)


def _svg(label: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _grid(
    x: Callable[[float], float],
    y: Callable[[float], float],
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> str:
    bottom, left, right = y(y_ticks[0]), _LEFT, _WIDTH - _RIGHT
    lines = [
        f'<line class="{"axis" if v == y_ticks[0] else "grid"}" x1="{left}" x2="{right}"'
        f' y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{y_text(v)}</text>'
        for v in y_ticks
    ]
    lines += [
        f'<text x="{x(v):.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{x_text(v)}</text>'
        for v in x_ticks
    ]
    return "".join(lines)


def _axis_names(x_name: str, y_name: str, top: int, bottom: int) -> str:
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return (
        f'<text class="name" x="{middle}" y="{bottom + 42}" text-anchor="middle">{x_name}</text>'
        f'<text class="name" text-anchor="middle"'
        f' transform="translate(11 {(top + bottom) / 2:.0f}) rotate(-90)">{y_name}</text>'
    )


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z"/>'
    return f'<path d="M{x - 4.5:.1f} {y - 4.5:.1f}h9v9h-9z"/>'


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _logarithmic(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    scale = _linear(math.log10(low), math.log10(high), start, end)
    return lambda value: scale(math.log10(value))


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPT)


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**e for e in range(first, max(last, first + 1) + 1)]


def _nice(low: float, high: float) -> list[float]:
    """Three to seven round values that enclose low..high."""
    span = max(high - low, 0.02, 0.02 * abs(high))
    raw = span / 4
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw) * magnitude
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * i for i in range(first, max(last, first + 1) + 1)]
