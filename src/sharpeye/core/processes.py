"""Start child processes, report their errors to the parent, and end them. No other module does.

A child is a module of SharpEye in a Python process. It never imports from the current folder, and
gets only those of Python's environment variables that say where its modules are. It reports an
error as the last line of its standard error and as its exit code; `child_error` turns the two into
the exception that the child raised.
"""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import IO, Any, cast

from sharpeye.core.import_path import safe_python_path
from sharpeye.core.standard_streams import prepare_streams
from sharpeye.errors import EnvironmentFault, ModelError, SharpEyeError, UsageError

ChildProcess = subprocess.Popen[bytes]

# A child that was killed, or that failed before it could report, is the environment's fault.
_ERRORS: dict[int, type[SharpEyeError]] = {
    kind.exit_code: kind for kind in (UsageError, ModelError, EnvironmentFault)
}
# Others would turn a child's warnings into errors, add to its output, or stop it at a prompt.
_PYTHON_VARIABLES = {
    "PYTHONCOERCECLOCALE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONUSERBASE",
    "PYTHONUTF8",
}
# They choose another Keras, its limits, another compiler, or a drawing surface that only the parent
# has.
_UNWANTED = {
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "MPLBACKEND",
    "TF_USE_LEGACY_KERAS",
    "TF_XLA_FLAGS",
}
# Keras imports those that are installed, for functions that no child needs: a fifth of its time.
_UNNEEDED_MODULES = ("IPython", "matplotlib", "sklearn")


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of SharpEye in a Python process of its own."""
    if not sys.executable:
        raise EnvironmentFault(
            "this Python does not know where its program is, and cannot start another; "
            "use the `sharpeye` command"
        )
    isolation = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment}
    flags = [flag for flag, is_set in isolation.items() if is_set]
    return [sys.executable, "-P", *flags, "-m", module, *arguments]


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: this process's without what would break it, and `more`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _UNWANTED and (name in _PYTHON_VARIABLES or not name.startswith("PYTHON"))
    }
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = safe_python_path(environment["PYTHONPATH"])
    # For processes that a library starts in the child.
    return environment | {"PYTHONSAFEPATH": "1"} | dict(more or {})


def start_module(
    module: str,
    *arguments: str,
    errors: IO[bytes],
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> ChildProcess:
    """Start a module whose standard error goes to a file, without waiting for it.

    Args:
        environment: variables to set beside those of this process.
        options: further arguments of `subprocess.Popen`.
    """
    encoding = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
    return subprocess.Popen(
        module_command(module, *arguments),
        env=child_environment(encoding | dict(environment or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        **options,
    )


def run_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a module to its end and return what it wrote to standard output.

    `environment` holds variables to set beside those of this process. An exception of the child is
    raised here again: UsageError, ModelError or EnvironmentFault.
    """
    done = subprocess.run(
        module_command(module, *arguments),
        env=child_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        error = child_error(done.returncode, done.stderr)
        if done.returncode < 0:  # Its last line, if any, is unrelated.
            name = signal.Signals(-done.returncode).name
            error = EnvironmentFault(
                f"a process that SharpEye started was killed by {name}, as the system does if "
                f"memory runs out; run it again. Its last line: {error}"
            )
        raise error
    return done.stdout


def new_process_group() -> dict[str, Any]:
    """Options of `start_module` that keep the terminal's Ctrl-C from a child."""
    if os.name == "posix":
        return {"process_group": 0}
    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def ends_within(process: ChildProcess, seconds: float) -> bool:
    """Wait for a child; returns whether it has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def child_error(exit_code: int, errors: str) -> SharpEyeError:
    """The exception that a child raised; `errors` is what it wrote to standard error."""
    lines = errors.strip().splitlines() or [f"it ended with status {exit_code}"]
    return _ERRORS.get(exit_code, EnvironmentFault)(lines[-1].strip())


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_child(
    work: Callable[[], None],
    target: str,
    *,
    collect_garbage: bool = False,
    any_module: bool = False,
) -> int:
    """Run the main function of a child, report an error to the parent, return the exit code.

    The child ends when its parent ends: a parent that is killed cannot stop its children.

    Args:
        target: the name of the child's output, for messages.
        collect_garbage: True for a long process; a short one is faster without garbage collection.
        any_module: whether modules can be imported that Keras would import in vain; True for own
            code of the user.
    """
    prepare_streams(encoding="utf-8")
    for name in () if any_module else _UNNEEDED_MODULES:
        sys.modules.setdefault(name, cast(ModuleType, None))  # An import of it fails.
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
