"""Run SharpEye's commands as processes of their own, with a time limit and measurements."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from battery.tally import HangError, LossError, TracebackError
from runner import command, environment, tree

# Exit codes of docs/exit-codes.md; a process that SharpEye stopped for a signal has 128 and more.
DOCUMENTED_CODES = frozenset({0, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143})


@dataclass(frozen=True)
class EndedProcess:
    """What a process left: exit code, both streams, and what it used.

    Attributes:
        cpu_seconds: user and system time of the process and of its waited-for children.
        peak_bytes: the largest resident set of the process itself.
    """

    arguments: Sequence[str]
    code: int
    out: str
    err: str
    cpu_seconds: float
    peak_bytes: int

    def check(self, codes: Collection[int] = DOCUMENTED_CODES) -> "EndedProcess":
        """Fail after a traceback, a crash, or an exit code that is not among `codes`."""
        both = f"{' '.join(self.arguments)}: exit code {self.code}\n{self.out}{self.err}"
        if "Traceback (most recent call last)" in both or self.code == 1 or self.code < 0:
            raise TracebackError(both[-2000:])
        assert self.code in codes, f"expected one of {sorted(codes)}: {both[-2000:]}"
        return self


def run_command(
    *arguments: str | Path,
    cache: Path,
    timeout: float = 120,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
) -> EndedProcess:
    """Run one `sharpeye` command to its end.

    Raises:
        HangError: it did not end within `timeout` seconds; it and its children are killed.
    """
    return run_process(
        command(*arguments),
        env={**environment(cache), **(env or {})},
        timeout=timeout,
        cwd=cwd,
        preexec=preexec,
    )


def run_process(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float,
    cwd: Path | None = None,
    preexec: Callable[[], None] | None = None,
) -> EndedProcess:
    """Run any process to its end; see `run_command`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            arguments,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            preexec_fn=preexec,
            start_new_session=True,
        )
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, expire)
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)  # It is no longer waited for.
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if expired.is_set():
        raise HangError(f"{' '.join(arguments)} runs after {timeout} s: {texts[1][-500:]}")
    return EndedProcess(
        arguments,
        process.returncode,
        *texts,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=_bytes(used),
    )


def _bytes(used: resource.struct_rusage) -> int:
    # Linux gives KiB, macOS bytes.
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check_unchanged(folder: Path, before: Mapping[str, str]) -> None:
    """Fail unless a folder is as `runner.tree` saw it before: same files, modes and content."""
    after = tree(folder)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        raise LossError(f"{folder} has changed: {changed[:10]}")
