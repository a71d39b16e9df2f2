"""The runs and sweeps in the studio's folder of runs: by name, and as lists with results."""

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sharpeye.core.formatting import percent
from sharpeye.core.storage import FileLock
from sharpeye.core.tables import read_table
from sharpeye.core.toml_files import read_toml
from sharpeye.data.system_names import is_system_name
from sharpeye.errors import DataError, SharpEyeError, UsageError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

_MAX_NAME_CHARACTERS = 255
# What reading a damaged folder may raise.
_DAMAGE = (SharpEyeError, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
_LEADERBOARD = "leaderboard.csv"  # `sharpeye sweep` writes it; a run directory has none.


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run directory; the fields are the keys of the pages' JSON.

    Attributes:
        state: `done`; `stopped`, which may be resumable; `running`, in any process; or
            `unreadable`, if a file of it is damaged: then only `name` and `made` are known.
        made: time of its last file, seconds since 1970.
        folder: the folder of its images at training time.
        accuracy, low, high: on the test images, 0..1, with its 95 % interval; None unless done.
        count: number of test images.
        mean_iou: of a localizer's boxes.
    """

    name: str
    state: str
    made: float
    task: str = ""
    model: str = ""
    folder: str = ""
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    mean_iou: float | None = None


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """One sweep.

    Attributes:
        made: time of its table, seconds since 1970.
        finished: how many trials are complete, pruned or failed.
        best: the name of the best trial; empty until one is complete.
        accuracy: of the best trial on the validation images, 0..1.
    """

    name: str
    made: float
    trials: int
    finished: int
    best: str = ""
    accuracy: float | None = None


_Summary = TypeVar("_Summary", RunEntry, SweepEntry)


def run_path(runs: Path, name: str) -> Path:
    """The folder of a run.

    Raises:
        UsageError: the name is not a plain folder name.
        DataError: there is no such run.
    """
    plain = name and name not in (".", "..") and not set(name) & set("/\\\0:")
    if (
        not plain
        or len(name) > _MAX_NAME_CHARACTERS
        or is_system_name(name)
        or not name.isprintable()
    ):
        raise UsageError("a run is called by the name of its folder, without slashes")
    path = runs / name
    if not (path / layout.CONFIG).is_file() or path.is_symlink():
        raise DataError(f"there is no run {name} in {runs.name} (any more); reload the page")
    return path


def list_runs(runs: Path) -> list[RunEntry]:
    """All runs, the newest first."""
    return _summarize_folders(runs, _summarize_run_or_damage)


def list_sweeps(runs: Path) -> list[SweepEntry]:
    """All readable sweeps, the newest first."""
    return _summarize_folders(runs, _summarize_sweep)


def finished_run_choices(runs: Path) -> list[tuple[str, str]]:
    """(name, name with its accuracy) of the finished runs, the newest first."""
    choices = []
    for run in list_runs(runs):
        if run.state == "done":
            boxes = "" if run.mean_iou is None else f", boxes {run.mean_iou:.2f}"
            accuracy = f"{percent(run.accuracy)} of {run.count}"
            choices.append((run.name, f"{run.name}: {accuracy}{boxes}"))
    return choices


def is_resumable(path: Path) -> bool:
    """Whether a stopped run has checkpoints to continue from."""
    return (path / layout.CHECKPOINTS).is_dir() and not (path / layout.BUNDLE).exists()


def free_name(runs: Path, name: str) -> str:
    """`name`, or the first of `name-2`, `name-3`, ... that no run has."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if not (runs / free).exists())


def _summarize_folders(runs: Path, summarize: Callable[[Path], _Summary]) -> list[_Summary]:
    """The summaries of readable folders, the newest first."""
    folders: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(runs) as entries:
        folders = [runs / e.name for e in entries if e.is_dir(follow_symlinks=False)]
    summaries = []
    for folder in folders:
        with contextlib.suppress(*_DAMAGE):
            summaries.append(summarize(folder))
    return sorted(summaries, key=lambda summary: (-summary.made, summary.name))


def _summarize_sweep(path: Path) -> SweepEntry:
    table = path / _LEADERBOARD
    rows, made = read_table(table), table.stat().st_mtime
    ranked = [row for row in rows if row["rank"]]
    best = min(ranked, key=lambda row: int(row["rank"]), default=None)
    return SweepEntry(
        path.name,
        made,
        len(rows),
        sum(row["state"] in ("complete", "pruned", "failed") for row in rows),
        best["name"] if best else "",
        float(best["validation_accuracy"]) if best else None,
    )


def _summarize_run_or_damage(path: Path) -> RunEntry:
    """The summary of a run, also of one that others made or damaged; OSError if it is no run."""
    made = (path / layout.CONFIG).lstat().st_mtime
    try:
        return _summarize_run(path)
    except _DAMAGE:
        return RunEntry(path.name, "unreadable", made)


def _summarize_run(path: Path) -> RunEntry:
    bundle = path / layout.BUNDLE
    if bundle.is_file():
        return _summarize_finished(path, bundle.stat().st_mtime_ns)
    made = max(entry.stat().st_mtime for entry in path.iterdir())
    state = "running" if FileLock(path / layout.LOCK).is_held() else "stopped"
    return RunEntry(state=state, made=made, **_settings(path))


@lru_cache(maxsize=1024)
def _summarize_finished(path: Path, modified_ns: int) -> RunEntry:
    """`modified_ns` distinguishes a run from a later one in the same folder."""
    test = Run(path).metrics["test"]
    low, high = test["accuracy_ci95"]
    return RunEntry(
        state="done",
        made=modified_ns / 1e9,
        accuracy=_share(test["accuracy"]),
        low=_share(low),
        high=_share(high),
        count=int(test["count"]),
        mean_iou=None if test.get("mean_iou") is None else _share(test["mean_iou"]),
        **_settings(path),
    )


def _share(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("a score is no number from 0 to 1")
    return float(value)


def _settings(path: Path) -> dict[str, Any]:
    """The settings for the list, from a configuration of any version."""
    config = read_toml(path / layout.CONFIG)
    return {
        "name": path.name,
        "task": str(config["task"]),
        "model": str(config["model"]["name"]),
        "folder": str(config["data"]["folder"]),
    }
