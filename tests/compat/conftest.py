"""Frozen TensorFlow graphs, a process that runs them (this one never imports TensorFlow), and
images for retrain.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from label_image_process import LabelImage, label_image_process
from PIL import Image

from runner import share_backbones
from sharpeye.models.backbone import BackboneConfig, load_backbone


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


COLOURS = {"Blue Sky": (60, 90, 210), "apple": (200, 40, 40), "leaf": (40, 170, 60)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three easy classes of twenty images, PNG and JPEG, and a truncated JPEG."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("retrain") / "photos"
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for n in range(20):
            pixels = np.array(colour) * random.uniform(0.8, 1.2) + random.normal(0, 20, (60, 80, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / label / f"{n}.{'png' if n % 2 else 'jpg'}")
    complete = (folder / "leaf" / "0.jpg").read_bytes()
    (folder / "leaf" / "torn.jpg").write_bytes(complete[: len(complete) // 2])
    return folder


@pytest.fixture(scope="module")
def backbone_cache(session_cache: Path) -> Path:
    load_backbone(BackboneConfig("mobilenet_0.25_128", "random"), root=session_cache)
    return session_cache


@pytest.fixture
def shared(backbone_cache: Path, cache: Path) -> None:
    share_backbones(backbone_cache, cache)
