"""Move images to other class folders by a table of fixes, or make a copy with these moves.

A table of fixes is a CSV file with a line for each image: `path`, `label`, `new_label`, `detail`
and `folder`, the folder of the data set.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.core.tables import read_user_table, write_table
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.file_walk import original_name, printable
from sharpeye.data.image_folder import label_problem, require_folder, scan_folder
from sharpeye.data.issues import Issue
from sharpeye.data.moves import FOLDER, Move, free_path, undo_moves
from sharpeye.errors import DataError, UsageError

FIX_COLUMNS = ("path", "label", "new_label", "detail", FOLDER)


def write_fixes(file: Path, issues: Sequence[Issue], samples: SampleSet) -> None:
    """Write a line for each image that is probably mislabelled, for a person to review."""
    labels = {sample.path: sample.label for sample in samples}
    folder = printable(str(samples.root.resolve()))
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
    return Path(original_name(folders.pop()))


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
    folders = _class_folders(dataset)
    moves: list[Move] = []
    planned: set[str] = set()
    targets: set[Path] = set()
    for row in rows:
        # Windows writes paths with backslashes.
        sample = samples.get(row["path"]) or samples.get(row["path"].replace("\\", "/"))
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
        source = original_name(sample.path)
        pieces = source.split("/")
        level = _class_level(pieces, sample, dataset)
        pieces[level] = (
            folders.get((*pieces[:level], row["new_label"]))
            or folders.get((row["new_label"],))
            or _folder_to_create(row["new_label"], sample, fixes)
        )
        target = free_path(root.joinpath(*pieces), reserved=targets)
        targets.add(target)
        moves.append(Move(source, target.relative_to(root).as_posix()))
    return moves


def _class_folders(dataset: SampleSet) -> dict[tuple[str, ...], str]:
    """The name of the folder of each class on the disk, by the folders around it and the label,
    and by the label alone.
    """
    folders: dict[tuple[str, ...], str] = {}
    for sample in dataset:
        pieces = original_name(sample.path).split("/")
        level = _class_level(pieces, sample, dataset)
        folders.setdefault((*pieces[:level], sample.label), pieces[level])
        folders.setdefault((sample.label,), pieces[level])
    return folders


def _class_level(pieces: Sequence[str], sample: Sample, dataset: SampleSet) -> int:
    """Which of the folders of an image's path is the one of its class."""
    first = 1 if dataset.given_splits else 0
    names = [printable(piece) for piece in pieces[first:-1]]
    return first + (names.index(sample.label) if sample.label in names else 0)


def _folder_to_create(label: str, sample: Sample, fixes: Path) -> str:
    """The folder of a class that does not exist yet."""
    refused = set(label) & set('/\\<>:"|?*') or label.startswith(".") or label != label.strip()
    if not label or refused or label_problem(label):
        raise DataError(f"{fixes}: {label!r} for {sample.path} is no name for a class folder")
    return label


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
    files = {original_name(sample.path): sample.file for sample in samples if sample.row is None}
    with atomic_folder(target) as temporary:
        for path, file in files.items():
            copy = temporary / new_paths.get(path, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(copy):
                raise DataError(f"two images would be called {printable(str(copy.name))}")
            shutil.copy2(file, copy)
    return len(files)
