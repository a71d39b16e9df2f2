"""Keep files of the current folder from being imported: a downloaded data set may be there.

Python looks for modules in the current folder if it is started with `-m` or `-c`, and for each
relative or empty entry of PYTHONPATH. This module imports only what Python has loaded when it
starts, so that nothing is looked up before the current folder is off the path.
"""
# ruff: noqa: PTH100, PTH117, PTH120
# Python has not loaded pathlib yet.

import os
import sys

_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def leave_out_current_folder(*, is_module_run: bool) -> None:
    """Take the entries that depend on the current folder off `sys.path`.

    For the command line: in another program the path is that program's.

    Args:
        is_module_run: whether `python -m` has put the current folder first.
    """
    if is_module_run and not sys.flags.safe_path:
        del sys.path[:1]
    text = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    entries = text.split(os.pathsep) if text else []
    unsafe = {_absolute(entry) for entry in entries if not _is_safe(entry)}
    sys.path[:] = [path for path in sys.path if os.path.isabs(path) and path not in unsafe]


def safe_python_path(text: str) -> str:
    """A value of PYTHONPATH without the entries that depend on the current folder.

    The one that this package was imported from stays, as an absolute path.
    """
    return os.pathsep.join(_absolute(entry) for entry in text.split(os.pathsep) if _is_safe(entry))


def _is_safe(entry: str) -> bool:
    return os.path.isabs(entry) or (entry != "" and _absolute(entry) == _PACKAGE_PARENT)


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # The current folder is deleted.
        return path
