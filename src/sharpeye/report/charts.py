"""The report's charts of scores and of solver fits as inline SVG, and the parts they share with
the learning curves. Colours come from the page's style sheet.

Every function is pure: numbers in, a string of SVG out, all text in it escaped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from sharpeye.report.wording import NBSP, number, percent, plural

# Units of the drawings; the page scales them to the width that it has.
WIDTH, LEFT, RIGHT = 440, 66, 20
Scale = Callable[[float], float]  # from a value to its place
Words = Callable[[float], str]  # from a value to its text

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SHAPES = ("circle", "diamond", "square")


@dataclass(frozen=True, slots=True)
class SolverFit:
    """One regularised fit of a head.

    Attributes:
        stage: which solver, such as "ridge" or "logistic".
        l2: regularisation strength, > 0.
        log_loss: on held-out answers, nats.
    """

    stage: str
    l2: float
    log_loss: float


def fits(history: Sequence[Mapping[str, Any]]) -> list[SolverFit]:
    """The rows of `history.csv` that the chart can show, in order of stage and strength."""
    found = [
        SolverFit(
            str(row.get("stage") or "fit"), number(row.get("l2")), number(row.get("log_loss"))
        )
        for row in history
    ]
    usable = [f for f in found if f.l2 > 0 and math.isfinite(f.l2) and math.isfinite(f.log_loss)]
    order = list(dict.fromkeys(f.stage for f in usable))
    return sorted(usable, key=lambda f: (order.index(f.stage), f.l2))


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against confidence, with the number of images of each bin above.

    Args:
        bins: as `metrics.reliability_bins` returns them, at least one.
    """
    top, bottom, strip = 74, 330, 40  # the plot's edges, and the height of the counts' bars
    x, y = linear(0, 1, LEFT, WIDTH - RIGHT), linear(0, 1, bottom, top)
    most = max(b["count"] for b in bins)
    fifths = [v / 5 for v in range(6)]
    parts = [rulings(y, fifths, percent), numbers_x(x, fifths, percent, bottom)]
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
    parts.append(name_x("how sure it says it is", bottom))
    parts.append(name_y("how often it is right", top, bottom))
    label = "Reliability: how often the model is right, by how sure it says it is"
    return svg(label, bottom + 50, parts)


def _bin_words(b: Mapping[str, float]) -> str:
    return (
        f"{plural(int(b['count']), 'picture')}: {percent(b['confidence'])} sure, "
        f"{percent(b['accuracy'])} right"
    )


def history_chart(rows: Sequence[SolverFit]) -> str:
    """Log loss over regularisation strength (log axis), a line a stage, the lowest point ringed.

    Args:
        rows: as `fits` returns them, at least one.
    """
    top, bottom = 40, 270
    strengths, losses = [f.l2 for f in rows], [f.log_loss for f in rows]
    x_ticks, y_ticks = _decades(min(strengths), max(strengths)), nice(min(losses), max(losses))
    x = _logarithmic(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    y = linear(y_ticks[0], y_ticks[-1], bottom, top)
    shown = x_ticks[:: math.ceil(len(x_ticks) / 8)]
    parts = [rulings(y, y_ticks, "{:.4g}".format), numbers_x(x, shown, _power, bottom)]
    cursor = float(LEFT)
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
    parts.append(name_x("L2 strength", bottom))
    parts.append(name_y("log loss", top, bottom))
    return svg("Log loss of each fit by its L2 strength", bottom + 50, parts)


def svg(label: str, height: int, parts: Sequence[str]) -> str:
    """A drawing of WIDTH by `height` units; `label` is what a screen reader says of it."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def rulings(y: Scale, ticks: Sequence[float], text: Words) -> str:
    """A horizontal line at each tick, the lowest as the axis, with their numbers on the left."""
    return "".join(
        f'<line class="{"axis" if v == ticks[0] else "grid"}" x1="{LEFT}" x2="{WIDTH - RIGHT}"'
        f' y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{text(v)}</text>'
        for v in ticks
    )


def numbers_x(x: Scale, ticks: Sequence[float], text: Words, bottom: float) -> str:
    """The numbers of the horizontal axis."""
    return "".join(
        f'<text x="{x(v):.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{text(v)}</text>'
        for v in ticks
    )


def name_x(name: str, bottom: float) -> str:
    """The name of the horizontal axis, under its numbers."""
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'<text class="name" x="{middle}" y="{bottom + 42}" text-anchor="middle">{name}</text>'


def name_y(name: str, top: float, bottom: float) -> str:
    """The name of the vertical axis of a plot between two heights."""
    return (
        f'<text class="name" text-anchor="middle"'
        f' transform="translate(11 {(top + bottom) / 2:.0f}) rotate(-90)">{name}</text>'
    )


def series(style: str, points: Sequence[tuple[float, float]], shape: str = "") -> str:
    """A line in the class of its colour, with a mark on each point if `shape` names one."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = "".join(_mark(shape, x, y) for x, y in points) if shape else ""
    return f'<g class="series {style}"><polyline points="{path}"/>{marks}</g>'


def cut(content: str, top: float, bottom: float) -> str:
    """What of `content` lies inside a plot; an svg in an svg cuts off the rest."""
    left, width, height = LEFT, WIDTH - RIGHT - LEFT, bottom - top
    return (
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}"'
        f' viewBox="{left} {top} {width} {height}">{content}</svg>'
    )


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z"/>'
    return f'<path d="M{x - 4.5:.1f} {y - 4.5:.1f}h9v9h-9z"/>'


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Takes low..high to start..end."""
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    scale = linear(math.log10(low), math.log10(high), start, end)
    return lambda value: scale(math.log10(value))


def share_text(value: float) -> str:
    """A tick of a scale of shares, to the digits that it has: "97.5 %"."""
    return f"{100 * value:.4g}{NBSP}%"


def count_text(largest: float) -> Words:
    """How to write the ticks of a scale that ends at `largest`: "2,500", or "25k" where long."""
    if largest < 10_000:
        return "{:,.0f}".format
    return lambda value: f"{value / 1000:,g}k" if value else "0"


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPT)


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**e for e in range(first, max(last, first + 1) + 1)]


def nice(
    low: float, high: float, least: float = 0.02, multiples: Sequence[float] = (1, 2, 2.5, 5)
) -> list[float]:
    """Two to seven round values that enclose low..high.

    Args:
        low, high: the ends, low <= high.
        least: the smallest span to spread them over, for values that hardly differ.
        multiples: of a power of ten that may be the step between them, rising from 1.
    """
    span = max(high - low, least, 0.02 * abs(high))
    raw = span / 4
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m for m in (*multiples, 10) if m * magnitude >= raw) * magnitude
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * i for i in range(first, max(last, first + 1) + 1)]
