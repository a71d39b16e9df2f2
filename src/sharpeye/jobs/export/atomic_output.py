"""Files that are written together appear together: all of them, or none."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sharpeye.core.atomic_folder import atomic_folder
from sharpeye.core.storage import (
    TEMPORARY_PREFIX,
    flush_file,
    flush_folder,
    make_folder,
    os_errors_at,
)
from sharpeye.errors import UsageError


@contextlib.contextmanager
def atomic_output(output: Path, *, alone: bool) -> Iterator[Path]:
    """Yield a hidden folder; when the block ends well, what is in it appears.

    Args:
        output: where it appears: a folder, or a file whose companions come to lie beside it.
        alone: whether it is such a file. It appears after its companions.

    Raises:
        UsageError: a file of that name came there meanwhile.
        EnvironmentFault: the output cannot be written; nothing of it is left.
    """
    if not alone:
        with atomic_folder(output) as folder:
            yield folder
            _flush(folder)
        return
    parent = make_folder(output.parent)
    folder = parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    moved: list[Path] = []
    try:
        with os_errors_at(output):
            folder.mkdir()
            yield folder
            _flush(folder)
            for file in sorted(folder.iterdir(), key=lambda file: file.name == output.name):
                place = parent / file.name
                if place.exists():
                    raise UsageError(f"{place} is there already; choose another name")
                file.rename(place)
                moved.append(place)
            flush_folder(parent)
            moved.clear()
    finally:
        for place in moved:
            place.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _flush(folder: Path) -> None:
    """fsync all files below a folder, and the folders."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            flush_folder(path)
        else:
            flush_file(path)
