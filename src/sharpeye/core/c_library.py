"""Find functions of the C library that Python does not offer."""

import contextlib
import os
from functools import cache
from typing import Any


@cache
def c_function(name: str) -> Any:
    """A function, which sets `ctypes.get_errno()`; None where the system has none of that name."""
    if os.name != "posix":
        return None
    import ctypes  # Few processes need it.

    with contextlib.suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    return None
