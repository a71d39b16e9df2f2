"""Render the `report.html` of a sweep: one self-contained file in the style of a run's report."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sharpeye.core.formatting import MISSING, percent
from sharpeye.report import sweep_charts as charts
from sharpeye.report.sweep_charts import TRIAL_STATES, Knob, RankScore, TrialRow
from sharpeye.report.templating import render
from sharpeye.report.wording import nats, plural

_MAX_ROWS = 500  # `leaderboard.csv` has all of them


@dataclass(frozen=True)
class SweepData:
    """Everything that the page shows."""

    title: str  # such as the name of the data folder
    summary: Sequence[tuple[str, str]]  # (name, value) pairs for the head
    rows: Sequence[TrialRow]  # all trials, the best first
    knobs: Sequence[Knob]
    share: bool = False  # whether trials are ranked by accuracy instead of log loss
    notes: Sequence[str] = ()  # sentences to show first
    commands: Sequence[tuple[str, str]] = ()  # (purpose, command) pairs: what to do next
    tested: bool = False  # whether the best trial was trained again and tested


def render_sweep(data: SweepData) -> str:
    """The page as self-contained HTML; MissingExtra without Jinja2."""
    count, names = Counter(row.state for row in data.rows), {"pruned": "ended early"}
    score = RankScore(data.share)
    scored = score.scored(data.rows)
    has_curve = any(math.isfinite(v) for row in data.rows for v in row.curve.values())
    knobs = [knob for knob in data.knobs if any(knob.key in row.params for row in scored)]
    return render(
        "sweep.html.j2",
        data=data,
        best=scored[0] if scored else None,
        headline=headline(scored, len(data.rows)),
        states=[(names.get(s, s).capitalize(), f"{count[s]:,}") for s in TRIAL_STATES if count[s]],
        rank_chart=charts.rank_chart(data.rows, score) if scored else "",
        knob_charts=[charts.knob_chart(data.rows, knob, score) for knob in knobs],
        curves_chart=charts.curves_chart(data.rows, score) if has_curve else "",
        score_name=score.name,
        rows=data.rows[:_MAX_ROWS],
        missing=MISSING,
        nats=lambda value: nats(value) if math.isfinite(value) else MISSING,
        ranks={row.name: rank for rank, row in enumerate(scored, start=1)},
    )


def headline(scored: Sequence[TrialRow], count: int) -> str:
    """The best of `count` trials; `scored` are trials with a result, the best first."""
    if not scored:
        return "No trial has a result yet."
    best = scored[0]
    return (
        f"{best.name.replace(',', ', ')} is the best of {plural(count, 'trial')}: "
        f"validation log loss {nats(best.log_loss)} at epoch {best.best_epoch}, "
        f"accuracy {percent(best.accuracy, 1)}."
    )
