"""Start child processes, report their errors to the parent, and end them.

A child reports an error as the last line of its standard error and as its exit code; `child_error`
turns the two into the exception that the child raised.
"""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from sharpeye.errors import EnvironmentFault, ModelError, SharpEyeError, UsageError

# A child that was killed, or that failed before it could report, is the environment's fault.
_ERRORS: dict[int, type[SharpEyeError]] = {
    kind.exit_code: kind for kind in (UsageError, ModelError, EnvironmentFault)
}


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of SharpEye in a Python process of its own."""
    return [sys.executable, "-m", module, *arguments]


def run_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a module to its end and return what it wrote to standard output.

    `environment` holds variables to set beside those of this process. An exception of the child is
    raised here again: UsageError, ModelError or EnvironmentFault.
    """
    command, variables = module_command(module, *arguments), os.environ | dict(environment or {})
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise child_error(done.returncode, done.stderr)
    return done.stdout


def child_error(exit_code: int, errors: str) -> SharpEyeError:
    """The exception that a child raised; `errors` is what it wrote to standard error."""
    lines = errors.strip().splitlines() or [f"it ended with status {exit_code}"]
    return _ERRORS.get(exit_code, EnvironmentFault)(lines[-1].strip())


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_child(work: Callable[[], None], target: str, *, collect_garbage: bool = False) -> int:
    """Run the main function of a child, report an error to the parent, return the exit code.

    The child ends when its parent ends: a parent that is killed cannot stop its children.

    Args:
        target: the name of the child's output, for messages.
        collect_garbage: True for a long process; a short one is faster without garbage collection.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if not collect_garbage:  # TensorFlow makes millions of objects.
        gc.disable()
    try:
        work()
    except SharpEyeError as error:
        reported = error
    except OSError as error:
        reported = EnvironmentFault(f"cannot write {target}: {error.strerror or error}")
    else:
        return 0
    print(reported, file=sys.stderr)  # noqa: T201  The parent reads it.
    return reported.exit_code
