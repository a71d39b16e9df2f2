"""A finished run, and copies of its two shippable files that a test may damage."""

import shutil
from pathlib import Path

import pytest

from runner import hard_photos
from sharpeye.inference import Backbone


@pytest.fixture(scope="session")
def finished(
    session_cache: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run directory. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        import sharpeye

        sharpeye.train(hard_photos(folder / "hard"), output=folder / "run", model__image_size=64)
    return folder / "run"


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Path:
    """`model.onnx` and `bundle.json` alone, in a folder of this test's own."""
    (tmp_path / "bundle").mkdir()
    for name in ("model.onnx", "bundle.json"):
        shutil.copy(finished / name, tmp_path / "bundle" / name)
    return tmp_path / "bundle"
