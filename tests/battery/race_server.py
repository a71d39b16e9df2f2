"""A warm interpreter that forks one process per command and lets all begin at once.

    with RaceServer(cache) as races:
        first, second = races.run([RaceCommand(("train", ...)), RaceCommand(("cache", "clear"))])

The interpreter has imported SharpEye, so that the commands of a round meet at their work and not at
their imports. It has no threads, so that a forked process is like one that was started.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from battery.tally import HangError
from runner import environment

MAX_SECONDS = 60
_IMPORTS = (
    "sharpeye.cli.train",
    "sharpeye.jobs.train.train",
    "sharpeye.jobs.evaluate",
    "sharpeye.jobs.audit.check",
    "sharpeye.jobs.audit.relabel",
    "sharpeye.learn.heads",
    "onnxruntime",
    "onnx",
    "filelock",
    "jinja2",
)


@dataclass(frozen=True)
class RaceCommand:
    """A command of a round; `delay` seconds after the others, killed after `kill_after`."""

    arguments: tuple[str, ...]
    delay: float = 0
    kill_after: float | None = None
    repeat_seconds: float = 0


@dataclass(frozen=True)
class RaceResult:
    code: int
    out: str
    err: str
    seconds: float


def command(*arguments: str | Path, **options: Any) -> RaceCommand:
    return RaceCommand(tuple(map(str, arguments)), **options)


class RaceServer:
    """The interpreter; a context manager."""

    def __init__(self, cache: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "battery.race_server"],
            env=environment(cache, PYTHONPATH=os.pathsep.join(sys.path), OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "RaceServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")

    def run(self, commands: Sequence[RaceCommand], cache: Path) -> list[RaceResult]:
        """Run the commands of a round with a cache; HangError after a minute."""
        assert self._process.stdin and self._process.stdout
        request = {"cache": str(cache), "commands": [asdict(item) for item in commands]}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        results = [RaceResult(**item) for item in json.loads(self._process.stdout.readline())]
        for item, result in zip(commands, results, strict=True):
            if result.seconds >= MAX_SECONDS:
                raise HangError(f"{' '.join(item.arguments)} runs after {MAX_SECONDS} s")
        return results


def _serve() -> None:
    for name in _IMPORTS:
        with contextlib.suppress(ImportError):
            __import__(name)
    for line in sys.stdin:
        request = json.loads(line)
        os.environ["SHARPEYE_CACHE"] = request["cache"]
        print(json.dumps(_race(request["commands"])), flush=True)


def _race(commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    start = time.monotonic() + 0.02
    with tempfile.TemporaryDirectory() as folder:
        children = {
            _fork(number, item, start, folder): (number, item)
            for number, item in enumerate(commands)
        }
        codes: dict[int, tuple[int, float]] = {}
        while len(codes) < len(children):
            for process, (number, item) in children.items():
                if number in codes:
                    continue
                ended, status = os.waitpid(process, os.WNOHANG)
                seconds = time.monotonic() - start - item["delay"]
                if ended:
                    codes[number] = (os.waitstatus_to_exitcode(status), min(seconds, 59))
                elif seconds > MAX_SECONDS or (
                    item["kill_after"] is not None and seconds > item["kill_after"]
                ):
                    os.kill(process, signal.SIGKILL)
                    _, status = os.waitpid(process, 0)
                    codes[number] = (os.waitstatus_to_exitcode(status), seconds)
            time.sleep(0.002)
        return [
            {
                "code": codes[number][0],
                "out": Path(folder, f"{number}.out").read_text(errors="replace"),
                "err": Path(folder, f"{number}.err").read_text(errors="replace"),
                "seconds": codes[number][1],
            }
            for number in range(len(commands))
        ]


def _fork(number: int, item: dict[str, Any], start: float, folder: str) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for handle, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT), handle)
        time.sleep(max(0.0, start + item["delay"] - time.monotonic()))
        code = _run(item)
    finally:
        os._exit(code)


def _run(item: dict[str, Any]) -> int:
    """Run a command, again and again if `repeat_seconds` is set; the largest exit code."""
    import traceback

    from sharpeye.cli.app import run

    end = time.monotonic() + item["repeat_seconds"]
    try:
        code = run(item["arguments"])
        while time.monotonic() < end:
            code = max(code, run(item["arguments"]))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
