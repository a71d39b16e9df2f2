"""Servers for tests: in this process with any model, or as a process of their own."""

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from runner import announced_process, environment, repeatedly
from sharpeye.artefact.manifest import Manifest
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.errors import ImageReadError
from sharpeye.predict.predictor import Model
from sharpeye.serve.api import ServeSettings, build_app
from sharpeye.serve.limits import RequestLimits
from sharpeye.serve.server import make_server


def settings(**limits: Any) -> ServeSettings:
    """Settings of a server with other limits than the default ones."""
    return ServeSettings("trees", limits=RequestLimits(**limits))


@contextlib.contextmanager
def client_of(
    model: Any, settings: ServeSettings | None = None, **options: Any
) -> Iterator[httpx.Client]:
    """A client of a real server that runs in a thread of this process.

    Args:
        model: a model, or a stub.
        settings: see `sharpeye.serve.api`.
        options: of the client.
    """
    settings = settings or ServeSettings("trees")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(build_app(model, settings), settings.limits, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30, **options) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)


class StubModel(Model):
    """Predicts birch for every image but `b"bad"`, which is unreadable.

    Attributes:
        may_finish: predictions wait until it is set.
        calls: number of predictions that were begun.
    """

    has_unknown_score = False
    has_box_score = False

    def __init__(self, box: tuple[float, float, float, float] | None = None) -> None:
        self.task = "localize" if box else "classify"
        self.manifest = Manifest(("ash", "birch"), InputSpec(8, 8), task=self.task)
        self.labels, self.input = self.manifest.labels, self.manifest.input
        self.may_finish, self.calls, self._box = threading.Event(), 0, box
        self.may_finish.set()

    def predict(self, source: Any, top: int = 5) -> Any:
        self.calls += 1
        self.may_finish.wait(20)
        if isinstance(source, bytes) and source == b"bad":
            raise ImageReadError("it", "made to be bad")
        ranked = (("birch", 0.75), ("ash", 0.25))[:top]
        return Prediction("birch", 0.75, ranked, self._box)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class RunningServer:
    """A server that runs as a process of its own.

    Attributes:
        first_line: of its output.
    """

    process: "subprocess.Popen[str]"
    url: str
    first_line: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)

    def memory(self) -> int:
        """Resident bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @contextlib.contextmanager
    def peak_memory(self) -> Iterator[list[int]]:
        """Sample the resident bytes; the list's only item is the largest."""
        peak = [self.memory()]

        def sample() -> None:
            peak[0] = max(peak[0], self.memory())

        with repeatedly(sample, seconds=0.02):
            yield peak


@contextlib.contextmanager
def serving(
    model: Path, *options: str, cache: Path, program: str = "", **env: str
) -> Iterator[RunningServer]:
    """Run `sharpeye serve` on a free port until the block ends.

    Args:
        model: what is served.
        options: of the command.
        program: a program in place of the command; it gets the model as its argument.
    """
    line = ["-m", "sharpeye", "serve", str(model), "--port", "0", *options]
    if program:
        line = ["-c", program, str(model)]
    with announced_process(line, env=environment(cache, **env)) as started:
        yield RunningServer(*started)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
