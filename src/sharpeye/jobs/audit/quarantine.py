"""Move files that cannot be used out of a folder of images; nothing is deleted or overwritten."""

from pathlib import Path

from sharpeye.core.storage import make_folder
from sharpeye.core.tables import write_table
from sharpeye.data.moves import free_path, move_file
from sharpeye.jobs.audit.check import CheckResult, require_outside

MOVED_CSV = "moved.csv"


def quarantine_files(result: CheckResult, folder: Path) -> int:
    """Move the files that cannot be decoded into `folder`, to their paths relative to the data set.

    Links, pipes and files that lie outside of the classes stay. `moved.csv` in the folder, written
    before the first move, names both paths of each file and the reason.

    Returns:
        the number of files that were moved.

    Raises:
        UsageError: `folder` lies in the data set, where its files would be read as images again.
        EnvironmentFault: a file cannot be moved.
    """
    require_outside(folder, result.samples.root, "--quarantine")
    reasons = {rejected.path: rejected.reason for rejected in result.samples.rejected}
    moves = [
        (sample.file, free_path(folder / sample.path), reasons[sample.path])
        for sample in result.unreadable.values()
        if sample.row is None and not sample.file.is_symlink()
    ]
    if moves:
        make_folder(folder)
        write_table(free_path(folder / MOVED_CSV), ("from", "to", "reason"), moves)
    for source, target, _ in moves:
        move_file(source, target)
    return len(moves)
