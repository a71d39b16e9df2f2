"""Images that are hard to tell apart, and the undisturbed run that others are compared with."""

from pathlib import Path

import pytest

from runner import call as call_command
from runner import hard_photos, share_backbones, train_args
from sharpeye.core.inference import Backbone


@pytest.fixture(scope="session")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 12 images. Not to be changed."""
    return hard_photos(tmp_path_factory.mktemp("jobs") / "hard")


@pytest.fixture(scope="session")
def undisturbed(hard: Path, session_cache: Path, backbone: Backbone) -> Path:
    """A run of `hard` that nothing happened to. Not to be changed."""
    cache = share_backbones(session_cache, hard.parent / "cache")
    done = call_command(*train_args(hard, hard.parent / "run"), cache=cache)
    assert done.returncode == 0, done.stderr
    return hard.parent / "run"


@pytest.fixture
def warm(cache: Path, session_cache: Path, backbone: Backbone) -> Path:
    """This test's own cache, with the small backbone in it and nothing else."""
    return share_backbones(session_cache, cache)
