"""Draw the charts of a sweep as inline SVG: every trial by rank and by knob, and all its curves.

The functions take all rows of the leaderboard, in its order, with at least one result to draw, and
return SVG with all text escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sharpeye.core.formatting import percent
from sharpeye.report import svg
from sharpeye.report.svg import LEFT, RIGHT, WIDTH, Axis
from sharpeye.report.wording import compact, nats, shorten

# The states of a trial, in the order of a leaderboard.
TRIAL_STATES = ("complete", "pruned", "stopped", "running", "waiting", "failed")
_MAX_CURVES = 200
_MAX_TICKS = 9

KnobValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial of a sweep in the leaderboard; an unknown float is NaN."""

    name: str  # also the name of its folders
    params: dict[str, KnobValue]  # by dotted key; empty before a search has drawn them
    state: str  # one of `TRIAL_STATES`
    log_loss: float  # nats, on validation at the best epoch
    accuracy: float  # 0..1, likewise
    best_epoch: int  # the epoch with the lowest validation log loss, from 1; 0 if unknown
    epochs: int  # number of epochs so far
    seconds: float
    reason: str  # why it ended early; empty if it did not
    curve: dict[int, float]  # the ranking score, by epoch


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob that differs between trials: one of `choices` in order, or a value in low..high."""

    key: str  # dotted
    name: str  # for people
    choices: tuple[KnobValue, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False  # whether the axis is logarithmic


@dataclass(frozen=True, slots=True)
class RankScore:
    """The validation score that ranks trials: the accuracy if `share`, else the log loss."""

    share: bool

    @property
    def name(self) -> str:
        return "validation accuracy" if self.share else "validation log loss"

    def of(self, row: TrialRow) -> float:
        return row.accuracy if self.share else row.log_loss

    def text(self, value: float) -> str:
        return percent(value, 1) if self.share else nats(value)

    def scored(self, rows: Sequence[TrialRow]) -> list[TrialRow]:
        return [row for row in rows if math.isfinite(self.of(row))]


def _score_axis(score: RankScore, values: Sequence[float], top: int, *, bottom: int) -> Axis:
    """A vertical axis that spans all good scores; its scale clips bad ones to the edge."""
    sign = -1.0 if score.share else 1.0
    badness = sign * np.asarray(values, np.float64)
    best, median = float(badness.min()), float(np.median(badness))
    # A few trials that diverged must not flatten all others.
    worst = min(float(badness.max()), best + 4 * (median - best) or math.inf)
    ticks = svg.score_ticks(*sorted((sign * best, sign * worst)), share=score.share)
    scale = svg.linear(ticks[0], ticks[-1], bottom, end=top)
    text: svg.Format = svg.share_text if score.share else "{:.4g}".format
    return Axis(lambda v: scale(min(max(v, ticks[0]), ticks[-1])), ticks, text, score.name)


def rank_chart(rows: Sequence[TrialRow], score: RankScore) -> str:
    """A dot per trial, from the first rank to the last, with a ring around the best one."""
    top, bottom = 40, 300
    scored = score.scored(rows)
    y = _score_axis(score, [score.of(row) for row in scored], top, bottom=bottom)
    scale = svg.linear(1, max(2, len(scored)), LEFT + 14, end=WIDTH - RIGHT - 8)
    ticks = [tick for tick in svg.count_ticks(1, max(2, len(scored))) if 1 < tick <= len(scored)]
    x = Axis(scale, [1, *ticks], "{:.0f}".format, "rank")
    return svg.chart(
        f"{score.name} of each trial by rank",
        bottom,
        svg.legend(list(dict.fromkeys(_style_of(row) for row in scored)), "the best", lines=False),
        svg.y_axis(y),
        svg.x_axis(x, bottom),
        *(_dot(row, score, x(rank), y=y) for rank, row in enumerate(scored, start=1)),
        svg.ring(x(1), y(score.of(scored[0]))),
    )


def knob_chart(rows: Sequence[TrialRow], knob: Knob, score: RankScore) -> str:
    """A dot per trial by the value of one knob; for choices, a line joins the best trials."""
    top, bottom = 20, 240
    scored = [row for row in score.scored(rows) if knob.key in row.params]
    x = _choice_axis(knob) if knob.choices else _range_axis(knob)
    y = _score_axis(score, [score.of(row) for row in scored], top, bottom=bottom)
    parts = [svg.y_axis(y), svg.x_axis(x, bottom)]
    if knob.choices:
        worst_first = sorted(scored, key=score.of, reverse=not score.share)
        best = {row.params[knob.key]: score.of(row) for row in worst_first}
        points = [(x(i), y(best[v])) for i, v in enumerate(knob.choices) if v in best]
        parts.append(svg.series("s1 dashed", points))
    for i, row in reversed(list(enumerate(scored))):
        value = row.params[knob.key]
        # Side by side in a fixed order, so that equal values stay distinguishable.
        at = x(knob.choices.index(value)) + (i * 7 % 19 - 9) if knob.choices else x(float(value))
        parts.append(_dot(row, score, at, y=y))
        if i == 0:
            parts.append(svg.ring(at, y(score.of(row))))
    return svg.chart(f"{score.name} of each trial by {knob.name}", bottom, *parts)


def _choice_axis(knob: Knob) -> Axis:
    """A horizontal axis of the indices of the choices."""
    count = len(knob.choices)
    margin = (WIDTH - RIGHT - LEFT) / count / 2
    scale = svg.linear(0, max(1, count - 1), LEFT + margin, end=WIDTH - RIGHT - margin)
    characters = max(4, 48 // min(_MAX_TICKS, count))
    texts = [escape(shorten(compact(value), characters)) for value in knob.choices]
    ticks = range(0, count, math.ceil(count / _MAX_TICKS))
    return Axis(scale, ticks, lambda i: texts[int(i)], escape(knob.name))


def _range_axis(knob: Knob) -> Axis:
    """A horizontal axis of the values of a range."""
    low, high, left, right = knob.low, knob.high, LEFT + 12, WIDTH - RIGHT - 12
    if not knob.log:
        ticks = [tick for tick in svg.round_ticks(low, high, 0) if low <= tick <= high]
        scale = svg.linear(low, high, left, end=right)
        return Axis(scale, ticks, "{:.4g}".format, escape(knob.name))
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [10.0**p for p in powers] if len(powers) > 1 else [low, high]
    ticks = ticks[:: math.ceil(len(ticks) / _MAX_TICKS)]
    scale = svg.logarithmic(low, high, left, end=right)
    return Axis(scale, ticks, "{:.3g}".format, escape(knob.name))


def curves_chart(rows: Sequence[TrialRow], score: RankScore) -> str:
    """The score of every trial by epoch; lines of pruned trials end early."""
    top, bottom = 40, 300
    shown = [row for row in rows if row.curve][:_MAX_CURVES]
    values = [v for row in shown for v in row.curve.values() if math.isfinite(v)]
    y = _score_axis(score, values, top, bottom=bottom)
    ticks = svg.count_ticks(0, max(max(row.curve) for row in shown))
    scale = svg.linear(0, ticks[-1], LEFT + 12, end=WIDTH - RIGHT)
    x = Axis(scale, ticks, svg.count_text(ticks[-1]), "epoch")
    parts = [svg.y_axis(y), svg.x_axis(x, bottom)]
    styles = {}
    for i, row in reversed(list(enumerate(shown))):
        points = [(x(e), y(v)) for e, v in row.curve.items() if math.isfinite(v)]
        complete, name = row.state == "complete", _style_of(row)[2] if i else "the best"
        styles[name] = "s0 strong" if i == 0 else "s2 pale" if complete else "s1 pale"
        drawing = svg.series(styles[name], points)
        if i and not complete and points:
            cx, cy = points[-1]
            drawing += f'<g class="series s1 end"><circle cx="{cx:.1f}" cy="{cy:.1f}" r="2.5"/></g>'
        parts.append(svg.titled(f"{row.name}: {row.state}", drawing))
    best = shown[0]
    if best.best_epoch:
        parts.append(svg.ring(x(best.best_epoch), y(score.of(best))))
    names = [name for name in ("the best", "complete", "ended early") if name in styles]
    legend = svg.legend([(styles[name], "", name) for name in names])
    return svg.chart(f"{score.name} of each trial by epoch", bottom, legend, *parts)


def _style_of(row: TrialRow) -> tuple[str, str, str]:
    """Class, shape and name of a trial's dot; the style sheet gives the colours."""
    complete = row.state == "complete"
    return ("s0", "circle", "complete") if complete else ("s2", "diamond", "ended early")


def _dot(row: TrialRow, score: RankScore, x: float, *, y: Axis) -> str:
    (style, shape, _), value = _style_of(row), score.of(row)
    is_beyond = not y.ticks[0] <= value <= y.ticks[-1]
    title = f"{row.name}: {score.text(value)}, {row.state}"
    return svg.titled(title, svg.marker(style, shape, x, y=y(value)), "beyond" if is_beyond else "")
