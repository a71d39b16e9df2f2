"""The runs in the studio's folder of runs: by name, and as a list with their results."""

import os
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sharpeye.core.formatting import percent
from sharpeye.core.storage import FileLock
from sharpeye.data.file_walk import is_hidden
from sharpeye.errors import DataError, UsageError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run directory.

    Attributes:
        name: of its folder.
        state: `done`; `stopped`, which may be resumable; or `running`, in any process.
        made: when its last file was written, seconds since 1970.
        task: `classify` or `localize`.
        model: as `sharpeye models` lists it.
        folder: where its images were.
        accuracy, low, high: on the test images, 0..1, with its 95 % interval; None unless done.
        count: number of test images.
        mean_iou: of a localizer's boxes.
    """

    name: str
    state: str
    made: float
    task: str
    model: str
    folder: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    mean_iou: float | None = None


def run_path(runs: Path, name: str) -> Path:
    """The folder of a run.

    Raises:
        UsageError: the name is no plain name of a folder.
        DataError: there is no such run.
    """
    plain = name and name not in (".", "..") and not set(name) & set("/\\\0:")
    if not plain or len(name) > _MAX_NAME_BYTES or is_hidden(name) or not name.isprintable():
        raise UsageError("a run is called by the name of its folder, without slashes")
    path = runs / name
    if not (path / layout.CONFIG).is_file() or path.is_symlink():
        raise DataError(f"there is no run {name} in {runs.name} (any more); reload the page")
    return path


def finished_run(runs: Path, name: str) -> Run:
    """A finished run by its name.

    Raises:
        UsageError, DataError: see `run_path`; or it is not finished.
    """
    return Run(run_path(runs, name))


def list_runs(runs: Path) -> list[RunSummary]:
    """All runs, the newest first; what cannot be read is left out."""
    summaries = [summary for path in folders_in(runs) if (summary := _summarize(path)) is not None]
    return sorted(summaries, key=lambda summary: (-summary.made, summary.name))


def finished_run_choices(runs: Path) -> list[tuple[str, str]]:
    """(name, name with its accuracy) of the finished runs, the newest first."""
    choices = []
    for run in list_runs(runs):
        if run.state == "done":
            boxes = "" if run.mean_iou is None else f", boxes {run.mean_iou:.2f}"
            accuracy = f"{percent(run.accuracy)} of {run.count}"
            choices.append((run.name, f"{run.name}: {accuracy}{boxes}"))
    return choices


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder; none if it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return [folder / e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _summarize(path: Path) -> RunSummary | None:
    """A run's summary; None if the folder is no run."""
    try:
        bundle = path / layout.BUNDLE
        if bundle.is_file():
            return _summarize_finished(path, bundle.stat().st_mtime_ns)
        made = max(entry.stat().st_mtime for entry in path.iterdir())
        state = "running" if _is_locked(path) else "stopped"
        return RunSummary(state=state, made=made, **_settings(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1024)
def _summarize_finished(path: Path, modified_ns: int) -> RunSummary:
    """`modified_ns` tells a run from a later one in the same folder."""
    test = Run(path).metrics["test"]
    low, high = test["accuracy_ci95"]
    return RunSummary(
        state="done",
        made=modified_ns / 1e9,
        accuracy=test["accuracy"],
        low=low,
        high=high,
        count=test["count"],
        mean_iou=test.get("mean_iou"),
        **_settings(path),
    )


def _settings(path: Path) -> dict[str, Any]:
    """What the list shows of a configuration, which need not be one of this version."""
    config = tomllib.loads((path / layout.CONFIG).read_text(encoding="utf-8"))
    return {
        "name": path.name,
        "task": str(config["task"]),
        "model": str(config["model"]["name"]),
        "folder": str(config["data"]["folder"]),
    }


def _is_locked(path: Path) -> bool:
    """Whether a process writes there: it holds the lock, which ends with the process."""
    file = path / layout.LOCK
    if not file.is_file():
        return False
    lock = FileLock(file)
    free = lock.try_acquire()
    lock.release()
    return not free


def is_resumable(path: Path) -> bool:
    """Whether a stopped run has checkpoints to continue from."""
    return (path / layout.CHECKPOINTS).is_dir() and not (path / layout.BUNDLE).exists()


def free_name(runs: Path, name: str) -> str:
    """`name`, or the first of `name-2`, `name-3`, ... that no run has."""
    number, candidate = 1, name
    while (runs / candidate).exists():
        number += 1
        candidate = f"{name}-{number}"
    return candidate
