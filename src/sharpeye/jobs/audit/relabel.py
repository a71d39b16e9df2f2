"""Move images to other class folders by a table of fixes, or make a copy with these moves.

A table of fixes is a CSV file with a line for each image: `path`, `label`, `new_label`, `detail`
and `folder`, the folder of the data set.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.core.tables import read_user_table, write_table
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.image_folder import require_folder, scan_folder
from sharpeye.data.issues import Issue
from sharpeye.data.moves import FOLDER, Move, free_path, undo_moves
from sharpeye.errors import DataError, UsageError

FIX_COLUMNS = ("path", "label", "new_label", "detail", FOLDER)


def write_fixes(file: Path, issues: Sequence[Issue], samples: SampleSet) -> None:
    """Write a line for each image that is probably mislabelled, for a person to review."""
    labels = {sample.path: sample.label for sample in samples}
    folder = str(samples.root.resolve())
    rows = (
        (issue.path, labels[issue.path], issue.related, issue.detail, folder)
        for issue in issues
        if issue.kind == "mislabelled"
    )
    write_table(file, FIX_COLUMNS, rows)


def dataset_folder(table: Path) -> Path:
    """The folder of images that a table of fixes or an undo file names.

    Raises:
        UsageError: the table cannot be read, or does not name one folder.
    """
    folders = {row[FOLDER] for row in read_user_table(table) if row.get(FOLDER)}
    if len(folders) != 1:
        count = f"names {len(folders)} folders" if folders else "names no folder"
        raise UsageError(
            f"{table} {count}; say which one is meant: sharpeye relabel DIR ... {table.name}"
        )
    return Path(folders.pop())


def plan_moves(fixes: Path, root: Path) -> list[Move]:
    """The moves in a table of fixes.

    Raises:
        UsageError: the table cannot be read or lacks a column.
        DataError: an image does not exist, is not in the class that the table gives, or a new class
            is not a valid folder name.
    """
    rows = read_user_table(fixes, FIX_COLUMNS[:3])
    dataset = scan_folder(root, min_classes=1)
    samples = {sample.path: sample for sample in dataset}
    moves: list[Move] = []
    planned: set[str] = set()
    targets: set[Path] = set()
    for row in rows:
        sample = samples.get(row["path"])
        if sample is None:
            raise DataError(f"{fixes} names {row['path']}, which is no image in {root}")
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
        target = root / _path_in_class(sample, row["new_label"], dataset.given_splits)
        target = free_path(target, reserved=targets)
        targets.add(target)
        moves.append(Move(sample.path, target.relative_to(root).as_posix()))
    return moves


def _path_in_class(sample: Sample, label: str, given_splits: bool) -> str:
    refused = set(label) & set('/\\\0<>:"|?*') or label.startswith(".") or label != label.strip()
    if not label or refused:
        raise DataError(f"{label!r} for {sample.path} is no name for a class folder")
    pieces = sample.path.split("/")
    pieces[1 if given_splits else 0] = label
    return "/".join(pieces)


def undo_relabelling(undo: Path, root: Path | None = None) -> int:
    """Move the images in an undo file back; returns their number.

    Args:
        root: the folder of images; by default the folder that the undo file names.

    Raises:
        UsageError: it is not an undo file.
        DataError: no such folder, or another file has an image's old name; all other images were
            moved back.
    """
    root = root or dataset_folder(undo)
    require_folder(root)
    return undo_moves(undo, root)


def copy_relabelled(moves: Sequence[Move], root: Path, output: Path) -> int:
    """Copy the data set to a new folder and apply the moves there; returns the number of images.

    Raises:
        UsageError: `output` is taken, or lies in `root`.
        EnvironmentFault: it cannot be written.
    """
    target = require_free(output)
    if target.is_relative_to(root.resolve()):
        raise UsageError(f"{output} lies in {root}; choose a folder outside of it")
    new_paths = {move.source: move.target for move in moves}
    samples = scan_folder(root, min_classes=1)
    with atomic_folder(target) as temporary:
        for sample in samples:
            copy = temporary / new_paths.get(sample.path, sample.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(sample.file, copy)
    return len(samples)
