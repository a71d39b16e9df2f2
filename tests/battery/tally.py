"""Count the cases of a program of the battery, and go on after a case that failed."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TIERS = ("small", "battery", "full")
# A test fails with so many of its failures in full; the others are counted.
_MAX_LISTED = 20


class LossError(AssertionError):
    """Data of a user, an earlier output, or a completed step of work is gone or was changed."""


class HangError(AssertionError):
    """A command or a request did not end within its time limit."""


class TracebackError(AssertionError):
    """A traceback, exit code 1, or a crash by a signal that nobody sent."""


@dataclass(frozen=True)
class Tier:
    """How much of the battery is run: `small` in `make test`, `battery`, or `full`."""

    name: str

    def count(self, small: int, battery: int, full: int) -> int:
        """The number of cases of this tier."""
        return {"small": small, "battery": battery, "full": full}[self.name]

    def fuzz_seconds(self) -> int:
        """Seconds for each fuzz target; 0 in the small tier, which only replays the corpus."""
        return {"small": 0, "battery": 60, "full": 1800}[self.name]


@dataclass
class Tally:
    """The figures of one program: a row of the table in docs/reliability.md.

    Attributes:
        title: the first line of the test's docstring.
        figures: further measurements for the last column, for example `{"p99": "12 ms"}`.
    """

    title: str
    tried: int = 0
    passed: int = 0
    skipped: int = 0
    failures: list[tuple[str, BaseException]] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Count one case; a failed assertion or a time limit is recorded, and the next case runs.

        Any other exception is a fault of SharpEye in this process, and counts as a traceback.
        """
        self.tried += 1
        try:
            yield
        except AssertionError as error:
            self.failures.append((name, error))
        except subprocess.TimeoutExpired as error:
            self.failures.append((name, HangError(str(error))))
        except Exception as error:
            self.failures.append((name, TracebackError(f"{type(error).__name__}: {error}")))
        else:
            self.passed += 1

    def break_off(self, error: BaseException) -> None:
        """Count what ended the program outside of its cases as a case that failed."""
        if not isinstance(error, Exception):  # pytest's own, such as a time limit
            error = HangError(str(error)) if "Timeout" in str(error) else AssertionError(str(error))
        with self.case("outside of the cases"):
            raise error

    def skip(self, cases: int = 1) -> None:
        """Count cases that this machine cannot run, for example without root."""
        self.skipped += cases

    def kinds(self) -> dict[str, int]:
        """Numbers of tracebacks, losses, hangs and other failures."""
        counts = {"tracebacks": 0, "losses": 0, "hangs": 0, "others": 0}
        names = {TracebackError: "tracebacks", LossError: "losses", HangError: "hangs"}
        for _, error in self.failures:
            counts[names.get(type(error), "others")] += 1  # type: ignore[call-overload]
        return counts

    def row(self, seconds: float) -> dict[str, Any]:
        return {
            "program": self.title,
            "tried": self.tried,
            "passed": self.passed,
            "skipped": self.skipped,
            **self.kinds(),
            "seconds": round(seconds, 1),
            "figures": self.figures,
        }

    def text(self) -> str:
        """The failures, one a line, the first in full."""
        lines = [f"{name}: {type(error).__name__}: {error}" for name, error in self.failures]
        hidden = len(lines) - _MAX_LISTED
        more = [f"... and {hidden} more"] if hidden > 0 else []
        return "\n".join([f"{self.passed} of {self.tried} passed", *lines[:_MAX_LISTED], *more])
