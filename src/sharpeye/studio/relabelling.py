"""Moves images into another class by one click, and back.

What is about to be done is written to an undo file in a hidden folder first, so it
can be taken back from any tab, or after the studio was closed, or by `sharpeye relabel --undo`.
"""

import csv
import re
import time
from dataclasses import replace
from pathlib import Path

from sharpeye.core.storage import atomic_open, make_folder
from sharpeye.data.moves import Move, apply_moves, undo_moves
from sharpeye.errors import DataError, UsageError
from sharpeye.jobs.audit.relabel import plan_moves
from sharpeye.studio.workspace import Workspace

UNDO_FOLDER = ".undo"
_NAME = re.compile(r"relabel-[0-9]{8}-[0-9]{6}-[0-9]{1,6}\.csv")
_MAX_LISTED = 20


def relabel(workspace: Workspace, path: str, label: str, scratch: Path) -> str:
    """Move an image, with its Pascal VOC file, into another class.

    Args:
        path: relative to the folder.
        label: the new class.
        scratch: a folder for a table in passing.

    Returns:
        what `undo` takes.

    Raises:
        UsageError: a name is none.
        DataError: the image is not there any more, or its new place is taken.
        EnvironmentFault: it cannot be moved.
    """
    file = workspace.image(path)
    if file.parent == workspace.root:
        raise UsageError(f"{path} is in no class folder; its class is changed on the page Label")
    if label not in {name.rpartition("/")[2] for name, _ in workspace.classes()}:
        raise UsageError(f"there is no class {label[:80]!r} (any more); reload the page")
    moves = [*_planned(workspace, path, label, scratch)]
    if not moves:
        raise DataError(f"{path} is in class {label} already; reload the page")
    undo_file = _free(make_folder(workspace.root / UNDO_FOLDER))
    apply_moves(moves, workspace.root, undo_file)
    return undo_file.name


def _planned(workspace: Workspace, path: str, label: str, scratch: Path) -> list[Move]:
    fixes = make_folder(scratch) / f"fix-{time.time_ns()}.csv"
    own = _class_of(path, workspace)
    with atomic_open(fixes) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([("path", "label", "new_label"), (path, own, label)])
    try:
        moves = plan_moves(fixes, workspace.root)
    finally:
        fixes.unlink()
    annotation = Path(path).with_suffix(".xml")
    if moves and (workspace.root / annotation).is_file():
        target = Path(moves[0].target).with_suffix(".xml").as_posix()
        # First: if its place is taken, nothing was moved yet.
        moves.insert(0, replace(moves[0], source=annotation.as_posix(), target=target))
    return moves


def _class_of(path: str, workspace: Workspace) -> str:
    """The class that a path says: its folder, or in given parts the folder below."""
    pieces = path.split("/")
    in_parts = any("/" in name for name, _ in workspace.classes())
    return pieces[1] if in_parts and len(pieces) > 2 else pieces[0]


def _free(folder: Path) -> Path:
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while (folder / f"relabel-{stamp}-{number}.csv").exists():
        number += 1
    return folder / f"relabel-{stamp}-{number}.csv"


def undo(workspace: Workspace, name: str) -> int:
    """Take a relabelling back; returns how many files went back.

    Raises:
        UsageError: `name` is none that `relabel` gave.
        DataError: something else is in the image's old place.
    """
    file = workspace.root / UNDO_FOLDER / name
    if not _NAME.fullmatch(name) or file.is_symlink():
        raise UsageError("this is nothing that can be taken back")
    if not file.is_file():
        raise DataError("this was taken back already")
    count = undo_moves(file, workspace.root)
    file.unlink()
    return count


def recent(workspace: Workspace) -> list[dict[str, str]]:
    """What can be taken back, the latest first: `id`, `source` and `target` of the image."""
    folder = workspace.root / UNDO_FOLDER
    found = []
    for file in sorted(folder.glob("relabel-*.csv"), key=_order, reverse=True)[:_MAX_LISTED]:
        try:
            with file.open(encoding="utf-8", newline="") as opened:
                row = list(csv.DictReader(opened))[-1]
            found.append({"id": file.name, "source": row["from"], "target": row["to"]})
        except (OSError, ValueError, KeyError, IndexError, csv.Error):
            continue
    return found


def _order(file: Path) -> tuple[str, int]:
    stem, _, number = file.stem.rpartition("-")
    return stem, int(number) if number.isdecimal() else 0
