"""The learning curves of training by gradient: what `history.csv` says of them, and their chart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.report import charts
from sharpeye.report.charts import LEFT, RIGHT, WIDTH, Scale
from sharpeye.report.wording import number

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Turn = tuple[str, float]  # a stage, and where on the chart the one before it ended

# Up to so many points each gets a mark; beyond, marks touch and a moving average says more.
_FEW = 24
# The plot is 354 units wide and hardly ever drawn wider than that many pixels.
MAX_POINTS = 400
# Class and shape of mark of each part; the style sheet dashes the second.
_LOOKS = {"training": ("s0", "circle"), "validation": ("s1 dashed", "diamond")}
_TOP, _HEIGHT, _GAP = 36, 165, 28
# What each panel measures, and its column of the history.
_PANELS = {"log loss": "log_loss", "accuracy": "accuracy", "mean IoU": "mean_iou"}


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one part in the course of a stage of training.

    Attributes:
        part: "training" or "validation".
        x: float64[N], steps or epochs since the start, rising.
        y: float64[N], finite: nats, or a share 0..1.
    """

    part: str
    x: Floats
    y: Floats

    @property
    def reach(self) -> int:
        """Neighbours on either side that the moving average takes in; 0 if nothing is smoothed.

        A twentieth of the line calms batches of 100 and still shows a turn.
        """
        return max(1, len(self.y) // 40) if len(self.y) > _FEW else 0

    @property
    def smooth(self) -> Floats:
        """float64[N]: the moving average, narrower near the start, one-sided at the end.

        The start is steep, and a one-sided mean would put it too low; the end is flat.
        """
        i = np.arange(len(self.y))
        reach = np.minimum(self.reach, i)
        low, high = i - reach, np.minimum(i + reach + 1, len(i))
        sums = np.concatenate([[0.0], np.cumsum(self.y)])
        return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)


@dataclass(frozen=True, slots=True)
class Best:
    """The row with the lowest validation log loss, the earliest of equals.

    Attributes:
        x: where it is on the chart.
        place: the same in words, such as "step 2,310".
        log_loss: on validation, nats; NaN if no row has it, and the best is by accuracy.
        accuracy: on validation, 0..1; NaN if that row has none.
        level: the moving average there of what it is the best of.
        mean_iou: of the boxes on validation, 0..1; NaN if that row has none.
    """

    x: float
    place: str
    log_loss: float
    accuracy: float
    level: float
    mean_iou: float = math.nan


@dataclass(frozen=True, slots=True)
class Curves:
    """All lines of one training.

    Attributes:
        axis: "step" or "epoch".
        panels: lines by what they measure, "log loss", "accuracy" and "mean IoU"; one a part and
            stage.
        best: None without validation.
        turns: of the second and later stages.
    """

    axis: str
    panels: Mapping[str, Sequence[Line]]
    best: Best | None
    turns: Sequence[Turn]

    @property
    def lines(self) -> list[Line]:
        """Those of all panels."""
        return [line for lines in self.panels.values() for line in lines]


def axis_of(row: Mapping[str, Any]) -> str:
    """What a row counts: "step", "epoch", or "" if it is of no training by gradient."""
    return next((axis for axis in ("step", "epoch") if math.isfinite(number(row.get(axis)))), "")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Curves | None:
    """The lines in the rows of `history.csv`; None if there is nothing to draw.

    A row has "step" or "epoch" and any of "log_loss", "accuracy", "mean_iou" and the same with
    "validation_" before it; values that are missing or not finite are left out. Rows come in the
    order of training.
    """
    kinds = [axis_of(row) for row in history]
    axis = max(("step", "epoch"), key=kinds.count)
    rows = [row for row, kind in zip(history, kinds, strict=True) if kind == axis]
    x, stages, turns = _positions(rows, axis)
    panels: dict[str, list[Line]] = {}
    for name, column in _PANELS.items():
        for part, prefix in (("training", ""), ("validation", "validation_")):
            y = _values(rows, prefix + column)
            for stage in range(len(turns) + 1):
                known = np.isfinite(y) & (stages == stage)
                if known.any():
                    panels.setdefault(name, []).append(Line(part, x[known], y[known]))
    if not panels:
        return None
    log_loss, accuracy = (_values(rows, f"validation_{c}") for c in ("log_loss", "accuracy"))
    name, key = ("accuracy", -accuracy) if np.isnan(log_loss).all() else ("log loss", log_loss)
    if np.isnan(key).all():
        return Curves(axis, panels, None, turns)
    i = int(np.nanargmin(key))
    line = next(ln for ln in panels[name] if ln.part == "validation" and ln.x[-1] >= x[i])
    level = float(np.interp(x[i], line.x, line.smooth))
    place = f"{axis} {number(rows[i][axis]):,.10g}"
    place += f" of {rows[i].get('stage')}" if turns else ""
    mean_iou = float(_values(rows, "validation_mean_iou")[i])
    best = Best(float(x[i]), place, float(log_loss[i]), float(accuracy[i]), level, mean_iou)
    return Curves(axis, panels, best, turns)


def _values(rows: Sequence[Mapping[str, Any]], column: str) -> Floats:
    y = np.array([number(row.get(column)) for row in rows], np.float64)
    return np.where(np.isfinite(y), y, np.nan)


def _positions(rows: Sequence[Mapping[str, Any]], axis: str) -> tuple[Floats, Ints, list[Turn]]:
    """Of each row the place on the axis, float64[N], and the stage, int64[N] from 0; the turns.

    A stage that counts from the start again is moved behind the one before it.
    """
    shift, last, stage = 0.0, 0.0, None
    where, stages = [], []
    turns: list[Turn] = []
    for row in rows:
        own, name = number(row[axis]), str(row.get("stage") or "")
        if stage is not None and name != stage:
            shift = last if own + shift <= last else shift
            turns.append((name, last))
        where.append(own + shift)
        stages.append(len(turns))
        last, stage = max(last, own + shift), name
    return np.array(where, np.float64), np.array(stages, np.int64), turns


def thin(values: Floats) -> Floats:
    """float64[N] as at most `MAX_POINTS` means of neighbours, bins alike to within one value."""
    edges = np.linspace(0, len(values), min(len(values), MAX_POINTS) + 1).astype(np.int64)
    return np.asarray(np.add.reduceat(values, edges[:-1]) / np.diff(edges), np.float64)


def curve_chart(curves: Curves) -> str:
    """A plot a measure, one below the other, over steps or epochs; the best validation point
    ringed.
    """
    lines = curves.lines
    # From 0, where training begins.
    x_ticks = charts.nice(0, max(float(line.x[-1]) for line in lines), 4, (1, 2, 5))
    # A ring at the first step must not cover the numbers beside the plot.
    x = charts.linear(x_ticks[0], x_ticks[-1], LEFT + 12, WIDTH - RIGHT)
    parts = [_legend(lines, ringed=curves.best is not None)]
    bottom = _TOP - _GAP
    for name, own in curves.panels.items():
        top, bottom = bottom + _GAP, bottom + _GAP + _HEIGHT
        parts.append(_panel(name, own, curves, x, top))
    parts.append(charts.numbers_x(x, x_ticks, charts.count_text(x_ticks[-1]), bottom))
    parts.append(charts.name_x(curves.axis, bottom))
    *some, last = curves.panels
    measures = f"{', '.join(some)} and {last}" if some else last
    label = f"{measures[0].upper()}{measures[1:]} of training and validation by {curves.axis}"
    return charts.svg(label, bottom + 50, parts)


def _panel(name: str, lines: Sequence[Line], curves: Curves, x: Scale, top: int) -> str:
    bottom, share = top + _HEIGHT, name != "log loss"
    best = curves.best
    ringed = math.nan if best is None else float(getattr(best, _PANELS[name]))
    ticks = _y_ticks(lines, ringed, share)
    y = charts.linear(ticks[0], ticks[-1], bottom, top)
    turns = "".join(
        f'<line class="turn" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{top}" y2="{bottom}">'
        f"<title>{escape(stage)} begins</title></line>"
        for stage, at in curves.turns
    )
    # Cut off: single values of a batch may lie far outside.
    pale = "".join(_stroke(line, line.y, "pale", x, y) for line in lines if line.reach)
    strong = "".join(_stroke(line, line.smooth, "strong", x, y) for line in lines)
    ring = "" if best is None or math.isnan(ringed) else _ring(x(best.x), y(ringed))
    unit: charts.Words = charts.share_text if name == "accuracy" else "{:.4g}".format
    return (
        f"{charts.rulings(y, ticks, unit)}{charts.name_y(name, top, bottom)}{turns}"
        f"{charts.cut(pale, top, bottom)}{strong}{ring}"
    )


def _stroke(line: Line, values: Floats, kind: str, x: Scale, y: Scale) -> str:
    style, shape = _LOOKS[line.part]
    points = [(x(at), y(value)) for at, value in zip(thin(line.x), thin(values), strict=True)]
    return charts.series(f"{style} {kind}", points, "" if line.reach else shape)


def _ring(x: float, y: float) -> str:
    style, shape = _LOOKS["validation"]
    point = charts.series(style, [(x, y)], shape)
    return f'{point}<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'


def _legend(lines: Sequence[Line], ringed: bool) -> str:
    entries, left = [], LEFT
    for part in dict.fromkeys(line.part for line in lines):
        style, shape = _LOOKS[part]
        bare = any(line.reach for line in lines if line.part == part)
        sample = [(left + 3.0, 14.0), (left + 33.0, 14.0)]
        entries.append(charts.series(f"{style} strong", sample, "" if bare else shape))
        entries.append(f'<text x="{left + 42}" y="18">{part}</text>')
        left += 132
    if ringed:
        entries.append(f'{_ring(left + 20, 14)}<text x="{left + 36}" y="18">best</text>')
    return "".join(entries)


def _y_ticks(lines: Sequence[Line], ringed: float, share: bool) -> list[float]:
    values = [line.smooth for line in lines]
    # Of the single values all but the wildest: one bad batch must not flatten everything else.
    values += [np.percentile(line.y, [2, 98]) for line in lines if line.reach]
    values.append(np.array([ringed] if math.isfinite(ringed) else []))
    low, high = float(np.concatenate(values).min()), float(np.concatenate(values).max())
    least = 0.04 if share else 0.02
    # A constant is drawn in the middle, not on the axis.
    spare = max(0.0, least - (high - low)) / 2
    low, high = max(0.0, low - spare), high + spare
    return charts.nice(low, min(1.0, high) if share else high, least)
