"""Every error that SharpEye raises on purpose.

    SharpEyeError                       exit code
    ├── UsageError                      2
    │   └── ConfigError                 2
    ├── DataError                       3
    │   ├── ImageReadError              3
    │   └── AnnotationError             3
    ├── ModelError                      4
    ├── EnvironmentFault                5
    │   └── MissingExtra                5
    ├── BusyError                       6
    ├── NetworkError                    7
    ├── DivergedError                   8
    ├── GateError                       9
    └── Stopped                         130 / 143    after SIGINT / SIGTERM, resumable; SIGHUP: 129

A message says on one line what is required, what is allowed, what was received and what to do.
`sharpeye.cli` is the only place where an error becomes a message and an exit code.
"""

import difflib
import re
from collections.abc import Iterable

# Where `str.splitlines` ends a line.
_LINE_ENDS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def escape_line_ends(message: str) -> str:
    """A message on one line, also where a name in it holds the end of one."""
    return _LINE_ENDS.sub(lambda end: end[0].encode("unicode_escape").decode(), message)


class SharpEyeError(Exception):
    """Base of all errors below."""

    exit_code = 1

    def __str__(self) -> str:
        return escape_line_ends(super().__str__())


class UsageError(SharpEyeError, ValueError):
    """An option or argument is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A knob is unknown, has the wrong type or is out of its range."""


class DataError(SharpEyeError, ValueError):
    """The data are missing, bad, or too few."""

    exit_code = 3


class ImageReadError(DataError):
    """One image cannot be read. `reason` is the part that goes into `quarantine.csv`.

    `transient` says that the image may be good and the attempt failed for a passing reason: it took
    too long on a busy machine, or the file was being written. Such a file is never moved away.
    """

    def __init__(self, path: str, reason: str, *, transient: bool = False) -> None:
        self.path, self.reason, self.transient = path, reason, transient
        super().__init__(f"cannot read {path}: {reason}")


class AnnotationError(DataError):
    """One Pascal VOC file cannot be used. `reason` is the part that goes into `quarantine.csv`."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"cannot use the annotation {path}: {reason}")


class ModelError(SharpEyeError, ValueError):
    """A model, bundle or archive is rejected."""

    exit_code = 4


class EnvironmentFault(SharpEyeError):
    """The machine lacks something: disk space, a permission, memory, a component."""

    exit_code = 5


class MissingExtra(EnvironmentFault):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; "
            f"run: pip install 'sharpeye[{extra}]'"
        )


class BusyError(SharpEyeError):
    """Another process holds a lock that this one needs."""

    exit_code = 6


class NetworkError(SharpEyeError):
    """A download failed."""

    exit_code = 7


class DivergedError(SharpEyeError):
    """Training ended without a usable result."""

    exit_code = 8


class GateError(SharpEyeError):
    """The model was trained, but misses the required accuracy."""

    exit_code = 9


class Stopped(SharpEyeError):
    """A signal asked the run to stop; `exit_code` is 128 + the signal's number."""

    def __init__(
        self,
        signal_number: int,
        advice: str = "what was computed is kept: run the same command again to go on",
    ) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(f"stopped; {advice}")


def near_match(received: str, allowed: Iterable[str]) -> str:
    """A sentence that names the most similar allowed value, or else lists all of them."""
    names = list(allowed)
    close = difflib.get_close_matches(received, names, n=1)
    return f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(names)}."


def one_line(text: object, max_characters: int | None = 200) -> str:
    """The message of another library's error, on one line and cut to so many characters."""
    return " ".join(str(text).split())[:max_characters]
