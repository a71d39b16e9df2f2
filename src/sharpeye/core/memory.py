"""Give memory that was freed back to the operating system, where the allocator is glibc's.

Other allocators return memory by themselves, and are left alone.
"""

import sys
from functools import cache
from typing import Any

from sharpeye.core.c_library import c_function

# mallopt(3): blocks from this size on are mapped, and given back to the system when they are freed.
_M_MMAP_THRESHOLD, _MAPPED_BYTES = -3, 8 * 2**20


@cache
def map_large_blocks() -> None:
    """Map large blocks from now on, so that they are given back as soon as they are freed.

    Pillow stores an image in blocks of 16 MB. By default glibc stops to map such blocks after the
    first one was freed, and every thread then keeps those that it frees: with 16 threads 2.5 GB
    beside a budget of 1 GB.
    """
    function = _glibc("mallopt")
    if function is not None:
        function(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def release_freed_memory() -> None:
    """Return the free pages of all of the allocator's arenas to the system.

    glibc keeps freed memory for later use, in an arena per thread: after large images hundreds of
    megabytes. `malloc_trim` takes some milliseconds.
    """
    function = _glibc("malloc_trim")
    if function is not None:
        function(0)


def _glibc(name: str) -> Any:
    """A function of glibc; None where there is none."""
    return c_function(name) if sys.platform == "linux" else None
