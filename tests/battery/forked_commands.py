"""Start SharpEye's commands by a `fork_server`, signal or kill them, and wait for their ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from battery.processes import EndedProcess
from battery.tally import HangError
from runner import environment


@dataclass(frozen=True)
class CallPoint:
    """Count a command's calls below `folders`, and kill it at call number `kill_at`, if not 0."""

    folders: tuple[Path, ...]
    report: Path
    saved: Path
    kill_at: int = 0


@dataclass
class ForkedCommand:
    """One command that runs.

    Attributes:
        pid: of the process, which leads a session of its own: its children are in it.
    """

    arguments: tuple[str, ...]
    pid: int
    _server: "ForkServer"
    _out: Any
    _err: Any
    started: float = field(default_factory=time.perf_counter)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> EndedProcess:
        """Wait for the end; HangError after `timeout` seconds, and the session is killed."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            kill_session(self.pid)

        timer = threading.Timer(timeout, expire)
        timer.start()
        try:
            code, cpu_seconds, peak = self._server.read_line()
        finally:
            timer.cancel()
        texts = []
        for stream in (self._out, self._err):
            with stream:
                texts.append(Path(stream.name).read_text(errors="replace"))
        if expired.is_set():
            raise HangError(f"{' '.join(self.arguments)} runs after {timeout} s: {texts[1][-500:]}")
        return EndedProcess(
            self.arguments, code, *texts, cpu_seconds=cpu_seconds, peak_bytes=peak * 1024
        )


class ForkServer:
    """Runs one command at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(
        self,
        *arguments: str | Path,
        cache: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        calls: CallPoint | None = None,
        limits: Mapping[str, int] | None = None,
        cores: Collection[int] = (),
    ) -> ForkedCommand:
        """Start a command.

        Args:
            calls: see `CallPoint`.
            limits: resource limits by name, such as `RLIMIT_NOFILE`.
            cores: the numbers of the only cores that it may use.
        """
        out, err = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115
        words = tuple(map(str, arguments))
        request = {
            "arguments": words,
            "cwd": str(cwd),
            "env": {"SHARPEYE_CACHE": str(cache), **(env or {})},
            "out": out.name,
            "err": err.name,
            "limits": dict(limits or {}),
            "cores": list(cores),
            "calls": None
            if calls is None
            else {
                "folders": [str(folder) for folder in calls.folders],
                "report": str(calls.report),
                "saved": str(calls.saved),
                "kill_at": calls.kill_at,
            },
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return ForkedCommand(words, self.read_line(), self, out, err)

    def run(
        self, *arguments: str | Path, cache: Path, cwd: Path, timeout: float = 120, **options: Any
    ) -> EndedProcess:
        """Run a command to its end; see `start`."""
        return self.start(*arguments, cache=cache, cwd=cwd, **options).wait(timeout)

    def read_line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)


@contextlib.contextmanager
def fork_server(*modules: str) -> Iterator[ForkServer]:
    """Run a server, which imports SharpEye and more modules once, until the block ends."""
    folders = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(folders)}
    env = environment(Path(os.devnull), **quiet)
    with subprocess.Popen(
        [sys.executable, "-m", "battery.fork_server", *modules],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield ForkServer(process)
        assert process.stdin is not None
        process.stdin.close()


def session_members(session: int) -> list[int]:
    """The numbers of the running processes of a session; those that nobody waits for are not."""
    members = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = file.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state not in "ZX":
                members.append(int(file.parent.name))
    return members


def kill_session(session: int) -> None:
    for process in session_members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def wait_for_session(session: int, seconds: float = 10) -> None:
    """Wait until no process of a session runs; AssertionError if one outlives `seconds`."""
    end = time.monotonic() + seconds
    while members := session_members(session):
        if time.monotonic() > end:
            names = [Path(f"/proc/{process}/cmdline").read_bytes() for process in members]
            kill_session(session)
            raise AssertionError(f"processes outlive their command: {names}")
        time.sleep(0.02)
