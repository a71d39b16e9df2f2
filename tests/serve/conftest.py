"""A client and a server of the small trained model, and one of that model's images."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import sharpeye
from http_client import RunningServer, client_of, serving


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[httpx.Client]:
    """A client of a server in this process."""
    with client_of(sharpeye.load(trained)) as client:
        yield client


@pytest.fixture(scope="module")
def server(trained: Path, session_cache: Path) -> Iterator[RunningServer]:
    """A server that is a process of its own, on a free port."""
    with serving(trained, "--name", "trees", cache=session_cache) as running:
        yield running


@pytest.fixture(scope="session")
def image(trained: Path) -> bytes:
    """An image's file: a PNG of 56 x 48 pixels."""
    return (trained.parent / "hard" / "ash" / "ash1.png").read_bytes()
