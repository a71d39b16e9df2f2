"""Read untrusted files: regular files of bounded size, and strict JSON."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from sharpeye.errors import ModelError

MAX_MODEL_BYTES = 2**30

# O_NONBLOCK: opening a pipe must not wait for its writer. O_BINARY exists on Windows only.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_bounded(file: Path, max_bytes: int, folder: Path | None = None) -> bytes:
    """The bytes of a regular file, read once.

    Args:
        folder: a link must not lead out of it; if None, a link may lead to any file of the same
            suffix.

    Raises:
        ModelError: it is missing, not a regular file, too large, or a forbidden link.
    """
    _check_link(file, folder)
    try:
        handle = os.open(file, _FLAGS)
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror}") from None
    with os.fdopen(handle, "rb") as opened:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{file} is no regular file")
        if status.st_size > max_bytes:
            raise ModelError(f"{file} is larger than {max_bytes // 2**20} MiB")
        try:
            return opened.read(status.st_size)
        except OSError as error:
            raise ModelError(f"cannot read {file}: {error.strerror}") from None


def _check_link(file: Path, folder: Path | None) -> None:
    try:
        if folder is None and not file.is_symlink():
            return
        target = file.resolve()
    except (OSError, RuntimeError):
        raise ModelError(f"{file} is a link that leads nowhere") from None
    if folder is None:
        allowed = target.suffix == file.suffix
    else:
        allowed = target.is_relative_to(folder.resolve())
    if not allowed:
        raise ModelError(f"{file} is a link to another place; put a copy of the file there instead")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON by its standard: without NaN and duplicate keys.

    Raises:
        ValueError: it is not strict JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_make_object, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
