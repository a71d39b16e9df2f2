"""For programs that SharpEye starts as processes of their own."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable

from sharpeye.errors import EnvironmentFault, SharpEyeError


def end_with_parent() -> None:
    """Do not outlive the process that started this one: a killed one cannot stop its children."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work_for_parent(work: Callable[[], None], writes: str) -> int:
    """The whole of a short child process: what goes wrong is the last line of its stderr.

    Args:
        writes: how a line calls what is written.

    Returns:
        the exit code.
    """
    end_with_parent()
    gc.disable()  # TensorFlow makes millions of objects, and this process is short
    try:
        work()
    except SharpEyeError as error:
        fault = error
    except OSError as error:
        fault = EnvironmentFault(f"cannot write {writes}: {error.strerror or error}")
    else:
        return 0
    print(fault, file=sys.stderr)  # noqa: T201  the parent reads it
    return fault.exit_code
