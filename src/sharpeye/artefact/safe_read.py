"""Reads files that a stranger may have made: regular files of bounded size, and strict JSON."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from sharpeye.errors import ModelError

MAX_MODEL_BYTES = 2**30

# A pipe would be waited for, and a link could lead to a terminal: neither on Windows.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_bounded(file: Path, most: int, inside: Path | None = None) -> bytes:
    """The bytes of a regular file, read once.

    Args:
        most: bytes.
        inside: the folder that a link may not lead out of; without it, a link may lead to a file
            of the same suffix only.

    Raises:
        ModelError: not there, no regular file, too large, or a link to elsewhere.
    """
    _check_link(file, inside)
    try:
        handle = os.open(file, _FLAGS)
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror}") from None
    with os.fdopen(handle, "rb") as opened:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{file} is no regular file")
        if status.st_size > most:
            raise ModelError(f"{file} is larger than {most // 2**20} MiB")
        try:
            return opened.read(status.st_size)
        except OSError as error:
            raise ModelError(f"cannot read {file}: {error.strerror}") from None


def _check_link(file: Path, inside: Path | None) -> None:
    try:
        if inside is None and not file.is_symlink():
            return
        target = file.resolve()
    except (OSError, RuntimeError):
        raise ModelError(f"{file} is a link that leads nowhere") from None
    if inside is None:
        allowed = target.suffix == file.suffix
    else:
        allowed = target.is_relative_to(inside.resolve())
    if not allowed:
        raise ModelError(f"{file} is a link to another place; put a copy of the file there instead")


def parse_json(text: str | bytes) -> Any:
    """JSON as its standard has it: no NaN, no key twice.

    Raises:
        ValueError: it is not; also if it is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")
