"""Change a folder to a state that a power failure could have left; see `counted_calls`.

Names change in their order, so a failure undoes the last few of those calls that no fsync of a
folder follows. Bytes that no fsync of their file follows are there, or not, or in part: a file may
be empty, cut, or end with zeros, also under its final name.
"""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sharpeye.core.atomic_folder import exchange_names

# SQLite and TensorFlow flush their files themselves, unseen by the report.
_FLUSHED_BY_LIBRARIES = (".db", ".db-journal", ".db-wal", ".db-shm")


def fail_power(report_file: Path, folders: Sequence[Path], random: np.random.Generator) -> str:
    """Undo and tear what the disk need not have; returns a description."""
    report = json.loads(report_file.read_text())
    undone = int(random.integers(0, len(report["undo"]) + 1))
    for step in reversed(report["undo"][len(report["undo"]) - undone :]):
        _undo(*step)
    torn = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            status = path.lstat()
            is_synced = report["synced"].get(str(status.st_ino)) == [
                status.st_size,
                status.st_mtime_ns,
            ]
            can_tear = stat.S_ISREG(status.st_mode) and path.suffix not in _FLUSHED_BY_LIBRARIES
            if can_tear and not is_synced and _tear(path, random):
                torn.append(path.name)
    return f"{undone} names undone, torn: {', '.join(torn) or 'none'}"


def _undo(name: str, *paths: str) -> None:
    *changed, saved = paths
    target = changed[-1]
    with contextlib.suppress(FileNotFoundError):
        if name in ("create", "link"):
            os.unlink(target)
        elif name == "mkdir":
            shutil.rmtree(target)
        elif name == "rmdir":
            os.mkdir(target)
        elif name == "exchange":
            exchange_names(Path(changed[0]), Path(target))
        elif name in ("rename", "replace"):
            os.rename(target, changed[0])
    if saved:
        shutil.move(saved, target)


def _tear(file: Path, random: np.random.Generator) -> bool:
    """Damage a file as a disk may that did not get all of it; returns whether it was."""
    size = file.stat().st_size
    kind = random.choice(["complete", "empty", "cut", "zeros"])
    if kind == "complete" or not size:
        return False
    begin = 0 if kind == "empty" else int(random.integers(0, size))
    os.truncate(file, begin)
    if kind == "zeros":
        os.truncate(file, size)
    return True
