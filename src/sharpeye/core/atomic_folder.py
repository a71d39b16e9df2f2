"""A folder that appears whole or not at all, where nothing of the user's is."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sharpeye.core import storage
from sharpeye.errors import UsageError


def require_free(folder: Path) -> Path:
    """The resolved path of a folder that can appear there without hiding or changing anything.

    Raises:
        UsageError: something is there, or it is a place where no folder can be replaced.
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
    """Yield a hidden folder beside `folder`, which becomes `folder` when the block ends well."""
    temporary = folder.with_name(f"{storage.TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with storage.os_errors_at(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            if os.name == "nt" and folder.exists():  # there, no rename replaces a folder
                folder.rmdir()
            temporary.replace(folder)
            storage.flush_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
