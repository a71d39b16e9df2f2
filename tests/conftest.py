"""What all tests share: a cache of their own, one real backbone, and a folder of images."""

import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import MAPS, hard_photos
from sharpeye.core.inference import Backbone
from sharpeye.images import decode_limits
from sharpeye.models.backbone import BackboneConfig, load_backbone

IMAGE_SIZE = 64
CLASSES = {"apple": (200, 40, 40), "leaf": (40, 170, 60), "sky": (60, 90, 210)}
SUFFIXES = (".jpg", ".png", ".webp", ".bmp", ".gif", ".tif")

HANDLED_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)  # Windows has no SIGHUP.
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakePhotos = Callable[..., Path]


# Seconds that a slow test may take; every other test has the limit of `pyproject.toml`, which is
# more than four times what the longest one takes on two idle cores.
SLOW_TIMEOUT = 1800


# The files that take longest come first, so that no process is left with one of them at the end.
LONG_FILES = ("test_docs.py", "test_from_scratch.py", "test_train.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG_FILES)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SHARPEYE_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Commands change signal and log handlers and limits for their process, and restore none.

    A fixture of a larger scope may run a command before this one.
    """
    before = {name: signal.getsignal(name) for name in HANDLED_SIGNALS}
    _reset_process()
    yield
    for name, handler in before.items():
        signal.signal(name, handler)
    _reset_process()


def _reset_process() -> None:
    logger = logging.getLogger("sharpeye")
    logger.handlers[:] = []
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    decode_limits._in_force = None


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that lives as long as the test run; with `backbone`, it contains that backbone."""
    return tmp_path_factory.mktemp("session-cache")


def _load_once(
    config: BackboneConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Backbone:
    """Convert a backbone once a test run: the processes of pytest-xdist have one parent folder."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    converted = load_backbone(config, root=folder / "shared-cache").graph_file.parents[1]

    def link(source: str, target: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.link(source, target)

    shutil.copytree(converted, cache / converted.name, copy_function=link, dirs_exist_ok=True)
    return load_backbone(config, root=cache)


@pytest.fixture(scope="session")
def backbone(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """EfficientNet-Lite0 at 64 px as ONNX (about 4 s)."""
    config = BackboneConfig("efficientnet_lite0", image_size=IMAGE_SIZE)
    return _load_once(config, session_cache, tmp_path_factory)


@pytest.fixture(scope="session")
def maps_backbone(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """MobileNetV2 0.35 at 64 px with its feature maps and random weights (about 6 s)."""
    return _load_once(MAPS, session_cache, tmp_path_factory)


def _make_photos(
    folder: Path,
    classes: int = 3,
    per_class: int = 8,
    seed: int = 0,
    size: tuple[int, int] = (56, 48),
) -> Path:
    random = np.random.default_rng(seed)
    for label, colour in list(CLASSES.items())[:classes]:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            noise = random.normal(0, 25, (size[1], size[0], 3))
            shade = random.uniform(0.7, 1.3)
            pixels = np.clip(np.array(colour) * shade + noise, 0, 255).astype(np.uint8)
            suffix = SUFFIXES[number % len(SUFFIXES)]
            Image.fromarray(pixels).save(folder / label / f"{label}{number}{suffix}")
    return folder


@pytest.fixture
def make_photos() -> MakePhotos:
    """`make_photos(folder, classes=3, per_class=8, seed=0)` fills a folder with noisy images
    in mixed formats, easy to tell apart by colour, no two the same.
    """
    return _make_photos


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """`photos/` with 3 classes of 8 images each."""
    return _make_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def trained(
    session_cache: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run directory, beside its images in `hard/`. Tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(session_cache))
        sharpeye.train(hard_photos(folder / "hard"), output=folder / "run", model__image_size=64)
    return folder / "run"
