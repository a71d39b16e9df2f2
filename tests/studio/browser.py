"""A studio as a process of its own, and a real browser that looks at it; see `conftest.py`."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner import environment

CHROMIUM = Path("/usr/bin/chromium")


@dataclass
class Studio:
    """A studio that runs as a process of its own.

    Attributes:
        folder: of images.
        home: the directory in which it was started; `home/runs` has its runs.
        url: its address, without a slash at its end, a path or a token.
        opened: the address that it printed.
    """

    process: "subprocess.Popen[str]"
    folder: Path
    home: Path
    opened: str
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        found = re.match(r"https?://[^/]+", self.opened)
        assert found
        return found[0]

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=30)
        return self.process.returncode


@contextlib.contextmanager
def studio_of(
    folder: Path, *options: str, cache: Path, home: Path, command: str = "studio", **env: str
) -> Iterator[Studio]:
    """Run `sharpeye studio` on a free port until the block ends.

    Args:
        folder: of images.
        options: of the command.
        cache: the cache's place.
        home: the current directory of the process.
        command: `studio` or `label`.
    """
    own = environment(cache, **env)
    own.pop("PYTEST_CURRENT_TEST", None)  # NiceGUI behaves differently with it
    process = subprocess.Popen(
        [sys.executable, "-m", "sharpeye", command, str(folder), "--port", "0", *options],
        env=own,
        cwd=home,
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
        yield Studio(process, folder, home, found[1], [said])
    finally:
        if process.poll() is None:
            process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A browser; its camera is a made-up one that nobody has to allow."""
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
