"""Print the commands' messages on stderr, one line each; data belongs to stdout."""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def print_next(*command: str | Path) -> None:
    """Print the command that a user may run next."""
    print(f"next: {show(command_line(*command))}")


def error(message: str) -> None:
    """Print an error on one line of stderr."""
    print(f"error: {show(message)}", file=sys.stderr)


class ProgressReporter:
    """Reports progress: a bar on a terminal, otherwise a line every ten seconds.

    As a context manager it yields a function of (stage, done, total); a total of 0 means unknown.

    Args:
        quiet: no bar and no plain lines.
        form: `auto`, or `jsonl`: JSON lines for the first and the last step of each stage, and at
            most four a second between them. Their `seconds` count from this object's creation.
    """

    _SECONDS_BETWEEN_LINES = 10.0
    _SECONDS_BETWEEN_RECORDS = 0.25
    _LOGGED_STAGES = ("epochs",)  # training logs a line for each epoch

    def __init__(self, *, quiet: bool = False, form: str = "auto") -> None:
        if form not in ("auto", "jsonl"):
            raise UsageError(f"--progress must be auto or jsonl. Received: {form}")
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._last, self._stage = 0.0, ""
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
        if self._writes_records:
            self._write_record(stage, done, total)
            return
        if stage != self._stage:
            self._last, self._stage = time.monotonic(), stage
        if self._terminal:
            self._update_bar(stage, done, total)
        elif time.monotonic() - self._last > self._SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            if not self._quiet and stage not in self._LOGGED_STAGES:
                print(f"{stage}: {done} of {total}", file=sys.stderr)

    def _write_record(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        is_first_or_last = stage != self._stage or done == total
        if is_first_or_last or now - self._last > self._SECONDS_BETWEEN_RECORDS:
            self._last, self._stage = now, stage
            seconds = round(now - self._started, 2)
            record = {"stage": stage, "done": done, "total": total, "seconds": seconds}
            print(json.dumps(record), file=sys.stderr)

    def _update_bar(self, stage: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total or None)
        self._bar.update(self._tasks[stage], completed=done, total=total or None)
