"""Let signals end a command with clean-up, but never in the middle of an import.

Any line can raise a signal's exception. In the initialization of an extension module it becomes an
ImportError at best; at worst it leaves an incomplete module, which crashes the process at exit. A
signal that arrives during an import is therefore sent again a moment later.
"""

import _thread
import contextlib
import os
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
    """Ends the run at any line: it is a BaseException, which `except Exception` does not catch."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.error = Stopped(number)


def stop_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP (on Windows SIGBREAK) raise `Signalled` in the main thread.

    A signal that the caller lets us ignore stays ignored: `nohup` does so with SIGHUP, and a shell
    with the SIGINT of a command in its background.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            signal.signal(number, _stop)


def exit_on_signals() -> None:
    """Let these signals end the process at once, with their exit code and without a traceback.

    For the imports before `stop_on_signals`, when there is nothing to clean up yet.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))


def ignore_signals() -> None:
    """Let none of these signals disturb the clean-up, or the end of the process."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        timer = threading.Timer(_RETRY_SECONDS, _signal_main_thread, (number,))
        timer.daemon = True
        timer.start()
        return
    ignore_signals()  # The first signal starts the clean-up; another one must not interrupt it.
    raise Signalled(number)


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # this also ends a blocking call such as a sleep
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def _is_importing(frame: FrameType | None) -> bool:
    frames = (frame for frame, _ in traceback.walk_stack(frame))
    return any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames)
