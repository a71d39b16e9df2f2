"""Write several files so that they appear together, or not at all, and replace no user's file."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sharpeye.core import storage
from sharpeye.core.temporaries import temporary_folder
from sharpeye.errors import UsageError


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
def atomic_folder(folder: Path, *, flush: bool = False) -> Iterator[Path]:
    """Yield a hidden folder, which becomes `folder` when the block ends without an error.

    With `flush` its files reach the disk before its name does. EnvironmentFault if it cannot be
    written; then the folder is removed.
    """
    with _hidden_folder(folder) as temporary:
        with storage.errors_name(folder, temporary):
            yield temporary
        if flush:
            _flush(temporary)
        if os.name == "nt" and folder.exists():  # there, no rename replaces a folder
            folder.rmdir()
        temporary.replace(folder)
        storage.flush_folder(folder.parent)


@contextlib.contextmanager
def atomic_files(main_file: Path) -> Iterator[Path]:
    """Yield a hidden folder; when the block ends without an error, its files move beside it.

    The files reach the disk before their names do, and `main_file` appears last. If they cannot be
    written, all are removed: UsageError if a name was taken meanwhile, else EnvironmentFault.
    """
    moved: list[Path] = []
    try:
        with _hidden_folder(main_file) as temporary:
            with storage.errors_name(main_file.parent, temporary):
                yield temporary
            _flush(temporary)
            for file in sorted(temporary.iterdir(), key=lambda file: file.name == main_file.name):
                target = main_file.parent / file.name
                if target.exists():
                    raise UsageError(f"{target} is there already; choose another name")
                file.rename(target)
                moved.append(target)
            storage.flush_folder(main_file.parent)
            moved.clear()
    finally:
        for target in moved:
            target.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a complete folder the name of another one beside it, which is deleted.

    An error or a signal at any moment leaves one of the two under that name, complete. Until the
    new one has the name, the old one has no temporary name: if the process is killed between the
    two steps, nobody deletes it.
    """
    old = folder.with_name(f".{folder.name}.before-{secrets.token_hex(4)}")
    with storage.os_errors_at(folder):
        _flush(new)
        try:
            folder.rename(old)
            new.rename(folder)
        except BaseException:
            if not folder.exists():
                old.rename(folder)
            raise
        storage.flush_folder(folder.parent)
        old = old.rename(folder.with_name(storage.temporary_name()))
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, which is removed at the end if it still exists."""
    with storage.os_errors_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent) as temporary:
            yield temporary


def _flush(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            storage.flush_folder(path)
        else:
            storage.flush_file(path)
