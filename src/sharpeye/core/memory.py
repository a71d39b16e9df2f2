"""Give memory that was freed back to the operating system."""

import contextlib
import ctypes
import sys
from functools import cache
from typing import Any


def release_freed_memory() -> None:
    """Return the free pages of all of the allocator's arenas to the system, where it can do that.

    glibc keeps freed memory for later use, in an arena per thread: after large images hundreds of
    megabytes. `malloc_trim` takes some milliseconds. Other allocators return memory by themselves.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    """glibc's function, malloc_trim(3); None where there is none."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).malloc_trim
    return None
