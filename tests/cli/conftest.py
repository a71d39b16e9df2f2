"""A trained run for the commands that need one, and the signal handlers put back after each."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import hard_photos, share_backbones, train_here
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


@pytest.fixture(scope="session")
def trained(
    session_cache: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run directory, beside the `hard/` that it was made from. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        assert train_here(hard_photos(folder / "hard"), folder / "run", "--quiet") == 0
    return folder / "run"
