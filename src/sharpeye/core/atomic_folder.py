"""Write several files so that they appear together, or not at all, and replace no user's file."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from sharpeye.core import storage
from sharpeye.core.c_library import c_function
from sharpeye.core.temporaries import temporary_folder
from sharpeye.errors import UsageError

# To flush the disk once is faster than a thousand files, but also writes what others have changed.
_MAX_SINGLE_FLUSHES = 100


def require_free(folder: Path) -> Path:
    """The resolved path of a folder, if it can appear there without hiding or changing anything;
    else UsageError.
    """
    target = folder.resolve()
    with storage.os_errors_at(folder):
        if not target.exists():
            return target
        if not target.is_dir():
            raise UsageError(f"{folder} is a file; choose a folder that does not exist yet")
        if any(target.iterdir()):
            raise UsageError(
                f"{folder} is not empty; choose a folder that does not exist yet, "
                "nothing was changed"
            )
        if target == Path.cwd() or target.is_mount():
            raise UsageError(
                f"{folder} is the current folder or a mount point, which cannot be replaced; "
                f"choose a new folder in it, such as {folder / 'pictures'}"
            )
    return target


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder, which becomes `folder` when the block ends without an error.

    Its files reach the disk before its name does. EnvironmentFault if it cannot be written; then
    the folder is removed.
    """
    with _hidden_folder(folder) as temporary:
        with storage.errors_name(folder, temporary):
            yield temporary
        _flush(temporary)
        if os.name == "nt" and folder.exists():  # there, no rename replaces a folder
            folder.rmdir()
        temporary.replace(folder)
        storage.flush_folder(folder.parent)


@contextlib.contextmanager
def atomic_files(
    main_file: Path, *, first: str = "", replaceable: Collection[str] = ()
) -> Iterator[Path]:
    """Yield a hidden folder; when the block ends without an error, its files move beside it.

    The files reach the disk before their names do, and `main_file` appears last. If they cannot be
    written, all are removed: UsageError if a name was taken meanwhile, else EnvironmentFault. A
    kill may leave some of them, but not `main_file`.

    Args:
        first: the name of the file that appears first.
        replaceable: names of files that may exist, and are replaced.
    """
    moved: list[Path] = []
    try:
        with _hidden_folder(main_file) as temporary:
            with storage.errors_name(main_file.parent, temporary):
                yield temporary
            _flush(temporary)
            order = {first: 0, main_file.name: 2}
            files = sorted(temporary.iterdir(), key=lambda file: order.get(file.name, 1))
            targets = [main_file.parent / file.name for file in files]
            for target in targets:
                if target.exists() and target.name not in replaceable:
                    raise UsageError(f"{target} is there already; choose another name")
            for file, target in zip(files, targets, strict=True):
                file.replace(target)
                moved.append(target)
            storage.flush_folder(main_file.parent)
            moved.clear()
    finally:
        for target in moved:
            target.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a complete folder, which has a temporary name, the name of another one beside it, which
    is deleted.

    An error, a signal or a kill at any moment leaves one of the two under that name, complete.
    Where the system cannot exchange two names in one step, a kill between two steps leaves the old
    one under a hidden name that is no temporary one: nobody deletes it.
    """
    with storage.os_errors_at(folder):
        _flush(new)
        old = new
        if not exchange_names(new, folder):
            old = folder.with_name(f".{folder.name}.before-{secrets.token_hex(4)}")
            try:
                folder.rename(old)
                new.rename(folder)
            except BaseException:
                if not folder.exists():
                    old.rename(folder)
                raise
        storage.flush_folder(folder.parent)
        if old != new:
            old = old.rename(folder.with_name(storage.temporary_name()))
    shutil.rmtree(old, ignore_errors=True)


def exchange_names(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders in one step; False if the system or the file
    system cannot.
    """
    paths = (os.fsencode(first.absolute()), os.fsencode(second.absolute()))
    if rename := c_function("renameat2"):  # Linux ignores the folders, as the paths are absolute.
        return bool(rename(-1, paths[0], -1, paths[1], 2) == 0)
    if rename := c_function("renamex_np"):  # macOS
        return bool(rename(*paths, 2) == 0)
    return False


@contextlib.contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, which is removed at the end if it still exists."""
    with storage.os_errors_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent) as temporary:
            yield temporary


def _flush(folder: Path) -> None:
    paths = [folder, *folder.rglob("*")]
    if len(paths) > _MAX_SINGLE_FLUSHES and storage.flush_disk(folder):
        return
    for path in paths:
        if path.is_dir():
            storage.flush_folder(path)
        else:
            storage.flush_file(path)
