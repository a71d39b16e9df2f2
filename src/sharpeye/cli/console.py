"""Print the commands' messages on stderr, one line each; data belongs to stdout."""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sharpeye.core.formatting import NBSP, duration
from sharpeye.core.paths import command_line
from sharpeye.core.terminal import show as show
from sharpeye.errors import UsageError

_LOG = logging.getLogger("sharpeye")


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return level + show(record.getMessage())


def start_logging(*, quiet: bool = False, verbose: bool = False) -> None:
    """Send the library's messages to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    _LOG.handlers[:] = [handler]
    _LOG.propagate = False
    _LOG.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def print_result(line: str, *, flush: bool = False) -> None:
    """Print a line about a result for people, unless the command is to be quiet."""
    if not _LOG.handlers or _LOG.isEnabledFor(logging.INFO):
        print(line, flush=flush)


def print_next(*command: str | Path) -> None:
    """Print the command that a user may run next."""
    print_result(f"next: {show(command_line(*command))}")


def error(message: str) -> None:
    """Print an error on one line of stderr."""
    print(f"error: {show(message)}", file=sys.stderr)


class ProgressReporter:
    """Reports progress: a bar on a terminal, otherwise a line every ten seconds.

    As a context manager it yields a function of (stage, done, total); a total of 0 means unknown.

    Args:
        quiet: no bar and no plain lines.
        form: `auto`, or `jsonl`: JSON lines for the first and the last step of each stage, and at
            most four a second between them. Their `seconds` count from this object's creation;
            `per_second` and `left`, seconds until the stage's end, are null until they are known.
    """

    _SECONDS_BETWEEN_LINES = 10.0
    _SECONDS_BETWEEN_RECORDS = 0.25

    def __init__(self, *, quiet: bool = False, form: str = "auto") -> None:
        if form not in ("auto", "jsonl"):
            raise UsageError(f"--progress must be auto or jsonl. Received: {form}")
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._stage = ""
        self._last = self._stage_begin = 0.0
        self._first_done = 0
        self._writes_records, self._started = form == "jsonl", time.monotonic()
        self._quiet, self._is_broken = quiet, False
        self._terminal = sys.stderr.isatty() and not quiet

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._report

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _report(self, stage: str, done: int, total: int) -> None:
        if not self._is_broken:
            try:
                self._show(stage, done, total)
            except OSError:  # The reader or the terminal has gone; the work goes on.
                self._is_broken = True

    def _show(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        begins = stage != self._stage
        if begins:
            self._stage, self._stage_begin, self._first_done = stage, now, done
            self._last = now
        rate = self._rate(now, done)
        if self._writes_records:
            if begins or done == total or now - self._last > self._SECONDS_BETWEEN_RECORDS:
                self._last = now
                self._write_record(now, done, total, rate)
        elif self._terminal:
            self._update_bar(done, total, rate)
        elif not self._quiet and now - self._last > self._SECONDS_BETWEEN_LINES:
            self._last = now
            left = f", {self._left(done, total, rate)} left" if total and rate else ""
            of_total = f" of {total}" if total else ""
            speed = f", {_format_rate(rate)}" if rate else ""
            print(f"{stage}: {done}{of_total}{speed}{left}", file=sys.stderr)

    def _rate(self, now: float, done: int) -> float | None:
        """How many a second since the stage began; None if that is not known yet."""
        seconds, count = now - self._stage_begin, done - self._first_done
        return count / seconds if seconds > 0 and count > 0 else None

    @staticmethod
    def _left(done: int, total: int, rate: float) -> str:
        return duration((total - done) / rate).replace(NBSP, " ")

    def _write_record(self, now: float, done: int, total: int, rate: float | None) -> None:
        record = {
            "stage": self._stage,
            "done": done,
            "total": total,
            "seconds": round(now - self._started, 2),
            "per_second": round(rate, 1) if rate else None,
            "left": round((total - done) / rate, 1) if rate and total else None,
        }
        print(json.dumps(record), file=sys.stderr)

    def _update_bar(self, done: int, total: int, rate: float | None) -> None:
        if self._bar is None:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        if self._stage not in self._tasks:
            self._tasks[self._stage] = self._bar.add_task(self._stage, total=total or None, rate="")
        shown = _format_rate(rate) if rate else ""
        task = self._tasks[self._stage]
        self._bar.update(task, completed=done, total=total or None, rate=shown)


def _format_rate(rate: float) -> str:
    return f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.2g} a second"
