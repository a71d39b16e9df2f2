"""The charts of a sweep as inline SVG: every trial by rank and by knob, and all learning curves.

Every function is pure: trials in, a string of SVG out, all text in it escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sharpeye.report import charts, wording
from sharpeye.report.charts import LEFT, RIGHT, WIDTH, Scale

# What a trial can be, in the order of a leaderboard.
ENDED = ("complete", "pruned", "stopped", "running", "waiting", "failed")
# Class and shape of the dots; the style sheet colours them.
_LOOKS = {"complete": ("s0", "circle"), "pruned": ("s2", "diamond")}
_MAX_CURVES = 200
_MAX_TICKS = 9


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial of a sweep, as the leaderboard shows it.

    Attributes:
        name: also of its folders.
        params: value by dotted key; empty before a search has drawn them.
        state: one of `ENDED`.
        log_loss, accuracy: on validation at the best epoch, nats and 0..1; NaN if unknown.
        best_epoch: the one with the lowest validation log loss, from 1; 0 if unknown.
        epochs: how many it has run.
        seconds: that it took; NaN if unknown.
        reason: why it did not go on; empty if it did.
        curve: the value that trials are ranked by, by epoch.
    """

    name: str
    params: dict[str, bool | int | float | str]
    state: str
    log_loss: float
    accuracy: float
    best_epoch: int
    epochs: int
    seconds: float
    reason: str
    curve: dict[int, float]


@dataclass(frozen=True, slots=True)
class Knob:
    """What differs between trials.

    Attributes:
        key: dotted.
        name: for people.
        choices: its values, in order; empty for a range.
        low, high: of a range.
        log: whether a range is drawn over magnitudes.
    """

    key: str
    name: str
    choices: tuple[bool | int | float | str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """What trials are ranked by: `log_loss`, or `accuracy` if `share`."""

    share: bool

    @property
    def name(self) -> str:
        return "validation accuracy" if self.share else "validation log loss"

    @property
    def tick(self) -> charts.Words:
        return charts.share_text if self.share else "{:.4g}".format

    def of(self, row: TrialRow) -> float:
        return row.accuracy if self.share else row.log_loss

    def text(self, value: float) -> str:
        return wording.percent(value, 1) if self.share else wording.nats(value)

    def known(self, rows: Sequence[TrialRow]) -> list[TrialRow]:
        """Those with a value."""
        return [row for row in rows if math.isfinite(self.of(row))]


class Frame:
    """The vertical scale of a plot: all good values, and bad ones at its edge."""

    def __init__(self, measure: Measure, values: Sequence[float], top: int, bottom: int) -> None:
        self.measure, self.top, self.bottom = measure, top, bottom
        sign = -1.0 if measure.share else 1.0
        badness = sign * np.asarray(values, np.float64)
        best, middle = float(badness.min()), float(np.median(badness))
        # A few that went astray must not flatten all others.
        worst = min(float(badness.max()), best + 4 * (middle - best) or math.inf)
        low, high = sorted((sign * best, sign * worst))
        least = 0.04 if measure.share else 0.02
        spare = max(0.0, least - (high - low)) / 2
        low, high = max(0.0, low - spare), high + spare
        self.ticks = charts.nice(low, min(1.0, high) if measure.share else high, least)
        self._scale = charts.linear(self.ticks[0], self.ticks[-1], bottom, top)

    def y(self, value: float) -> float:
        return self._scale(min(max(value, self.ticks[0]), self.ticks[-1]))

    def beyond(self, value: float) -> bool:
        return not self.ticks[0] <= value <= self.ticks[-1]

    @property
    def rulings(self) -> str:
        name = charts.name_y(self.measure.name, self.top, self.bottom)
        return charts.rulings(self._scale, self.ticks, self.measure.tick) + name


def rank_chart(rows: Sequence[TrialRow], measure: Measure) -> str:
    """A dot a trial, the best one ringed, from the first rank to the last.

    Args:
        rows: as the leaderboard has them, at least one of them with a value.
    """
    known = measure.known(rows)
    frame = Frame(measure, [measure.of(row) for row in known], 40, 300)
    x = charts.linear(1, max(2, len(known)), LEFT + 14, WIDTH - RIGHT - 8)
    places = [tick for tick in charts.nice(1, max(2, len(known)), 4, (1, 2, 5)) if tick >= 1]
    places = [tick for tick in places if tick <= len(known) and tick == int(tick)]
    dots = "".join(_dot(row, x(i), frame) for i, row in enumerate(known, start=1))
    parts = [_legend(known), frame.rulings, dots, _ring(x(1), frame.y(measure.of(known[0])))]
    parts.append(charts.numbers_x(x, [1, *(t for t in places if t > 1)], "{:.0f}".format, 300))
    parts.append(charts.name_x("rank", 300))
    return charts.svg(f"{measure.name} of each trial by rank", 350, parts)


def knob_chart(rows: Sequence[TrialRow], knob: Knob, measure: Measure) -> str:
    """A dot a trial by the value of one knob; of choices a line joins the best ones.

    Args:
        rows: as the leaderboard has them, at least one of them with a value and the knob.
    """
    known = [row for row in measure.known(rows) if knob.key in row.params]
    frame = Frame(measure, [measure.of(row) for row in known], 20, 240)
    x, numbers = _axis(knob)
    parts = [frame.rulings]
    if knob.choices:
        worst_first = sorted(known, key=measure.of, reverse=not measure.share)
        bests = {row.params[knob.key]: measure.of(row) for row in worst_first}
        joined = [(x(i), frame.y(bests[v])) for i, v in enumerate(knob.choices) if v in bests]
        parts.append(charts.series("s1 dashed", joined))
    for i, row in reversed(list(enumerate(known))):
        value = row.params[knob.key]
        # Side by side in a fixed order, so that equal values can be told apart.
        at = x(knob.choices.index(value)) + (i * 7 % 19 - 9) if knob.choices else x(float(value))
        parts.append(_dot(row, at, frame))
        if i == 0:
            parts.append(_ring(at, frame.y(measure.of(row))))
    parts += [numbers, charts.name_x(escape(knob.name), 240)]
    return charts.svg(f"{measure.name} of each trial by {knob.name}", 290, parts)


def _axis(knob: Knob) -> tuple[Scale, str]:
    """From a choice's number, or from a value of a range, to its place; and the axis' numbers."""
    if knob.choices:
        last = len(knob.choices) - 1
        inner = (WIDTH - RIGHT - LEFT) / (last + 1) / 2
        x = charts.linear(0, max(1, last), LEFT + inner, WIDTH - RIGHT - inner)
        every = math.ceil(len(knob.choices) / _MAX_TICKS)
        room = max(4, 48 // min(_MAX_TICKS, last + 1))
        texts = [_short(wording.compact(value), room) for value in knob.choices]
        shown = [float(i) for i in range(0, last + 1, every)]
        return x, charts.numbers_x(x, shown, lambda i: escape(texts[int(i)]), 240)
    left, right = LEFT + 12, WIDTH - RIGHT - 12
    if not knob.log:
        ticks = [t for t in charts.nice(knob.low, knob.high, 0) if knob.low <= t <= knob.high]
        x = charts.linear(knob.low, knob.high, left, right)
        return x, charts.numbers_x(x, ticks, "{:.4g}".format, 240)
    scale = charts.linear(math.log10(knob.low), math.log10(knob.high), left, right)
    powers = range(math.ceil(math.log10(knob.low)), math.floor(math.log10(knob.high)) + 1)
    ticks = [10.0**p for p in powers] if len(powers) > 1 else [knob.low, knob.high]
    every = math.ceil(len(ticks) / _MAX_TICKS)

    def place(value: float) -> float:
        return scale(math.log10(value))

    return place, charts.numbers_x(place, ticks[::every], "{:.3g}".format, 240)


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def curves_chart(rows: Sequence[TrialRow], measure: Measure) -> str:
    """The value of every trial by epoch; those that were ended early stop early.

    Args:
        rows: as the leaderboard has them, at least one of them with a curve.
    """
    shown = [row for row in rows if row.curve][:_MAX_CURVES]
    values = [v for row in shown for v in row.curve.values() if math.isfinite(v)]
    frame = Frame(measure, values, 40, 300)
    last = max(max(row.curve) for row in shown)
    ticks = charts.nice(0, last, 4, (1, 2, 5))
    x = charts.linear(0, ticks[-1], LEFT + 12, WIDTH - RIGHT)
    lines = []
    for i, row in reversed(list(enumerate(shown))):
        points = [(x(e), frame.y(v)) for e, v in row.curve.items() if math.isfinite(v)]
        style = "s0 strong" if i == 0 else "s2 pale" if row.state == "complete" else "s1 pale"
        end = points[-1:] if i and row.state != "complete" else []
        ends = "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>' for px, py in end)
        lines.append(
            f"<g><title>{escape(row.name)}: {row.state}</title>"
            f'{charts.series(style, points)}<g class="series s1 end">{ends}</g></g>'
        )
    best = shown[0]
    if best.best_epoch:
        lines.append(_ring(x(best.best_epoch), frame.y(measure.of(best))))
    legend = _line_legend(shown)
    numbers = charts.numbers_x(x, ticks, charts.count_text(ticks[-1]), 300)
    parts = [legend, frame.rulings, *lines, numbers, charts.name_x("epoch", 300)]
    return charts.svg(f"{measure.name} of each trial by epoch", 350, parts)


def _line_legend(shown: Sequence[TrialRow]) -> str:
    states = {row.state for row in shown[1:]}
    entries = [("s0 strong", "the best")]
    entries += [("s2 pale", "complete")] if "complete" in states else []
    entries += [("s1 pale", "ended early")] if states - {"complete"} else []
    parts, left = [], float(LEFT)
    for style, text in entries:
        parts.append(charts.series(style, [(left, 14), (left + 26, 14)]))
        parts.append(f'<text x="{left + 33}" y="18">{text}</text>')
        left += 120
    return "".join(parts)


def _legend(rows: Sequence[TrialRow]) -> str:
    states = dict.fromkeys(_look(row) for row in rows)
    parts, left = [], float(LEFT)
    for style, shape in states:
        parts.append(f"{charts.series(style, [(left + 5, 14)], shape)}")
        text = "complete" if shape == "circle" else "ended early"
        parts.append(f'<text x="{left + 16}" y="18">{text}</text>')
        left += 128
    return "".join([*parts, _ring(left + 8, 14), f'<text x="{left + 24}" y="18">the best</text>'])


def _look(row: TrialRow) -> tuple[str, str]:
    return _LOOKS["complete" if row.state == "complete" else "pruned"]


def _dot(row: TrialRow, x: float, frame: Frame) -> str:
    style, shape = _look(row)
    value = frame.measure.of(row)
    words = f"{row.name}: {frame.measure.text(value)}, {row.state}"
    return (
        f'<g class="{"beyond" if frame.beyond(value) else ""}"><title>{escape(words)}</title>'
        f"{charts.series(style, [(x, frame.y(value))], shape)}</g>"
    )


def _ring(x: float, y: float) -> str:
    return f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
