"""Run SharpEye's own commands in the background, report their progress, and stop them.

Each command is a separate process, so the studio never loads TensorFlow, and trains exactly like
the command line. Output goes to an unnamed file: it needs no reader in time, and a training
survives if its studio is killed.
"""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from sharpeye.core.processes import ChildProcess, ends_within, new_process_group, start_module
from sharpeye.core.temporaries import temporary_folder
from sharpeye.errors import BusyError, Stopped
from sharpeye.studio.command_output import CommandOutput

# Seconds for a command to end properly. After that it is killed at the studio's end, or on a second
# request to stop.
_STOP_SECONDS = 20.0


class BackgroundCommand:
    """One command in a process and a process group of its own. Safe from any thread.

    Args:
        subject: what the command works on, such as a run's name.
        arguments: as after `sharpeye` on the command line; the command must know `--progress`.
    """

    def __init__(self, subject: str, arguments: Sequence[str]) -> None:
        self.subject = subject
        self._began = time.time()
        self._began_monotonic = time.monotonic()
        self._seconds: float | None = None  # The duration, once the process has ended.
        self._lock = threading.Lock()
        self._stop_requested_at = 0.0  # Monotonic time of the request to stop; 0 without one.
        self._output = CommandOutput()
        self._output_file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  See `_update`.
        self._process = start_module(
            "sharpeye",
            *arguments,
            "--progress",
            "jsonl",
            errors=self._output_file,
            **new_process_group(),
        )

    @property
    def is_running(self) -> bool:
        with self._lock:
            return self._update() in ("running", "stopping")

    def status(self) -> dict[str, Any]:
        """The status as a JSON-ready dict.

        Returns:
            `about` (the subject), `state`, `began` (seconds since 1970), `seconds` from then until
            now or its end, `error`, and what `CommandOutput.to_dict` returns.
        """
        with self._lock:
            state = self._update()
            seconds = self._seconds or time.monotonic() - self._began_monotonic
            return {
                "about": self.subject,
                "state": state,
                "began": self._began,
                "seconds": round(seconds, 1),
                "error": self._error() if state == "failed" else None,
                **self._output.to_dict(),
            }

    def stop(self) -> None:
        """Ask the command to end properly; if called again after `_STOP_SECONDS`, kill it."""
        with self._lock:
            if self._update() not in ("running", "stopping"):
                return
            if not self._stop_requested_at:
                self._stop_requested_at = time.monotonic()
                _send_signal(self._process)
            elif time.monotonic() - self._stop_requested_at > _STOP_SECONDS:
                _send_signal(self._process, kill=True)

    def close(self) -> None:
        """End the command, properly if possible."""
        self.stop()
        for _ in range(2):
            ends_within(self._process, _STOP_SECONDS)
            if not self.is_running:
                return
            _send_signal(self._process, kill=True)

    def _update(self) -> str:
        """Read new output, under the lock; returns running, stopping, done, stopped or failed."""
        exit_code = self._process.poll()
        while not self._output_file.closed and (
            data := _read_at(self._output_file, self._output.bytes_read)
        ):
            self._output.feed(data)
        if exit_code is None:
            return "stopping" if self._stop_requested_at else "running"
        if self._seconds is None:
            self._seconds = time.monotonic() - self._began_monotonic
            self._output.finish()
            self._output_file.close()
        if exit_code == 0:
            return "done"
        by_signal = exit_code in (Stopped(n).exit_code for n in (signal.SIGINT, signal.SIGTERM))
        return "stopped" if self._stop_requested_at or by_signal else "failed"

    def _error(self) -> str:
        """The error message of the command line, in one line."""
        if self._output.error:
            return self._output.error
        exit_code = self._process.returncode
        if exit_code in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9)):
            return (
                "the system ended it, most likely because memory ran out; close other programs, "
                "or choose a smaller model"
            )
        messages = self._output.messages or ["it said nothing"]
        return f"it ended with status {exit_code}: {messages[-1]}"


def _read_at(file: IO[bytes], position: int) -> bytes:
    """Some bytes from a position, without moving the child's write position."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), 2**20, position)
    file.seek(position)
    data = file.read(2**20)
    file.seek(0, os.SEEK_END)
    return data


def _send_signal(process: ChildProcess, *, kill: bool = False) -> None:
    """Send SIGTERM, or SIGKILL, to the process and all its children.

    Not SIGINT: a studio that a shell started in the background ignores it, and so do its children.
    """
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        elif kill:
            process.kill()
        else:
            process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))


class BackgroundJobs:
    """The studio's commands, at most one of each kind at a time.

    A kind is a word such as `train`. `close` stops the running ones like Ctrl-C: their results so
    far are kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, BackgroundCommand] = {}
        self._output_root: Path | None = None
        self._folders = contextlib.ExitStack()

    def output_folder(self, kind: str) -> Path:
        """A folder for the output of commands of a kind; it is deleted when the studio ends, or, if
        that is killed, by a later one.
        """
        with self._lock:
            if self._output_root is None:
                self._output_root = self._folders.enter_context(temporary_folder())
            return self._output_root / kind

    def start(self, kind: str, subject: str, arguments: Sequence[str]) -> None:
        """Start a `BackgroundCommand`.

        Raises:
            BusyError: a command of this kind is running.
        """
        with self._lock:
            running = self.running_subject(kind)
            if running is not None:
                raise BusyError(f"{running} is still being worked on; wait for it, or stop it")
            self._jobs[kind] = BackgroundCommand(subject, arguments)

    def status(self, kind: str) -> dict[str, Any] | None:
        """See `BackgroundCommand.status`; None if there was no job."""
        job = self._jobs.get(kind)
        return None if job is None else job.status()

    def running_subject(self, kind: str) -> str | None:
        """The subject of the running command of this kind; None if none runs."""
        job = self._jobs.get(kind)
        return job.subject if job is not None and job.is_running else None

    def stop(self, kind: str) -> None:
        """See `BackgroundCommand.stop`."""
        job = self._jobs.get(kind)
        if job is not None:
            job.stop()

    def close(self) -> None:
        """End all commands."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        for job in jobs:
            job.close()
        self._folders.close()
