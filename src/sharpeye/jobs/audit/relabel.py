"""Moves images to other class folders, as a table says, or a copy of the whole set with it.

What is about to be done is written to an undo file first; nothing is ever overwritten. A move is a
rename within the set's folder: it happens as a whole or not at all, and whatever stops the rest,
the undo file puts everything back.
"""

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.core.storage import atomic_open, os_errors_at
from sharpeye.core.types import Sample
from sharpeye.data.image_folder import require_folder, scan_folder
from sharpeye.errors import DataError, EnvironmentFault, UsageError

FIX_COLUMNS = ("path", "label", "new_label", "detail", "folder")
_NEEDED, _UNDO = ("path", "label", "new_label"), ("from", "to")
_FOLDER = "folder"  # of the set; a table that has it needs no other word for where it belongs
_MAX_TABLE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Move:
    """An image's way, relative to the set's folder."""

    source: str
    target: str


def dataset_folder(table: Path) -> Path:
    """The folder of images that a table of fixes or an undo file is for.

    Raises:
        UsageError: the table cannot be read, or does not say it.
    """
    named = {row[_FOLDER] for row in _rows(table, ()) if row.get(_FOLDER)}
    if len(named) != 1:
        said = "names no folder" if not named else f"names {len(named)} folders"
        raise UsageError(
            f"{table} {said}; say which one is meant: sharpeye relabel DIR ... {table.name}"
        )
    return Path(named.pop())


def plan_moves(fixes: Path, root: Path) -> list[Move]:
    """The moves that a table of fixes asks for.

    Args:
        fixes: a CSV file with the columns `path`, `label` and `new_label`, as `sharpeye check
            --labels RUN --write-fixes` writes it.
        root: the folder of images, one sub-folder a class, or in given parts.

    Raises:
        UsageError: the table cannot be read or lacks a column.
        DataError: an image is not there, is not in the class that the table says, or a new class
            is no folder's name. Nothing was moved then.
    """
    rows = _rows(fixes, _NEEDED)
    found = scan_folder(root, least_classes=1)
    samples = {sample.path: sample for sample in found}
    taken = {sample.path for sample in found} | {one.path for one in found.rejected}
    moves, planned = [], set()
    for row in rows:
        sample = samples.get(row["path"])
        if sample is None:
            raise DataError(f"{fixes} names {row['path']}, which is no picture in {root}")
        if sample.path in planned:
            raise DataError(f"{fixes} names {sample.path} twice; take one of the lines out")
        if sample.row is not None:
            raise DataError(f"{row['path']} is a row of an array file, which cannot be moved")
        if sample.label != row["label"]:
            raise DataError(
                f"{row['path']} is in class {sample.label}, not in {row['label']} as {fixes} says; "
                "was it applied already?"
            )
        planned.add(sample.path)
        if row["new_label"] == sample.label:
            continue
        target = _free(_target(sample, row["new_label"], found.given_splits), taken, root)
        taken.add(target)
        moves.append(Move(sample.path, target))
    return moves


def _rows(table: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a CSV file by column; what a line lacks is empty."""
    try:
        if table.stat().st_size > _MAX_TABLE_BYTES:
            raise UsageError(f"{table} is larger than {_MAX_TABLE_BYTES // 2**20} MiB")
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            missing = [name for name in needed if name not in columns]
            if missing:
                raise UsageError(f"{table} has no column {', '.join(missing)}")
            return [{name: row[name] or "" for name in columns} for row in reader]
    except OSError as error:
        raise UsageError(f"cannot read {table}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} is no CSV file in UTF-8: {error}") from None


def _target(sample: Sample, label: str, given_parts: bool) -> str:
    plain = label and label not in (".", "..") and not set(label) & set('/\\\0<>:"|?*')
    if not plain or label != label.strip() or label.startswith("."):
        raise DataError(f"{label!r} for {sample.path} is no name for a class folder")
    pieces = sample.path.split("/")
    pieces[1 if given_parts else 0] = label
    return "/".join(pieces)


def _free(target: str, taken: set[str], root: Path) -> str:
    """`target`, or the first of `NAME-2`, `NAME-3`, ... that nothing is called."""
    suffix = Path(target).suffix
    stem = target.removesuffix(suffix)
    number, name = 1, target
    while name in taken or os.path.lexists(root / name):
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def apply_moves(moves: Sequence[Move], root: Path, undo: Path) -> None:
    """Move images within the folder, after the undo file was written.

    Raises:
        UsageError: the undo file is there already.
        DataError: an image is gone, or something is in its new place by now.
        EnvironmentFault: a file cannot be moved; those before it are, and the undo file helps.
    """
    if os.path.lexists(undo):
        raise UsageError(f"{undo} is there already; move it away, or choose another --undo-file")
    folder = str(root.resolve())
    with atomic_open(undo) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*_UNDO, _FOLDER))
        writer.writerows((move.source, move.target, folder) for move in moves)
    for done, move in enumerate(moves):
        try:
            _rename(root, move.source, move.target)
        except (DataError, EnvironmentFault) as error:
            before = f"{done} of {len(moves)} pictures were moved before it"
            raise type(error)(f"{error}; {before}: sharpeye relabel --undo {undo}") from None


def _rename(root: Path, source: str, target: str) -> None:
    old, new = root / source, root / target
    with os_errors_at(new):
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Unlike a rename, a link never replaces what has come there meanwhile.
            os.link(old, new, follow_symlinks=False)
        except FileExistsError:
            raise DataError(f"{new} is there already; {old} was left where it is") from None
        except FileNotFoundError:
            raise DataError(f"{old} is not there any more") from None
        except OSError:  # a file system without hard links
            if os.path.lexists(new):
                raise DataError(f"{new} is there already; {old} was left where it is") from None
            old.rename(new)
            return
        old.unlink()


def undo_moves(undo: Path, root: Path) -> int:
    """Put back what an undo file says was moved; returns how many images were.

    Those that are in their old place already are left alone.

    Raises:
        UsageError: it is no undo file.
        DataError: something else is in an image's old place; all others were put back.
    """
    require_folder(root)
    rows = _rows(undo, _UNDO)
    inside = root.resolve()
    for row in rows:
        paths = [(root / row[name]).parent.resolve() for name in _UNDO]
        if not all(path.is_relative_to(inside) for path in paths):
            raise UsageError(f"{undo} names {row['to']}, which is outside of {root}")
    blocked: list[str] = []
    count = 0
    for row in reversed(rows):
        old, new = root / row["from"], root / row["to"]
        if not os.path.lexists(new):
            continue
        if not os.path.lexists(old):
            _rename(root, row["to"], row["from"])
        elif old.samefile(new):  # stopped between the two steps of a move
            new.unlink()
        else:
            blocked.append(row["from"])
            continue
        count += 1
    if blocked:
        raise DataError(
            f"{len(blocked)} pictures cannot be put back, as something else is in their place, "
            f"such as {blocked[0]}; {count} were put back"
        )
    return count


def copy_relabelled(moves: Sequence[Move], root: Path, output: Path) -> int:
    """Write a copy of the set to a new folder, with the fixes in it; returns how many files.

    Raises:
        UsageError: `output` is not free, or lies in `root`.
        EnvironmentFault: it cannot be written.
    """
    target = require_free(output)
    if target.is_relative_to(root.resolve()):
        raise UsageError(f"{output} lies in {root}; choose a folder outside of it")
    ways = {move.source: move.target for move in moves}
    samples = scan_folder(root, least_classes=1)
    with atomic_folder(target) as temporary:
        for sample in samples:
            place = temporary / ways.get(sample.path, sample.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(sample.file, place)
    return len(samples)
