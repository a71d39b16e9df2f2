"""Array types that annotations share, and the only module that maps files into memory.

Docstrings give each array's shape, dtype and range.

A file that is mapped for writing must have all its blocks: where the disk is full, a write into a
hole of a sparse file ends the process by SIGBUS, without an error that could be caught.
"""

import errno
import logging
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import explain_os_error, make_folder
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

# Larger arrays lie in a file: from 55,000 feature vectors of the default model, 430,000 thumbnails.
MAX_IN_MEMORY = 512 * 2**20
# Without room for the file, an array is held in memory up to this share of the machine's memory.
_MAX_MEMORY_SHARE = 0.5
_ZEROS = bytes(2**20)


def allocate_array(
    shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path, *, description: str
) -> Array:
    """An array of zeros, in memory or in a file that the system may page out.

    Args:
        folder: for the unnamed file of a large array, which is deleted with the array.
        description: names the array in messages, such as "features".

    Raises:
        EnvironmentFault: there is neither space for the file nor enough memory.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size > MAX_IN_MEMORY:
        try:
            make_folder(folder)
            return _zeros_in_file(shape, dtype, folder, size=size)
        except (OSError, EnvironmentFault) as error:
            reason = explain_os_error(error, folder) if isinstance(error, OSError) else error
            if size > _MAX_MEMORY_SHARE * _memory_bytes():
                raise EnvironmentFault(
                    f"the {description} need {size / 2**20:,.0f} MiB on the disk: {reason}"
                ) from None
            log.warning("the %s are held in memory: %s", description, reason)
    return np.zeros(shape, dtype)


def map_array(
    file: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, offset: int = 0
) -> Array:
    """A read-only array over the bytes of a file from `offset` on.

    Raises:
        OSError, ValueError: the file cannot be read, or is shorter.
    """
    return np.memmap(file, dtype, "r", offset=offset, shape=shape)


def _zeros_in_file(
    shape: tuple[int, ...], dtype: np.dtype[Any], folder: Path, *, size: int
) -> Array:
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file, size)
        return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)


def _reserve(file: IO[bytes], size: int) -> None:
    """Give an empty file `size` zero bytes that the disk really has; OSError if it lacks them."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:  # some file systems cannot reserve
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS):
                raise
    for start in range(0, size, len(_ZEROS)):
        file.write(_ZEROS[: size - start])
    file.flush()
    os.fsync(file.fileno())  # a delayed allocation may fail only now


def _memory_bytes() -> int:
    """The machine's memory; unlimited where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**62
