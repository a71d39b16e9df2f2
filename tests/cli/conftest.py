"""A cache with the small backbone in it, for each test that wants one."""

from pathlib import Path

import pytest

from runner import share_backbones
from sharpeye.core.inference import Backbone


@pytest.fixture
def warm(cache: Path, session_cache: Path, backbone: Backbone) -> Path:
    """This test's own cache, with the small backbone in it and nothing else."""
    return share_backbones(session_cache, cache)
