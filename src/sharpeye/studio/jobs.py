"""Work that takes long, in processes of its own: what it has said so far, its end, and stopping it.

Each is a command of SharpEye's, so that TensorFlow is never loaded here, and what the studio trains
is what the command line trains. Output goes to a file without a name: nobody has to read it in
time, and a studio that is killed does not break the training that it began.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

from sharpeye.errors import BusyError, Stopped

State = Literal["running", "stopping", "done", "stopped", "failed"]

_MAX_MESSAGES = 200
# In which a command that was asked to stop ends in order; at the studio's end, it is killed then.
_ENOUGH = 20.0
_OWN_GROUP: dict[str, Any] = (
    {"process_group": 0}
    if os.name == "posix"
    else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
)


class Command:
    """One command as a process of its own, in a process group of its own. Safe from any thread.

    Args:
        arguments: as after `sharpeye` on the command line; the command must know `--progress`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.began = time.time()
        self._started = time.monotonic()
        self._seconds: float | None = None  # once it has ended
        self._lock = threading.Lock()
        self._asked_to_stop = 0.0
        self._heard = _Heard()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when it has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sharpeye", *arguments, "--progress", "jsonl"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._output,
            **_OWN_GROUP,
        )

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.state in ("running", "stopping")

    @property
    def state(self) -> State:
        with self._lock:
            return self._look()

    def told(self) -> dict[str, Any]:
        """What is known of it, as JSON has it.

        Returns:
            `state`, `seconds` since it began (at most until its end), `stage`, `done`, `total` and
            `left` (seconds, of this stage; None if unknown), `messages` (the latest last), `error`.
        """
        with self._lock:
            state = self._look()
            seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
            return {
                "state": state,
                "began": self.began,
                "seconds": round(seconds, 1),
                "error": self._error() if state == "failed" else None,
                **self._heard.to_dict(),
            }

    def stop(self) -> None:
        """Ask it to end in order; asked again after `_ENOUGH` seconds, it is killed."""
        with self._lock:
            if self._look() not in ("running", "stopping"):
                return
            if self._asked_to_stop and time.monotonic() - self._asked_to_stop > _ENOUGH:
                _signal(self._process, kill=True)
                return
            if not self._asked_to_stop:
                self._asked_to_stop = time.monotonic()
                _signal(self._process)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it goes on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.running

    def close(self) -> None:
        """Make an end of it, in order if that is possible."""
        self.stop()
        if not self.wait(_ENOUGH):
            _signal(self._process, kill=True)
            self.wait(_ENOUGH)

    def _look(self) -> State:
        code = self._process.poll()
        while not self._output.closed and (data := _read_from(self._output, self._heard.read)):
            self._heard.more(data)
        if code is None:
            return "stopping" if self._asked_to_stop else "running"
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
            self._heard.end()
            self._output.close()
        if code == 0:
            return "done"
        by_signal = code in (Stopped(signal.SIGINT).exit_code, Stopped(signal.SIGTERM).exit_code)
        return "stopped" if self._asked_to_stop or by_signal else "failed"

    def _error(self) -> str:
        """The one line that the command line says."""
        if self._heard.error:
            return self._heard.error
        code = self._process.returncode
        if code == -signal.SIGTERM or code == -getattr(signal, "SIGKILL", 9):
            return (
                "the system ended it, most likely because memory ran out; close other programs, "
                "or choose a smaller model"
            )
        said = self._heard.messages[-1] if self._heard.messages else "it said nothing"
        return f"it ended with status {code}: {said}"


class _Heard:
    """What a command's output has said so far."""

    def __init__(self) -> None:
        self.read = 0  # bytes
        self.messages: list[str] = []
        self.error = ""
        self._rest = b""
        self._first: dict[str, Any] | None = None  # of this stage
        self._last: dict[str, Any] | None = None

    def more(self, data: bytes) -> None:
        self.read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace").strip())

    def end(self) -> None:
        """There will be no more: what has no line's end is a line too."""
        self._line(self._rest.decode("utf-8", "replace").strip())
        self._rest = b""

    def _line(self, line: str) -> None:
        record = _record(line)
        if record is not None:
            if self._last is None or record["stage"] != self._last["stage"]:
                self._first = record
            self._last = record
        elif line.startswith("error: "):
            self.error = line.removeprefix("error: ")
        elif line:
            self.messages.append(line)
            del self.messages[:-_MAX_MESSAGES]

    def to_dict(self) -> dict[str, Any]:
        last = self._last or {"stage": "", "done": 0, "total": 0}
        return {
            "stage": last["stage"],
            "done": last["done"],
            "total": last["total"],
            "left": self._left(),
            "messages": list(self.messages),
        }

    def _left(self) -> float | None:
        """Seconds until the end of this stage, if it goes on as it did so far."""
        if self._first is None or self._last is None:
            return None
        done = int(self._last["done"]) - int(self._first["done"])
        seconds = float(self._last["seconds"]) - float(self._first["seconds"])
        if done <= 0:
            return None
        return round(seconds / done * (int(self._last["total"]) - int(self._last["done"])), 1)


def _record(line: str) -> dict[str, Any] | None:
    """A line of progress (see `cli.console.Progress`); None if it is a message."""
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    kinds: dict[str, Any] = {"stage": str, "done": int, "total": int, "seconds": (int, float)}
    known = isinstance(record, dict) and record.keys() == kinds.keys()
    return record if known and all(isinstance(record[k], kinds[k]) for k in kinds) else None


def _read_from(file: IO[bytes], place: int) -> bytes:
    """Some of what is there, leaving alone where the child, which shares it, will write next."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), 2**20, place)
    file.seek(place)
    data = file.read(2**20)
    file.seek(0, os.SEEK_END)
    return data


def _signal(process: "subprocess.Popen[bytes]", *, kill: bool = False) -> None:
    """SIGINT, or an end at once, to the process and all that it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGINT)
        elif kill:
            process.kill()
        else:
            process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))


class Jobs:
    """The studio's commands, at most one of a kind at a time.

    Use `close` when the studio ends: what was begun is stopped in order, and kept as Ctrl-C keeps
    it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commands: dict[str, tuple[str, Command]] = {}
        self._results = tempfile.TemporaryDirectory(prefix="sharpeye-studio-")

    def results(self, kind: str) -> Path:
        """A folder for what commands of a kind write, which is gone with the studio."""
        return Path(self._results.name) / kind

    def start(self, kind: str, about: str, arguments: Sequence[str]) -> None:
        """Begin a command.

        Args:
            kind: such as `train`.
            about: what it works on, such as the run's name.
            arguments: see `Command`.

        Raises:
            BusyError: one of this kind is running.
        """
        with self._lock:
            running = self._commands.get(kind)
            if running is not None and running[1].running:
                raise BusyError(f"{running[0]} is still being worked on; wait for it, or stop it")
            self._commands[kind] = (about, Command(arguments))

    def told(self, kind: str) -> dict[str, Any] | None:
        """See `Command.told`, and `about`; None if nothing of this kind was begun."""
        known = self._commands.get(kind)
        return None if known is None else {"about": known[0], **known[1].told()}

    def running(self, kind: str) -> str | None:
        """What a running command of this kind works on."""
        known = self._commands.get(kind)
        return known[0] if known is not None and known[1].running else None

    def stop(self, kind: str) -> None:
        """See `Command.stop`."""
        known = self._commands.get(kind)
        if known is not None:
            known[1].stop()

    def wait(self, kind: str, seconds: float) -> bool:
        """See `Command.wait`; True if there is nothing to wait for."""
        known = self._commands.get(kind)
        return known is None or known[1].wait(seconds)

    def forget(self, kind: str) -> None:
        """Say no more of a command that has ended."""
        with self._lock:
            known = self._commands.get(kind)
            if known is not None and not known[1].running:
                del self._commands[kind]

    def close(self) -> None:
        """End all of them."""
        for _, command in list(self._commands.values()):
            command.stop()
        for _, command in list(self._commands.values()):
            command.close()
        self._results.cleanup()
