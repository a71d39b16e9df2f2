"""The runs in the studio's folder of runs: by name, and with their numbers."""

import os
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sharpeye.core.storage import FileLock
from sharpeye.data.file_walk import is_hidden
from sharpeye.errors import DataError, UsageError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run


@dataclass(frozen=True, slots=True)
class RunState:
    """One run directory.

    Attributes:
        name: of its folder.
        state: `done`; `stopped`, which can be gone on with; or `running`, by any process.
        made: when its last file was written, seconds since 1970.
        task: `classify` or `localize`.
        model: as `sharpeye models` lists it.
        folder: where its images were.
        accuracy, low, high: on the test images, 0..1, with its 95 % interval; None unless done.
        count: of test images.
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
    """The folder that a run's name stands for.

    Raises:
        UsageError: it is no plain name.
        DataError: there is no such run.
    """
    plain = name and name not in (".", "..") and not set(name) & set("/\\\0:") and len(name) <= 255
    if not plain or is_hidden(name) or not name.isprintable():
        raise UsageError("a run is called by the name of its folder, without slashes")
    path = runs / name
    if not (path / layout.CONFIG).is_file() or path.is_symlink():
        raise DataError(f"there is no run {name} in {runs} (any more); reload the page")
    return path


def finished(runs: Path, name: str) -> Run:
    """A finished run by its name.

    Raises:
        UsageError, DataError: see `run_path`; or it is not finished.
    """
    return Run(run_path(runs, name))


def list_runs(runs: Path) -> list[RunState]:
    """All runs, the newest first; what cannot be read is left out."""
    if not runs.is_dir():
        return []
    with os.scandir(runs) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    found = [state for name in names if (state := run_state(runs / name)) is not None]
    return sorted(found, key=lambda state: (-state.made, state.name))


def run_state(path: Path) -> RunState | None:
    """What is known of a run directory; None if it is none."""
    try:
        bundle = path / layout.BUNDLE
        if bundle.is_file():
            return _done(path, bundle.stat().st_mtime_ns)
        made = max(entry.stat().st_mtime for entry in path.iterdir())
        state = "running" if _is_held(path) else "stopped"
        return RunState(state=state, made=made, **_settings(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1024)
def _done(path: Path, modified_ns: int) -> RunState:
    """A finished run; `modified_ns` tells it from a later one in the same place."""
    test = Run(path).metrics["test"]
    low, high = test["accuracy_ci95"]
    return RunState(
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
    config = tomllib.loads((path / layout.CONFIG).read_text(encoding="utf-8"))
    return {
        "name": path.name,
        "task": str(config["task"]),
        "model": str(config["model"]["name"]),
        "folder": str(config["data"]["folder"]),
    }


def _is_held(path: Path) -> bool:
    """Whether a process is writing there: its lock says so, and dies with it."""
    file = path / layout.LOCK
    if not file.is_file():
        return False
    lock = FileLock(file)
    free = lock.try_acquire()
    lock.release()
    return not free


def resumable(path: Path) -> bool:
    """Whether a stopped run has something that can be gone on with."""
    return (path / layout.CHECKPOINTS).is_dir() and not (path / layout.BUNDLE).exists()


def free_name(runs: Path, wanted: str) -> str:
    """`wanted`, or the first of `wanted-2`, `wanted-3`, ... that is not taken."""
    number, name = 1, wanted
    while (runs / name).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name
