"""Moves files that cannot be used out of a folder of images; never deletes, never overwrites."""

import csv
import os
import shutil
from pathlib import Path

from sharpeye.core.storage import atomic_open, make_folder, os_errors_at
from sharpeye.jobs.audit.check import CheckResult, require_outside

MOVED_CSV = "moved.csv"


def quarantine_files(checked: CheckResult, folder: Path) -> list[tuple[Path, Path]]:
    """Move the files that cannot be decoded into `folder`, at their path relative to the set.

    Links, pipes and files that lie outside of the classes stay. `moved.csv` in the folder, written
    before anything is moved, says where each came from and why.

    Returns:
        (from, to) of each file that was moved.

    Raises:
        UsageError: `folder` lies in the set: its files would be read as images again.
        EnvironmentFault: a file cannot be moved.
    """
    require_outside(folder, checked.samples.root, "--quarantine")
    reasons = {one.path: one.reason for one in checked.samples.rejected}
    bad = [s for s in checked.bad.values() if s.row is None and not s.file.is_symlink()]
    if not bad:
        return []
    make_folder(folder)
    moves = [(sample.file, _free(folder / sample.path)) for sample in bad]
    rows = [
        (source, target, reasons[sample.path])
        for sample, (source, target) in zip(bad, moves, strict=True)
    ]
    with atomic_open(_free(folder / MOVED_CSV)) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("from", "to", "reason"))
        writer.writerows(rows)
    for source, target in moves:
        with os_errors_at(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
    return moves


def _free(path: Path) -> Path:
    """`path`, or the first of `NAME-2`, `NAME-3`, ... that nothing is called."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
