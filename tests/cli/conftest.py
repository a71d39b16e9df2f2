"""A cache for each test, and the signal handlers put back after it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import share_backbones
from sharpeye.inference import Backbone


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """`sharpeye.cli.app.run` takes signals over for good, as its process ends with it."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.getsignal(name) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture
def warm(cache: Path, session_cache: Path, backbone: Backbone) -> Path:
    """This test's own cache, with the small backbone in it and nothing else."""
    return share_backbones(session_cache, cache)
