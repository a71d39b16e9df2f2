"""Studios for tests, in a thread or as a process of their own, and a real browser."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner import announced_process, environment
from sharpeye.serve.access import AccessRules
from sharpeye.serve.server import make_server
from sharpeye.studio.application import build_app, restrict
from sharpeye.studio.launch import STUDIO_LIMITS
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace

CHROMIUM = Path("/usr/bin/chromium")


@dataclass
class Studio:
    """A studio that runs.

    Attributes:
        folder: of images.
        home: the directory in which it was started; `home/runs` has its runs.
        address: the URL to open, as it was printed.
    """

    folder: Path
    home: Path
    address: str

    @property
    def url(self) -> str:
        """The address without a token, a path, or a slash at its end."""
        match = re.match(r"https?://[^/]+", self.address)
        assert match
        return match[0]

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)


@dataclass
class StudioProcess(Studio):
    """A studio in a process of its own.

    Attributes:
        output: what it wrote to standard output and, after `stop`, to standard error.
    """

    process: "subprocess.Popen[str]"
    output: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=30)
        return self.process.returncode


def copy_run(run: Path, target: Path, data: Path) -> None:
    """Copy a run of the images beside it, as if it had been trained on those in `data`."""
    shutil.copytree(run, target)
    config = target / "config.toml"
    config.write_text(config.read_text().replace(str(run.parent / "hard"), str(data)))


@contextlib.contextmanager
def studio_in_thread(folder: Path, *, home: Path, suggest: Path | None = None) -> Iterator[Studio]:
    """Run a studio in a thread until the block ends: starting it takes no time."""
    state = StudioState(Workspace(folder, home / "runs"), suggest)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = restrict(build_app(state), AccessRules(limits=STUDIO_LIMITS))
        started = threading.Event()
        server = make_server(app, STUDIO_LIMITS, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            assert started.wait(30)
            yield Studio(folder, home, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(30)
            state.close()


@contextlib.contextmanager
def studio_process(
    folder: Path, *options: str, cache: Path, home: Path, command: str = "studio", **env: str
) -> Iterator[StudioProcess]:
    """Run `sharpeye studio` on a free port until the block ends.

    Args:
        folder: of images.
        options: of the command.
        cache: the cache's folder.
        home: the current directory of the process.
        command: `studio` or `label`.
    """
    arguments = ["-m", "sharpeye", command, str(folder), "--port", "0", *options]
    with announced_process(arguments, env=environment(cache, **env), cwd=home) as started:
        process, address, line = started
        yield StudioProcess(folder, home, address, process, [line])


@contextlib.contextmanager
def chromium_browser() -> Iterator[Any]:
    """A browser; its camera is a simulated one that nobody has to allow."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()
