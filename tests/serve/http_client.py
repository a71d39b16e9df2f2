"""Servers to ask: in this process with a model of any kind, or as a process of their own."""

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from runner import environment
from sharpeye.artefact.manifest import Manifest
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.errors import ImageReadError
from sharpeye.predict.predictor import Model
from sharpeye.serve.app import Settings, build_app
from sharpeye.serve.server import make_server


@contextlib.contextmanager
def client_of(
    model: Any, settings: Settings | None = None, **options: Any
) -> Iterator[httpx.Client]:
    """A client of a real server that runs in a thread of this process.

    Args:
        model: a model, or a stub.
        settings: see `sharpeye.serve.app`.
        options: of the client.
    """
    settings = settings or Settings("trees")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(build_app(model, settings), settings.limits, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            home = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=home, timeout=30, **options) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)


class StubModel(Model):
    """Answers without looking, when it is let to.

    Attributes:
        go_on: answers wait until it is set.
        begun: number of calls.
    """

    tells_unknown = False

    def __init__(self, box: tuple[float, float, float, float] | None = None) -> None:
        self.manifest = Manifest(
            ("ash", "birch"), InputSpec(8, 8), task="localize" if box else "classify"
        )
        self.labels, self.input = self.manifest.labels, self.manifest.input
        self.go_on, self.begun, self._box = threading.Event(), 0, box
        self.go_on.set()

    def predict(self, source: Any, top: int = 5) -> Any:
        self.begun += 1
        self.go_on.wait(20)
        if isinstance(source, bytes) and source == b"bad":
            raise ImageReadError("it", "made to be bad")
        ranked = (("birch", 0.75), ("ash", 0.25))[:top]
        return Prediction("birch", 0.75, ranked, self._box)


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Running:
    """A server that runs as a process of its own."""

    process: "subprocess.Popen[str]"
    url: str
    token: str | None = None
    said: list[str] = field(default_factory=list)

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
def serving(
    model: Path, *options: str, cache: Path, program: str = "", **env: str
) -> Iterator[Running]:
    """Run `sharpeye serve` on a free port until the block ends.

    Args:
        model: what is served.
        options: of the command.
        program: a program in place of the command; it gets the model as its argument.
    """
    line = ["-m", "sharpeye", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(
        [sys.executable, *(["-c", program, str(model)] if program else line)],
        env=environment(cache, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r" at (http://\S+)$", said.strip())
        if not found:
            process.kill()
            raise AssertionError(f"{said!r}, then: {process.communicate()[1]}")
        yield Running(process, found[1], said=[said])
    finally:
        if process.poll() is None:
            process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
