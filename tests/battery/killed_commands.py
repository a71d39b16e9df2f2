"""Kill or signal a writing command, check what it left, run it again, and compare its result."""

import itertools
import json
import os
import queue
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from battery.forked_commands import (
    CallPoint,
    ForkedCommand,
    ForkServer,
    fork_server,
    wait_for_session,
)
from battery.power_failure import fail_power
from battery.processes import EndedProcess, check_unchanged
from battery.tally import Tally, TracebackError
from battery.writing_commands import WritingCommand, outside_folder
from battery.written_files import require_clean
from runner import tree

BASE = ("onnx", "onnxruntime", "jinja2", "filelock", "platformdirs", "h5py")
KERAS = (
    *("tensorflow", "keras", "sharpeye.learn.nets.engine_tensorflow", "sharpeye.models.blocks"),
    *("sharpeye.models.box_heads", "sharpeye.learn.nets.pixel_augment"),
)
MAX_SECONDS_TO_STOP = 5.0
_MAX_RUNS = 6  # of the same command after a kill


class Servers:
    """The fork servers of one thread, each started when it is first used."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._started = stack, dict[bool, ForkServer]()

    def get(self, *, keras: bool) -> ForkServer:
        if keras not in self._started:
            modules = (*BASE, *KERAS) if keras else BASE
            self._started[keras] = self._stack.enter_context(fork_server(*modules))
        return self._started[keras]


@dataclass(frozen=True)
class Uninterrupted:
    """What a command did that nothing happened to."""

    template: Path
    result: object
    seconds: float
    calls: Sequence[str]


@dataclass(frozen=True)
class Kill:
    """A signal after `seconds`, or a kill at a call, if `call` is not 0.

    Attributes:
        power: a seed; at the same moment the power fails. 0: it does not.
        number: of the signal.
        repeated: seconds until the signal is sent once more; negative: it is not.
        pause: seconds from SIGSTOP, which `number` is then, to SIGCONT.
    """

    seconds: float = 0.0
    call: int = 0
    power: int = 0
    number: signal.Signals = signal.SIGKILL
    repeated: float = -1.0
    pause: float = 0.0

    def __str__(self) -> str:
        moment = f"call {self.call}" if self.call else f"{self.seconds:.3f} s"
        moment += f", power failure {self.power}" if self.power else ""
        moment += f", again after {self.repeated:.3f} s" if self.repeated >= 0 else ""
        return f"{self.number.name} at {moment}"

    @property
    def codes(self) -> set[int]:
        """The exit codes of a command that the signal ends; 0 if it was done before."""
        if self.pause:
            return {0}
        return {0, -self.number if self.number == signal.SIGKILL else 128 + self.number}

    def send(self, running: ForkedCommand) -> None:
        """Send the signal, or both."""
        running.send(self.number)
        if self.pause:
            time.sleep(self.pause)
            running.send(signal.SIGCONT)
        if self.repeated >= 0:
            time.sleep(self.repeated)
            running.send(self.number)


class KillRounds:
    """Runs commands in new folders below `folder`, which lies on one disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.hits = folder, list[bool]()
        self._numbers = itertools.count()

    def run_uninterrupted(self, command: WritingCommand, server: ForkServer) -> Uninterrupted:
        template = self._new_folder()
        command.prepare(template)
        with self._copy(template, command) as folder:
            started = time.perf_counter()
            running, calls = self._start(command, server, folder, count=True)
            running.wait(300).check({0})
            seconds = time.perf_counter() - started
            names = calls.names()
            require_clean(folder)
            return Uninterrupted(template, command.result(folder), seconds, names)

    def kill(
        self, command: WritingCommand, expected: Uninterrupted, server: ForkServer, kill: Kill
    ) -> None:
        """One case; AssertionError if anything is lost or differs.

        `hits` counts the commands that ended by the signal.
        """
        with self._copy(expected.template, command) as folder:
            before = {name: tree(folder / name) for name in command.stays}
            if kill.call:
                running, calls = self._start(command, server, folder, kill_at=kill.call)
            else:
                running, calls = self._start(command, server, folder)
                self._wait_until_ready(command, folder, running)
                time.sleep(kill.seconds)
                kill.send(running)
            sent = time.perf_counter()
            ended = running.wait()
            seconds = time.perf_counter() - sent
            both = f"exit code {ended.code}: {ended.out}{ended.err}"
            assert ended.code in kill.codes, both
            self.hits.append(ended.code != 0)
            if "Traceback (most recent" in ended.err:
                raise TracebackError(both)
            if ended.code > 0:
                assert seconds <= MAX_SECONDS_TO_STOP, f"stopped after {seconds:.1f} s"
                wait_for_session(running.pid, 1)
                require_clean(folder)
            if kill.power:
                wait_for_session(running.pid)
                roots = [folder, *filter(None, [outside_folder(command, folder)])]
                fail_power(calls.report, roots, np.random.default_rng(kill.power))
            for name, content in before.items():
                check_unchanged(folder / name, content)
            if command.intact:
                command.intact(folder)
            self._run_to_end(command, server, folder, ended)
            wait_for_session(running.pid)
            result = command.result(folder)
            assert result == expected.result, f"{result!r:.700} is not {expected.result!r:.700}"
            for name, content in before.items():
                check_unchanged(folder / name, content)
            require_clean(folder)

    def _run_to_end(
        self, command: WritingCommand, server: ForkServer, folder: Path, ended: EndedProcess
    ) -> None:
        words = command.again(folder, ended)
        for _ in range(_MAX_RUNS):
            if words is None:
                return
            ended = server.run(*words, cache=folder / "cache", cwd=folder).check()
            words = command.again(folder, ended)
        raise AssertionError(f"does not end well: {ended.code} {ended.err}")

    def _start(
        self,
        command: WritingCommand,
        server: ForkServer,
        folder: Path,
        *,
        kill_at: int = 0,
        count: bool = False,
    ) -> tuple[ForkedCommand, "_Calls"]:
        calls = _Calls(folder.with_name(f"{folder.name}-calls"))
        outside = outside_folder(command, folder)
        point = CallPoint((folder, *([outside] if outside else [])), calls.report, calls.saved)
        if kill_at or count:
            calls.saved.mkdir()
            point = CallPoint(point.folders, point.report, point.saved, kill_at)
        words = [word.replace("{outside}", str(outside)) for word in command.words]
        running = server.start(
            *words,
            cache=folder / "cache",
            cwd=folder,
            calls=point if kill_at or count else None,
        )
        return running, calls

    @staticmethod
    def _wait_until_ready(command: WritingCommand, folder: Path, running: ForkedCommand) -> None:
        end = time.monotonic() + 60
        while command.ready and not command.ready(folder) and time.monotonic() < end:
            if not Path(f"/proc/{running.pid}").exists():
                return
            time.sleep(0.002)

    def _new_folder(self) -> Path:
        folder = self._folder / f"{next(self._numbers):05}"
        folder.mkdir()
        return folder

    @contextmanager
    def _copy(self, template: Path, command: WritingCommand) -> Iterator[Path]:
        """A copy of a folder, which is deleted at the end; images and networks are links."""
        folder = self._folder / f"{next(self._numbers):05}"
        shutil.copytree(template, folder, copy_function=_copy_file)
        outside = outside_folder(command, folder)
        if outside:
            outside.mkdir()
        try:
            yield folder
        finally:
            for path in (folder, folder.with_name(f"{folder.name}-calls"), outside):
                if path:
                    shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class _Calls:
    """The report of counted calls, and the files that a process deleted."""

    saved: Path

    @property
    def report(self) -> Path:
        return self.saved / "report.json"

    def names(self) -> list[str]:
        names: list[str] = json.loads(self.report.read_text())["calls"]
        return names


def _copy_file(source: str, target: str) -> str:
    if source.endswith((".onnx", ".png", ".jpg")):
        os.link(source, target)
        return target
    return str(shutil.copy2(source, target))


Case = tuple[str, Callable[[Servers], object]]


class ServerPool:
    """Threads with fork servers of their own. Use as a context manager, which ends the servers."""

    def __init__(self, threads: int) -> None:
        self._threads, self._stack = threads, ExitStack()
        self._idle: queue.SimpleQueue[Servers] = queue.SimpleQueue()
        for _ in range(threads):
            self._idle.put(Servers(self._stack))

    def __enter__(self) -> "ServerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run_all(self, works: Sequence[Callable[[Servers], Any]]) -> list[Future[Any]]:
        """Call functions, several at once; returns when all are done."""
        with ThreadPoolExecutor(self._threads) as threads:
            return [threads.submit(self._call, work) for work in works]

    def run_cases(self, tally: Tally, cases: Sequence[Case]) -> None:
        """Run cases, and count them in their order."""
        futures = self.run_all([work for _, work in cases])
        for (name, _), future in zip(cases, futures, strict=True):
            with tally.case(name):
                future.result()

    def _call(self, work: Callable[[Servers], Any]) -> Any:
        servers = self._idle.get()
        try:
            return work(servers)
        finally:
            self._idle.put(servers)
