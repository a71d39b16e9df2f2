"""Let signals end a command in order, but never in the middle of an import.

A signal's exception can come out of any line. Out of the initialization of an extension module it
comes as an ImportError at best; at worst it leaves half of a module, which crashes the process
at its end. A signal that arrives during an import is therefore sent again a moment later.
"""

import _thread
import contextlib
import signal
import threading
import traceback
from types import FrameType

from sharpeye.errors import Stopped

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
_RETRY_SECONDS = 0.02


class Signalled(BaseException):
    """Ends the run from any line: no `except Exception` on the way out can swallow it."""

    def __init__(self, number: int) -> None:
        self.error = Stopped(number)


def stop_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP (on Windows SIGBREAK) raise `Signalled` in the main thread."""
    for number in _SIGNALS:
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        timer = threading.Timer(_RETRY_SECONDS, _signal_main_thread, (number,))
        timer.daemon = True
        timer.start()
        return
    # The first signal ends the run in order; another one must not interrupt the clean-up.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Signalled(number)


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # this also ends a blocking call such as a sleep
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def _is_importing(frame: FrameType | None) -> bool:
    frames = (frame for frame, _ in traceback.walk_stack(frame))
    return any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames)
