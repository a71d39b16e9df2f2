"""Frozen TensorFlow graphs, and a process that runs them: this one never imports TensorFlow."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from label_image_process import LabelImage, label_image_process


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of `write_graphs.py`. Tests must not change it."""
    folder = tmp_path_factory.mktemp("graphs")
    program = Path(__file__).with_name("write_graphs.py")
    done = subprocess.run(
        [sys.executable, program, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def label_image(
    graphs: Path, session_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelImage]:
    """`label_image(*arguments, cwd=graphs)` runs `sharpeye label-image` in another process."""
    log = tmp_path_factory.mktemp("label-image") / "stderr.txt"
    with label_image_process(graphs, session_cache, log) as call:
        yield call
