"""A process that runs commands on hostile models, see model_child.py; replaced if it hangs."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from battery.tally import HangError, TracebackError
from runner import environment

MAX_SECONDS, MAX_MIB = 5, 2048  # of CPU; by how much the peak of the memory grows
# Wall-clock time: other programs use the machine, and TensorFlow's import takes seconds.
_TIMEOUT = 120
# What a refused model must never lead to; `write` is an open file for writing.
_FORBIDDEN = ("write", "socket", "subprocess", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_FORBIDDEN += ("pickle", "shutil", "urllib", "http", "ftplib", "pty", "os.remove", "os.rename")
_ARTEFACT = Path(__file__).parents[1] / "artefact"


class ModelProcess:
    """Call it with a command; it returns what the command left.

    Attributes:
        peak_mib, slowest: of all commands, for the figures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak_mib, self.slowest = folder, 0.0, 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it.

    def __call__(self, *arguments: str | Path) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(map(str, arguments))).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], _TIMEOUT)[0]:
            self.stop()
            raise HangError(f"{arguments} runs after {_TIMEOUT} s")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            text = self._log.read()[-1000:].decode(errors="replace")
            raise TracebackError(f"{arguments}: the process ended: {text}")
        result: dict[str, Any] = json.loads(line)
        self.peak_mib = max(self.peak_mib, result["grown_mib"])
        self.slowest = max(self.slowest, result["seconds"])
        return result

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._log.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        paths = os.pathsep.join([str(_ARTEFACT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("model_child.py")],
            env=environment(self.folder / "cache", PYTHONPATH=paths, TF_CPP_MIN_LOG_LEVEL="3"),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )


@contextlib.contextmanager
def model_process(folder: Path) -> Iterator[ModelProcess]:
    process = ModelProcess(folder)
    try:
        yield process
    finally:
        process.close()


def check_refused(
    result: dict[str, Any], path: Path, *, codes: Sequence[int] = (4,), allowed: Sequence[str] = ()
) -> None:
    """Fail unless a command refused a model in one line, in time, and without side effects.

    Args:
        allowed: kinds of events that belong to the command itself.
    """
    text = f"code {result['code']}: {result['out']}{result['err']}"[:2000]
    if result["code"] in (1, -1) or "Traceback" in text:
        raise TracebackError(text)
    assert result["code"] in codes, text
    assert result["out"] == "" and len(result["err"].splitlines()) == 1, text
    assert path.name in result["err"], text
    check_cost(result)
    for event, argument in result["events"]:
        harmless = argument == os.devnull or "__pycache__" in argument
        assert harmless or event.startswith(tuple(allowed)) or not event.startswith(_FORBIDDEN), (
            event,
            argument,
        )


def check_cost(result: dict[str, Any]) -> None:
    if result["seconds"] > MAX_SECONDS:
        raise HangError(f"{result['seconds']:.1f} s of CPU: {result['err']}")
    assert result["grown_mib"] <= MAX_MIB, f"{result['grown_mib']:.0f} MiB: {result['err']}"
