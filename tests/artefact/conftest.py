"""A copy of a run's two shippable files, for a test to damage."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def model_folder(trained: Path, tmp_path: Path) -> Path:
    """`model.onnx` and `bundle.json` alone, in a folder of this test's own."""
    (tmp_path / "bundle").mkdir()
    for name in ("model.onnx", "bundle.json"):
        shutil.copy(trained / name, tmp_path / "bundle" / name)
    return tmp_path / "bundle"
