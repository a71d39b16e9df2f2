"""Open a regular file for reading without ever blocking.

A file of a data set may have become a FIFO or a device since it was listed: `open` would wait for
a writer that never comes. Here the status of the open handle decides, so nothing can change
between the check and the reading.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Each of these flags exists only on some systems.
_FLAGS = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class NotRegularFile(OSError):
    """A path leads to something else than a file; `reason` says so."""

    reason = "not a regular file (a pipe, socket, device or folder)"

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, self.reason)


def open_regular(path: Path) -> BinaryIO:
    """The regular file at `path`, open for reading bytes.

    Raises:
        NotRegularFile: it is something else.
        OSError: it cannot be opened.
    """
    handle = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotRegularFile
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_head(path: Path, count: int) -> bytes:
    """The first `count` bytes of a regular file, or fewer if it is shorter; errors as above."""
    with open_regular(path) as file:
        return file.read(count)


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; OSError as above, ValueError if it is larger."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"{path} is larger than {max_bytes // 2**20} MiB")
        return file.read(size)
