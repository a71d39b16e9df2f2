"""Signals end a command in order, but never in the middle of an import.

A signal's exception can come out of any line. Out of the initialization of an extension module it
comes as an ImportError at best; at worst, half of a module is left, which crashes the process
when it ends. So a signal that comes while something is imported comes again a moment later.
"""

import _thread
import contextlib
import signal
import threading
from types import FrameType

from sharpeye.errors import Stopped

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_IMPORTER = "<frozen importlib"
_AGAIN_SECONDS = 0.02


class Signalled(BaseException):
    """Ends the run from wherever it is: no `except Exception` on the way out can swallow it."""

    def __init__(self, number: int) -> None:
        self.stopped = Stopped(number)


def stop_on_signals() -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise `Signalled` in the main thread."""
    for name in _NAMES:
        if hasattr(signal, name):
            with contextlib.suppress(ValueError):  # not in the main thread: the caller's business
                signal.signal(getattr(signal, name), _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main, (number,))
        again.daemon = True
        again.start()
        return
    # The first signal ends the run in order; another one must not interrupt the clean-up.
    for name in _NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Signalled(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTER):
            return True
        frame = frame.f_back
    return False
