"""Run the command line; this module turns errors into messages and exit codes."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import typer

from sharpeye.cli import console
from sharpeye.cli.signals import Signalled, stop_on_signals
from sharpeye.core.paths import expand_homes
from sharpeye.core.standard_streams import discard_output, prepare_streams
from sharpeye.core.storage import explain_os_error
from sharpeye.core.version import __version__
from sharpeye.errors import EnvironmentFault, SharpEyeError, Stopped, UsageError, near_match

# Each command has a module of its name, which is imported only when the command is called.
COMMANDS = {
    "check": "find duplicates, leaks, wrong labels and broken files",
    "relabel": "move images to the classes that a table names",
    "train": "train a classifier on a folder of images",
    "evaluate": "score a model on labelled images",
    "compare": "compare runs on the same test images",
    "sweep": "train a network with many settings and rank them",
    "predict": "classify images, and locate objects in them",
    "export": "convert a model to ONNX, TensorFlow, LiteRT or OpenVINO",
    "serve": "serve a model over HTTP",
    "studio": "collect, label, train and test in a browser",
    "label": "draw boxes on images in a browser",
    "models": "list the networks that can be trained",
    "sample": "write a sample data set as a folder of images",
    "fetch": "download a data set as a folder of images",
    "collect": "add images to a class folder",
    "augment": "write transformed copies of images, with their boxes",
    "retrain": "train with the flags of TensorFlow-for-Poets' retrain.py",
    "label-image": "classify with the flags of TensorFlow-for-Poets' label_image.py",
    "cache": "show or clear the cache",
    "doctor": "check this machine and the installed packages",
}

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EINVAL)


def overview() -> str:
    """The text of `sharpeye --help`."""
    commands = "\n".join(f"  {name:13}{text}" for name, text in COMMANDS.items())
    return f"""\
usage: sharpeye COMMAND ...

Turn a folder of images into an image classifier that you can trust and ship.

{commands}

sharpeye COMMAND --help shows a command's options; sharpeye --version prints the version.
Start with:  sharpeye sample digits digits/  and  sharpeye train digits/"""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (see `sharpeye.errors`)."""
    prepare_streams()
    stop_on_signals()
    try:
        exit_code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except Signalled as signalled:  # while the error of the command was reported
        exit_code = _fail(str(signalled.error), signalled.error.exit_code)
    try:
        sys.stdout.flush()
    except OSError:  # An error has been reported already.
        discard_output(sys.stdout)
    return exit_code


def _run(arguments: list[str]) -> int:
    """Run a command, and report its error."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, as in `sharpeye predict ... | head`, has closed the pipe
        discard_output(sys.stdout)
        return 0
    except SharpEyeError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _fail(error.format_message(), 2)
    except Signalled as signalled:
        return _fail(str(signalled.error), signalled.error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(str(Stopped(signal.SIGINT)), 128 + signal.SIGINT)
    except MemoryError:
        return _fail("out of memory; close other programs, or use a machine with more", 5)
    except OSError as error:
        fault = _explain(error)
        return _fail(str(fault), fault.exit_code)


def _dispatch(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    rest = [expand_homes(argument) for argument in rest]
    if name in ("--help", "-h", "help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"sharpeye {__version__}")
        return 0
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name}. {near_match(name, COMMANDS)}")
    app: typer.Typer = import_module(f"sharpeye.cli.{name.replace('-', '_')}").app
    command = typer.main.get_command(app)
    command.context_settings.setdefault("help_option_names", ["--help", "-h"])
    try:  # not `command.main`: it would turn a closed pipe into exit code 1
        with command.make_context(f"sharpeye {name}", rest) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    return 0


def _explain(error: OSError) -> EnvironmentFault:
    if error.filename is not None:
        # What writes files reports its errors itself: a denied permission is mostly that to read.
        action = "write" if error.errno in (*_WRITE_ERRORS, errno.EROFS) else "open"
        return explain_os_error(error, Path(os.fsdecode(error.filename)), action)
    if error.errno in _WRITE_ERRORS:  # the standard output, as files have names
        return explain_os_error(error, Path("to the standard output"))
    if isinstance(error, FileNotFoundError) and not _has_current_folder():
        return EnvironmentFault("the current folder does not exist any more; change to another one")
    return EnvironmentFault(f"the operating system refused: {error.strerror or error}")


def _has_current_folder() -> bool:
    try:
        return Path.cwd().is_dir()
    except OSError:
        return False


def _fail(message: str, exit_code: int) -> int:
    with contextlib.suppress(OSError):  # The exit code is all that can be reported.
        console.error(message)
    return exit_code
