"""Make standard streams usable wherever a program is started: closed, missing, in any encoding."""

import contextlib
import io
import os
import sys
import warnings
from typing import TextIO, cast


def prepare_streams(encoding: str | None = None) -> None:
    """Open what is closed, and let no character of a message stop it from being written.

    A service or `pythonw` may start a program without streams. A closed descriptor would become
    that of the next file which is opened, and a library's message would end in that file.

    Args:
        encoding: of standard output and standard error; by default the console's.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    sys.stdin = sys.stdin or _open_null("r")
    sys.stdout = sys.stdout or _open_null("w")
    sys.stderr = sys.stderr or _open_null("w")
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream, encoding)


def write_as_utf8() -> None:
    """Let standard output carry data, which are the same bytes on any system."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(newline="\n")
    _reconfigure(sys.stdout, "utf-8")


def stop_raising_warnings() -> None:
    """Let warnings of libraries be warnings, where PYTHONWARNINGS makes errors of them."""
    warnings.filters = [entry for entry in warnings.filters if entry[0] != "error"]


def discard_output(stream: TextIO) -> None:
    """Send a stream that cannot be written any more nowhere, so that closing it raises nothing."""
    with contextlib.suppress(OSError, ValueError):  # not every stream has a descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _open_null(mode: str) -> TextIO:
    descriptor = os.open(os.devnull, os.O_RDWR)
    return cast(TextIO, os.fdopen(descriptor, mode, encoding="utf-8"))


def _reconfigure(stream: object, encoding: str | None) -> None:
    if isinstance(stream, io.TextIOWrapper):  # a notebook's is of another type
        stream.reconfigure(encoding=encoding, errors="backslashreplace")
