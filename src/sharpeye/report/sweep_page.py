"""The page of a sweep: `report.html`, one self-contained file in the style of a run's report."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sharpeye.report import sweep_charts as charts
from sharpeye.report import wording
from sharpeye.report.sweep_charts import ENDED as ENDED
from sharpeye.report.sweep_charts import Knob as Knob
from sharpeye.report.sweep_charts import Measure
from sharpeye.report.sweep_charts import TrialRow as TrialRow
from sharpeye.report.templating import environment

# What the page lists; `leaderboard.csv` has all.
_MAX_ROWS = 500


@dataclass(frozen=True)
class SweepData:
    """Everything that the page shows.

    Attributes:
        title: of the page, such as the name of the data folder.
        facts: (name, value) pairs for the head.
        rows: all trials, the best first.
        knobs: what differs between them.
        share: ranked by accuracy instead of log loss.
        notes: sentences that the reader should see first.
        commands: (what it does, command) pairs: what to do next.
        tested: whether the best one was trained once more and tested.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[TrialRow]
    knobs: Sequence[Knob]
    share: bool = False
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    tested: bool = False


def render_sweep(data: SweepData) -> str:
    """The page as HTML that loads nothing from anywhere.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    measure = Measure(data.share)
    known = measure.known(data.rows)
    best = known[0] if known else None
    with_curve = any(math.isfinite(v) for row in data.rows for v in row.curve.values())
    drawn = [k for k in data.knobs if any(k.key in row.params for row in known)]
    return (
        environment()
        .get_template("sweep.html.j2")
        .render(
            data=data,
            best=best,
            verdict=verdict(data.rows, measure),
            states=_states(data.rows),
            rank_chart=charts.rank_chart(data.rows, measure) if known else "",
            knob_charts=[charts.knob_chart(data.rows, knob, measure) for knob in drawn],
            curves_chart=charts.curves_chart(data.rows, measure) if with_curve else "",
            measure=measure.name,
            rows=data.rows[:_MAX_ROWS],
            missing=wording.MISSING,
            nats=lambda value: wording.nats(value) if math.isfinite(value) else wording.MISSING,
            ranked={row.name: i for i, row in enumerate(known, start=1)},
        )
    )


def verdict(rows: Sequence[TrialRow], measure: Measure) -> str:
    """The sentence that a reader takes away."""
    known = measure.known(rows)
    if not known:
        return "No trial has a result yet."
    best = known[0]
    return (
        f"{best.name.replace(',', ', ')} is the best of {wording.plural(len(rows), 'trial')}: "
        f"validation log loss {wording.nats(best.log_loss)} at epoch {best.best_epoch}, "
        f"accuracy {wording.percent(best.accuracy, 1)}."
    )


def _states(rows: Sequence[TrialRow]) -> list[tuple[str, str]]:
    count = Counter(row.state for row in rows)
    names = {"pruned": "ended early"}
    return [
        (names.get(state, state).capitalize(), f"{count[state]:,}")
        for state in ENDED
        if count[state]
    ]
