"""Read the learning curves of gradient descent from `history.csv`, and draw them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.formatting import number
from sharpeye.report import svg
from sharpeye.report.svg import LEFT, RIGHT, WIDTH, Axis

StageStart = tuple[str, float]  # a stage, and its start on the chart

# Lines of up to so many points have marks; longer ones have a moving average instead.
_MAX_MARKED_POINTS = 24
# The plot is 354 units wide and rarely drawn with more pixels.
MAX_POINTS = 400
# Class and shape of mark of each split; the style sheet dashes the second.
_STYLES = {"training": ("s0", "circle"), "validation": ("s1 dashed", "diamond")}
_TOP, _HEIGHT, _GAP = 36, 165, 28
# The measure of each panel, and its column of the history.
_PANELS = {"log loss": "log_loss", "accuracy": "accuracy", "mean IoU": "mean_iou"}


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one split during a stage of training."""

    split: str  # "training" or "validation"
    x: Floats  # float64[N], steps or epochs since the start, ascending
    y: Floats  # float64[N], finite: nats, or a share 0..1

    @property
    def half_window(self) -> int:
        """Neighbours on each side in the moving average; 0 without smoothing.

        A window of a twentieth of the line calms batches of 100 and still shows a turn.
        """
        return max(1, len(self.y) // 40) if len(self.y) > _MAX_MARKED_POINTS else 0

    @property
    def smoothed(self) -> Floats:
        """float64[N]: the moving average, narrower near the start, one-sided at the end.

        The start is steep, and a one-sided mean would put it too low; the end is flat.
        """
        i = np.arange(len(self.y))
        reach = np.minimum(self.half_window, i)
        low, high = i - reach, np.minimum(i + reach + 1, len(i))
        sums = np.concatenate([[0.0], np.cumsum(self.y)])
        return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)


@dataclass(frozen=True, slots=True)
class BestPoint:
    """The row with the lowest validation log loss; of equal rows the earliest.

    The scores are on validation images; NaN if missing.
    """

    x: float  # its coordinate on the chart's axis
    position: str  # the same in words, such as "step 2,310"
    log_loss: float  # nats; NaN if no row has it: then the best accuracy counts
    accuracy: float  # 0..1
    smoothed: float  # the moving average of the deciding measure at this point
    mean_iou: float = math.nan  # of the boxes, 0..1


@dataclass(frozen=True, slots=True)
class Curves:
    """All lines of one training."""

    axis: str  # "step" or "epoch"
    panels: Mapping[str, Sequence[Line]]  # by measure: "log loss"; a line a split and stage
    best: BestPoint | None  # None without validation
    stage_starts: Sequence[StageStart]  # starts of the second and later stages

    @property
    def lines(self) -> list[Line]:
        return [line for lines in self.panels.values() for line in lines]


def axis_of(row: Mapping[str, Any]) -> str:
    """The unit of a row: "step", "epoch", or "" if it is not from gradient descent."""
    return next((axis for axis in ("step", "epoch") if math.isfinite(number(row.get(axis)))), "")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Curves | None:
    """The lines in the rows of `history.csv`; None if there is nothing to draw.

    A row has "step" or "epoch" and any of "log_loss", "accuracy", "mean_iou" and the same with
    "validation_" before it; missing and non-finite values are left out. Rows are in the order of
    training.
    """
    axes = [axis_of(row) for row in history]
    axis = max(("step", "epoch"), key=axes.count)
    rows = [row for row, row_axis in zip(history, axes, strict=True) if row_axis == axis]
    x, stages, starts = _positions(rows, axis)
    panels: dict[str, list[Line]] = {}
    for name, column in _PANELS.items():
        for split, prefix in (("training", ""), ("validation", "validation_")):
            y = _values(rows, prefix + column)
            for stage in range(len(starts) + 1):
                known = np.isfinite(y) & (stages == stage)
                if known.any():
                    panels.setdefault(name, []).append(Line(split, x[known], y[known]))
    curves = Curves(axis, panels, None, starts)
    return replace(curves, best=_best_point(rows, x, curves)) if panels else None


def _best_point(rows: Sequence[Mapping[str, Any]], x: Floats, curves: Curves) -> BestPoint | None:
    log_loss, accuracy, mean_iou = (_values(rows, f"validation_{c}") for c in _PANELS.values())
    name, cost = ("accuracy", -accuracy) if np.isnan(log_loss).all() else ("log loss", log_loss)
    if np.isnan(cost).all():
        return None
    i = int(np.nanargmin(cost))
    line = next(ln for ln in curves.panels[name] if ln.split == "validation" and ln.x[-1] >= x[i])
    smoothed = float(np.interp(x[i], line.x, line.smoothed))
    position = f"{curves.axis} {number(rows[i][curves.axis]):,.10g}"
    position += f" of {rows[i].get('stage')}" if curves.stage_starts else ""
    scores = float(log_loss[i]), float(accuracy[i])
    return BestPoint(float(x[i]), position, *scores, smoothed, float(mean_iou[i]))


def _values(rows: Sequence[Mapping[str, Any]], column: str) -> Floats:
    y = np.array([number(row.get(column)) for row in rows], np.float64)
    return np.where(np.isfinite(y), y, np.nan)


def _positions(
    rows: Sequence[Mapping[str, Any]], axis: str
) -> tuple[Floats, Ints, list[StageStart]]:
    """The coordinate float64[N] and stage int64[N], from 0, of each row; and the stages' starts.

    A stage that counts from the start again is moved after the previous one.
    """
    shift, last, stage = 0.0, 0.0, None
    positions, stages = [], []
    starts: list[StageStart] = []
    for row in rows:
        count, name = number(row[axis]), str(row.get("stage") or "")
        if stage is not None and name != stage:
            shift = last if count + shift <= last else shift
            starts.append((name, last))
        positions.append(count + shift)
        stages.append(len(starts))
        last, stage = max(last, count + shift), name
    return np.array(positions, np.float64), np.array(stages, np.int64), starts


def thin(values: Floats) -> Floats:
    """float64[N] as at most `MAX_POINTS` means of neighbours, bins alike to within one value."""
    edges = np.linspace(0, len(values), min(len(values), MAX_POINTS) + 1).astype(np.int64)
    return np.asarray(np.add.reduceat(values, edges[:-1]) / np.diff(edges), np.float64)


def curve_chart(curves: Curves) -> str:
    """A plot per measure, one below the other, with a ring around the best validation point."""
    # From 0, where training begins.
    ticks = svg.count_ticks(0, max(float(line.x[-1]) for line in curves.lines))
    # A ring at the first step must not cover the numbers beside the plot.
    scale = svg.linear(ticks[0], ticks[-1], LEFT + 12, end=WIDTH - RIGHT)
    x = Axis(scale, ticks, svg.count_text(ticks[-1]), curves.axis)
    tops = [_TOP + i * (_HEIGHT + _GAP) for i in range(len(curves.panels))]
    named_tops = zip(curves.panels, tops, strict=True)
    panels = (_panel(curves, name, x, top=top) for name, top in named_tops)
    bottom = tops[-1] + _HEIGHT
    *others, last = curves.panels
    measures = f"{', '.join(others)} and {last}" if others else last
    label = f"{measures[0].upper()}{measures[1:]} of training and validation by {curves.axis}"
    return svg.chart(label, bottom, _legend(curves), *panels, svg.x_axis(x, bottom))


def _panel(curves: Curves, name: str, x: Axis, *, top: int) -> str:
    bottom, lines, best = top + _HEIGHT, curves.panels[name], curves.best
    best_value = math.nan if best is None else float(getattr(best, _PANELS[name]))
    ticks = _y_ticks(lines, best_value, share=name != "log loss")
    text: svg.Format = svg.share_text if name == "accuracy" else "{:.4g}".format
    y = Axis(svg.linear(ticks[0], ticks[-1], bottom, end=top), ticks, text, name)
    parts = [svg.y_axis(y)]
    for stage, start in curves.stage_starts:
        parts.append(svg.upright(x(start), top, bottom, title=f"{stage} begins"))
    # Clipped, because values of single batches may lie far outside.
    pale = "".join(_stroke(line, line.y, "pale", x=x, y=y) for line in lines if line.half_window)
    parts.append(svg.clipped(pale, top, bottom))
    parts += [_stroke(line, line.smoothed, "strong", x=x, y=y) for line in lines]
    if best is not None and not math.isnan(best_value):
        at = x(best.x), y(best_value)
        parts += [svg.marker(*_STYLES["validation"], x=at[0], y=at[1]), svg.ring(*at)]
    return "".join(parts)


def _stroke(line: Line, values: Floats, weight: str, *, x: Axis, y: Axis) -> str:
    style, shape = _STYLES[line.split]
    points = [(x(at), y(value)) for at, value in zip(thin(line.x), thin(values), strict=True)]
    return svg.series(f"{style} {weight}", points, "" if line.half_window else shape)


def _legend(curves: Curves) -> str:
    smoothed = {line.split for line in curves.lines if line.half_window}
    entries = [
        (f"{style} strong", "" if split in smoothed else shape, split)
        for split, (style, shape) in _STYLES.items()
        if any(line.split == split for line in curves.lines)
    ]
    return svg.legend(entries, "best" if curves.best else "")


def _y_ticks(lines: Sequence[Line], best: float, *, share: bool) -> list[float]:
    values = [line.smoothed for line in lines]
    # The range ignores the most extreme single values: one bad batch must not flatten all others.
    values += [np.percentile(line.y, [2, 98]) for line in lines if line.half_window]
    values.append(np.array([best] if math.isfinite(best) else []))
    known = np.concatenate(values)
    return svg.score_ticks(float(known.min()), float(known.max()), share=share)
