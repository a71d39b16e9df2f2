"""Move images between folders, for `relabel`, `check --quarantine` and the studio.

No file is overwritten or deleted. A table of moves is written before the first one, so that
`undo_moves` can undo even an interrupted run.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpeye.core.paths import command_line, name_that_fits, resolve_links
from sharpeye.core.storage import flush_file, flush_folder, os_errors_at, sha256_file
from sharpeye.core.tables import read_user_table, write_new_table
from sharpeye.core.temporaries import remove_stale_temporaries, temporary_name
from sharpeye.data.file_walk import original_name, printable
from sharpeye.errors import DataError, EnvironmentFault, UsageError

SOURCE, TARGET, FOLDER = UNDO_COLUMNS = ("from", "to", "folder")

# A symbolic link itself is moved, not its target, if the system supports that.
_LINK_OPTIONS = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}


@dataclass(frozen=True, slots=True)
class Move:
    """One move; both paths are relative to the folder of images, with forward slashes, and as the
    file system has them: tables hold their printable forms.
    """

    source: str
    target: str


def free_path(
    path: Path, *, companions: Sequence[str] = (), reserved: Collection[Path] = ()
) -> Path:
    """`path`, or the first of `NAME-2`, `NAME-3`, ... that does not exist and is not `reserved`.

    The same name is also free with each suffix of `companions`, files that move along.
    """
    number, candidate = 1, path
    while candidate in reserved or any(
        os.path.lexists(name)
        for name in (candidate, *(candidate.with_suffix(suffix) for suffix in companions))
    ):
        number += 1
        candidate = path.with_name(name_that_fits(path.stem, f"-{number}{path.suffix}"))
    return candidate


def is_copied(source: Path, target: Path) -> bool:
    """Whether a move to another disk that was interrupted has left a complete copy at `target`."""
    with contextlib.suppress(FileNotFoundError):  # another process has moved one of them
        return (
            all(path.is_file() and not path.is_symlink() for path in (source, target))
            and source.stat().st_size == target.stat().st_size
            and sha256_file(source) == sha256_file(target)
        )
    return False


def finish_move(source: Path, target: Path) -> bool:
    """Delete the source if it `is_copied`; returns whether it was.

    Raises:
        EnvironmentFault: it cannot be read or deleted.
    """
    with os_errors_at(source):
        if not is_copied(source, target):
            return False
        source.unlink(missing_ok=True)
    return True


def move_file(source: Path, target: Path) -> None:
    """Move one file to a name that is free.

    It makes a hard link first: unlike a rename, that never replaces a file that was created
    meanwhile. On another file system, a complete copy gets the final name.

    Raises:
        DataError: `source` does not exist, or `target` does.
        EnvironmentFault: it cannot be moved.
    """
    with os_errors_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _move(source, target)
        except FileExistsError:
            raise DataError(f"{target} is there already; {source} was left where it is") from None
        except FileNotFoundError:
            raise DataError(f"{source} is not there any more") from None


def _move(source: Path, target: Path) -> None:
    try:
        os.link(source, target, **_LINK_OPTIONS)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            _move_to_other_disk(source, target)
        elif os.path.lexists(target):
            raise FileExistsError(target) from None
        else:  # the file system does not support hard links
            _rename(source, target)
    else:
        _unlink_source(source, target)


def _unlink_source(source: Path, target: Path) -> None:
    """Delete the old name of a file that has its new one.

    If another process has moved the file at the same time, the one that deletes the old name has
    moved it, and the other one takes its new name back: a file does not end up in two classes.
    """
    try:
        source.unlink()
    except FileNotFoundError:
        if target.lstat().st_nlink > 1:
            target.unlink()
            raise


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_to_other_disk(source, target)


def _move_to_other_disk(source: Path, target: Path) -> None:
    """Copy a file; the copy gets its name when it is complete and on the disk, and then the source
    is deleted. At any moment one of the two is there, complete.
    """
    remove_stale_temporaries(target.parent)
    temporary = target.with_name(temporary_name())
    try:
        shutil.copy2(source, temporary, follow_symlinks=False)
        if not source.is_symlink():
            flush_file(temporary)
            if sha256_file(temporary) != sha256_file(source):
                raise OSError(errno.EIO, f"the copy differs from {source}")
        _move(temporary, target)
        flush_folder(target.parent)
        source.unlink()
    finally:
        temporary.unlink(missing_ok=True)


def require_new_undo_file(undo: Path) -> None:
    """Raise UsageError if an undo file exists: an interrupted run may need it."""
    if os.path.lexists(undo):
        raise _undo_file_exists(undo)


def _undo_file_exists(undo: Path) -> UsageError:
    command = command_line("sharpeye", "relabel", "--undo", undo)
    return UsageError(
        f"{undo} is there already, of an earlier run: {command} puts back what that moved, "
        "also if it was interrupted; then move the file away, or choose another --undo-file"
    )


def apply_moves(moves: Sequence[Move], root: Path, undo: Path) -> None:
    """Move images within a folder, after the undo file was written.

    Raises:
        UsageError: the undo file exists already.
        DataError, EnvironmentFault: as `move_file`. Earlier images stay moved, and the undo file
            lists them.
    """
    folder = str(root.resolve())
    rows = ((move.source, move.target, folder) for move in moves)
    if not write_new_table(undo, UNDO_COLUMNS, ([*map(printable, row)] for row in rows)):
        raise _undo_file_exists(undo)
    for count, move in enumerate(moves):
        try:
            move_file(root / move.source, root / move.target)
        except (DataError, EnvironmentFault) as error:
            before = f"{count} of {len(moves)} images were moved before it"
            command = command_line("sharpeye", "relabel", "--undo", undo)
            raise type(error)(f"{error}; {before}: {command}") from None


def read_moves(undo: Path) -> list[Move]:
    """The moves in an undo file, in their order; UsageError if it is not such a file."""
    rows = read_user_table(undo, (SOURCE, TARGET))
    return [Move(original_name(row[SOURCE]), original_name(row[TARGET])) for row in rows]


def undo_moves(undo: Path, root: Path) -> int:
    """Undo the moves in an undo file that are not yet undone; return the number of images.

    Raises:
        UsageError: it is not an undo file, or names a path outside of `root`.
        DataError: another file has an image's old name; all others were put back.
    """
    moves = read_moves(undo)
    for move in moves:
        for path in (move.source, move.target):
            if not _has_parent_in(root, path):
                raise UsageError(f"{undo} names {printable(path)}, which is not in {root}")
    blocked: list[str] = []
    count = 0
    for move in reversed(moves):
        source, target = root / move.source, root / move.target
        if not os.path.lexists(target):
            continue
        if not os.path.lexists(source):
            move_file(target, source)
        elif os.path.samestat(
            source.lstat(), target.lstat()
        ):  # The move was interrupted between its two steps.
            target.unlink()
        else:
            blocked.append(printable(move.source))
            continue
        count += 1
    if blocked:
        raise DataError(
            f"{len(blocked)} images cannot be put back, as something else is in their place, "
            f"such as {blocked[0]}; {count} were put back"
        )
    return count


def _has_parent_in(root: Path, path: str) -> bool:
    """Whether a path lies in a folder; not if no file can have that name."""
    try:
        return resolve_links((root / path).parent).is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a loop, a name too long, a null byte
        return False
