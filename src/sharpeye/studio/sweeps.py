"""The sweeps in the studio's folder of runs, with their best numbers."""

import os
from dataclasses import dataclass
from pathlib import Path

from sharpeye.core.tables import read_table

# What `sharpeye sweep` writes; a run directory has none.
_LEADERBOARD = "leaderboard.csv"


@dataclass(frozen=True, slots=True)
class SweepState:
    """One sweep.

    Attributes:
        name: of its folder.
        made: when its table was written, seconds since 1970.
        trials: in all.
        finished: complete, pruned or failed.
        best: the name of the best trial; empty while none is complete.
        accuracy: its accuracy on the validation images, 0..1.
    """

    name: str
    made: float
    trials: int
    finished: int
    best: str = ""
    accuracy: float | None = None


def list_sweeps(runs: Path) -> list[SweepState]:
    """All sweeps, the newest first; what cannot be read is left out."""
    try:
        with os.scandir(runs) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    found = [state for name in names if (state := sweep_state(runs / name)) is not None]
    return sorted(found, key=lambda state: (-state.made, state.name))


def sweep_state(path: Path) -> SweepState | None:
    """What is known of a sweep's folder; None if it is none."""
    table = path / _LEADERBOARD
    try:
        rows, made = read_table(table), table.stat().st_mtime
        ranked = [row for row in rows if row["rank"]]
        best = min(ranked, key=lambda row: int(row["rank"]), default=None)
        return SweepState(
            path.name,
            made,
            len(rows),
            sum(row["state"] in ("complete", "pruned", "failed") for row in rows),
            best["name"] if best else "",
            float(best["validation_accuracy"]) if best else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
