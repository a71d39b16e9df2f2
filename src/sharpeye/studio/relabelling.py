"""Move an image to another class, and undo moves.

An undo file in a hidden folder is written before the move, so that it can be undone from any tab,
after the studio was closed, or by `sharpeye relabel --undo`.
"""

import contextlib
import itertools
import re
import time
from pathlib import Path

from sharpeye.core.storage import make_folder
from sharpeye.core.tables import read_table
from sharpeye.data.moves import SOURCE, TARGET, Move, apply_moves, free_path, undo_moves
from sharpeye.errors import DataError, UsageError
from sharpeye.studio.workspace import ANNOTATION_SUFFIX, Workspace

UNDO_FOLDER = ".undo"
_UNDO_NAME = re.compile(r"relabel-[0-9]{8}-[0-9]{6}-[0-9]{1,6}\.csv")
_MAX_LISTED = 20


def relabel(workspace: Workspace, path: str, label: str) -> str:
    """Move an image, with its Pascal VOC file, to another class; returns the name for `undo`.

    Raises:
        UsageError: a name is not valid.
        DataError: the image no longer exists, or is in this class.
    """
    moves = _plan(workspace, path, label)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = make_folder(workspace.root / UNDO_FOLDER)
    files = (folder / f"relabel-{stamp}-{number}.csv" for number in itertools.count(1))
    undo_file = next(file for file in files if not file.exists())
    apply_moves(moves, workspace.root, undo_file)
    return undo_file.name


def _plan(workspace: Workspace, path: str, label: str) -> list[Move]:
    """The moves of an annotation, if there is one, and of its image.

    The annotation moves first: the last line of an undo file names the image.
    """
    workspace.image(path)
    folders = path.split("/")[:-1]
    classes = [name for name, _ in workspace.classes()]
    level = 1 if any("/" in name for name in classes) else 0  # Below a given split such as `train`.
    if len(folders) <= level:
        raise UsageError(f"{path} is in no class folder; its class is changed on the page Label")
    if label not in {name.rpartition("/")[2] for name in classes}:
        raise UsageError(f"there is no class {label[:80]!r} (any more); reload the page")
    if folders[level] == label:
        raise DataError(f"{path} is in class {label} already; reload the page")
    folders[level] = label
    source = Path(path)
    target = workspace.root.joinpath(*folders, source.name)
    target = free_path(target, companions=(ANNOTATION_SUFFIX,)).relative_to(workspace.root)
    moves = [Move(path, target.as_posix())]
    annotation = source.with_suffix(ANNOTATION_SUFFIX)
    if (workspace.root / annotation).is_file():
        moved = target.with_suffix(ANNOTATION_SUFFIX)
        moves.insert(0, Move(annotation.as_posix(), moved.as_posix()))
    return moves


def undo(workspace: Workspace, name: str) -> int:
    """Undo a relabelling; returns how many files were moved back.

    Raises:
        UsageError: `name` is not what `relabel` returned.
        DataError: another file has the image's old name.
    """
    file = workspace.root / UNDO_FOLDER / name
    if not _UNDO_NAME.fullmatch(name) or file.is_symlink():
        raise UsageError("this is nothing that can be taken back")
    if not file.is_file():
        raise DataError("this was taken back already")
    count = undo_moves(file, workspace.root)
    file.unlink()
    return count


def recent_moves(workspace: Workspace) -> list[dict[str, str]]:
    """The moves that can be undone, the latest first: `id`, `source` and `target` of the image."""
    folder = workspace.root / UNDO_FOLDER
    moves = []
    for file in sorted(folder.glob("relabel-*.csv"), key=_time_order, reverse=True)[:_MAX_LISTED]:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            row = read_table(file)[-1]
            moves.append({"id": file.name, "source": row[SOURCE], "target": row[TARGET]})
    return moves


def _time_order(file: Path) -> tuple[str, int]:
    stem, _, number = file.stem.rpartition("-")
    return stem, int(number) if number.isdecimal() else 0
