"""Draw the report's charts of scores as inline SVG: calibration, boxes, solver fits.

The functions are pure: they map numbers to a string of SVG, with all text escaped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.formatting import number, percent
from sharpeye.report import svg
from sharpeye.report.evaluation import MIN_CORRECT_IOU
from sharpeye.report.svg import LEFT, RIGHT, WIDTH, Axis
from sharpeye.report.wording import plural, shorten

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SHAPES = ("circle", "diamond", "square")
_FIFTHS = [v / 5 for v in range(6)]
_IOU_BINS = 10
_MAX_NAME_CHARACTERS = 20


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy against confidence for one or more bins of `metrics.reliability_bins`."""
    top, bottom = 74, 330
    x = Axis(svg.linear(0, 1, LEFT, end=WIDTH - RIGHT), _FIFTHS, percent, "how sure it says it is")
    y = Axis(svg.linear(0, 1, bottom, end=top), _FIFTHS, percent, "how often it is right")
    max_count = max(b["count"] for b in bins)
    bars = (_reliability_bar(b, x, y, max_count=max_count) for b in bins)
    ends = f'x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"'
    ideal = f'<line class="ideal" {ends}/>'
    label = "Reliability: how often the model is right, by how sure it says it is"
    return svg.chart(label, bottom, svg.y_axis(y), svg.x_axis(x, bottom), *bars, ideal)


def _reliability_bar(b: Mapping[str, float], x: Axis, y: Axis, *, max_count: float) -> str:
    """The accuracy of a bin as a bar, its gap to the confidence, and its count above the plot."""
    left, width, count = x(b["low"]) + 1.5, x(b["high"]) - x(b["low"]) - 3, int(b["count"])
    count_height = max(2.0, 40 * count / max_count)
    count_top = y(1) - 14 - count_height
    sure, right = x(b["confidence"]), y(b["accuracy"])
    share_sure, share_right = percent(b["confidence"]), percent(b["accuracy"])
    title = f"{plural(count, 'image')}: {share_sure} sure, {share_right} right"
    return svg.titled(
        title,
        svg.bar("count", left, width, top=count_top, height=count_height)
        + svg.small_text(left + width / 2, count_top - 4, f"{count:,}", anchor="middle")
        + svg.bar("bar", left, width, top=right, height=max(y(0) - right, 1.5))
        + f'<line class="gap" x1="{sure:.1f}" x2="{sure:.1f}"'
        f' y1="{y(b["confidence"]):.1f}" y2="{right:.1f}"/>'
        f'<circle class="dot" cx="{sure:.1f}" cy="{right:.1f}" r="4.5"/>',
    )


def iou_chart(ious: Floats) -> str:
    """A histogram of IoU, float[N], 0..1, N >= 1; bars of loose boxes have another colour."""
    top, bottom = 34, 230
    counts = np.histogram(ious, bins=_IOU_BINS, range=(0.0, 1.0))[0].tolist()
    ticks = svg.count_ticks(0, max(counts))
    x_scale = svg.linear(0, 1, LEFT, end=WIDTH - RIGHT)
    x = Axis(x_scale, _FIFTHS, "{:.1f}".format, "overlap of true and predicted box (IoU)")
    y_scale = svg.linear(0, ticks[-1], bottom, end=top)
    y = Axis(y_scale, ticks, svg.count_text(ticks[-1]), "images")
    border = x(MIN_CORRECT_IOU)
    return svg.chart(
        "Images by the overlap of their true and predicted box",
        bottom,
        svg.y_axis(y),
        svg.x_axis(x, bottom),
        *(_iou_bar(count, b / _IOU_BINS, x, y=y) for b, count in enumerate(counts)),
        svg.upright(border, top - 8, bottom),
        svg.small_text(border - 6, top - 12, "loose", anchor="end"),
        svg.small_text(border + 6, top - 12, "found"),
    )


def _iou_bar(count: int, low: float, x: Axis, *, y: Axis) -> str:
    high = low + 1 / _IOU_BINS
    style = "bar loose" if high <= MIN_CORRECT_IOU else "bar"
    left, width, top = x(low) + 1.5, x(high) - x(low) - 3, y(count)
    drawing = svg.bar(style, left, width, top=top, height=y(0) - top)
    if count:
        drawing += svg.small_text(left + width / 2, top - 5, f"{count:,}", anchor="middle")
    title = f"{plural(count, 'image')} with an IoU of {low:.1f} to {high:.1f}"
    return svg.titled(title, drawing)


@dataclass(frozen=True, slots=True)
class SolverFit:
    """One fit of a head: solver, L2 strength (> 0), and log loss on held-out images (nats)."""

    stage: str
    l2: float
    log_loss: float


def solver_fits(history: Sequence[Mapping[str, Any]]) -> list[SolverFit]:
    """The fits in the rows of `history.csv`, in order of stage and L2 strength."""
    fits = [
        SolverFit(str(row.get("stage") or "fit"), *(number(row.get(k)) for k in ("l2", "log_loss")))
        for row in history
    ]
    usable = [f for f in fits if f.l2 > 0 and math.isfinite(f.l2) and math.isfinite(f.log_loss)]
    stages = list(dict.fromkeys(f.stage for f in usable))
    return sorted(usable, key=lambda f: (stages.index(f.stage), f.l2))


def solver_chart(fits: Sequence[SolverFit]) -> str:
    """Log loss of at least one fit over L2 strength (log axis), a line a stage, the best ringed."""
    top, bottom = 40, 270
    exponents = [math.log10(f.l2) for f in fits]
    first, last = math.floor(min(exponents)), math.ceil(max(exponents))
    powers = [10.0**e for e in range(first, max(last, first + 1) + 1)]
    losses = svg.round_ticks(min(f.log_loss for f in fits), max(f.log_loss for f in fits))
    x_scale = svg.logarithmic(powers[0], powers[-1], LEFT, end=WIDTH - RIGHT)
    x = Axis(x_scale, powers[:: math.ceil(len(powers) / 8)], _power, "L2 strength")
    y_scale = svg.linear(losses[0], losses[-1], bottom, end=top)
    y = Axis(y_scale, losses, "{:.4g}".format, "log loss")
    entries, parts = [], [svg.y_axis(y), svg.x_axis(x, bottom)]
    for i, stage in enumerate(dict.fromkeys(f.stage for f in fits)):
        style, shape = f"s{i % len(_SHAPES)}", _SHAPES[i % len(_SHAPES)]
        entries.append((style, shape, shorten(stage, _MAX_NAME_CHARACTERS)))
        points = [(x(f.l2), y(f.log_loss), f) for f in fits if f.stage == stage]
        parts.append(svg.series(style, [(px, py) for px, py, _ in points]))
        for px, py, f in points:
            title = f"{stage}: log loss {f.log_loss:.4g} at L2 {f.l2:.3g}"
            parts.append(svg.titled(title, svg.marker(style, shape, px, y=py)))
    best = min(fits, key=lambda f: f.log_loss)
    parts += [svg.legend(entries, lines=False), svg.ring(x(best.l2), y(best.log_loss))]
    return svg.chart("Log loss of each fit by its L2 strength", bottom, *parts)


def rate_chart(rates: Floats, losses: Floats, suggested: float) -> str:
    """The loss against the learning rate, with a line at the suggested rate.

    Args:
        rates: float[N], ascending, above 0.
        losses: float[N], finite; values far above the first one are cut off.
    """
    top, bottom = 34, 270
    low, high = math.floor(math.log10(rates[0])), math.ceil(math.log10(rates[-1]))
    ticks = [10.0**power for power in range(low, high + 1)]
    x_scale = svg.logarithmic(ticks[0], ticks[-1], LEFT, end=WIDTH - RIGHT)
    x = Axis(x_scale, ticks, _power, "learning rate")
    y_ticks = svg.round_ticks(float(losses.min()), float(min(losses.max(), 2 * losses[0])))
    y_scale = svg.linear(y_ticks[0], y_ticks[-1], bottom, end=top)
    y = Axis(y_scale, y_ticks, "{:.4g}".format, "loss of a step, smoothed")
    points = [(x(rate), y(loss)) for rate, loss in zip(rates, losses, strict=True)]
    line = svg.clipped(svg.series("s0", points), top, bottom)
    mark = svg.upright(x(suggested), top, bottom, title=f"suggested: {suggested:.2g}")
    note = svg.small_text(x(suggested), top - 8, f"suggested: {suggested:.2g}", anchor="middle")
    label = "The loss of steps with a rising learning rate"
    return svg.chart(label, bottom, svg.y_axis(y), svg.x_axis(x, bottom), line, mark, note)


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPT)
