"""The sweeps in the studio's folder of runs, with their best trials."""

from dataclasses import dataclass
from pathlib import Path

from sharpeye.core.tables import read_table
from sharpeye.studio.run_list import folders_in

_LEADERBOARD = "leaderboard.csv"  # `sharpeye sweep` writes it; a run directory has none.


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """One sweep.

    Attributes:
        name: of its folder.
        made: when its table was written, seconds since 1970.
        trials: how many there are in all.
        finished: how many are complete, pruned or failed.
        best: the name of the best trial; empty while none is complete.
        accuracy: of the best trial on the validation images, 0..1.
    """

    name: str
    made: float
    trials: int
    finished: int
    best: str = ""
    accuracy: float | None = None


def list_sweeps(runs: Path) -> list[SweepSummary]:
    """All sweeps, the newest first; what cannot be read is left out."""
    summaries = [summary for path in folders_in(runs) if (summary := _summarize(path)) is not None]
    return sorted(summaries, key=lambda summary: (-summary.made, summary.name))


def _summarize(path: Path) -> SweepSummary | None:
    """A sweep's summary; None if the folder is no sweep."""
    table = path / _LEADERBOARD
    try:
        rows, made = read_table(table), table.stat().st_mtime
        ranked = [row for row in rows if row["rank"]]
        best = min(ranked, key=lambda row: int(row["rank"]), default=None)
        return SweepSummary(
            path.name,
            made,
            len(rows),
            sum(row["state"] in ("complete", "pruned", "failed") for row in rows),
            best["name"] if best else "",
            float(best["validation_accuracy"]) if best else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
