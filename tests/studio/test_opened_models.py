"""Opened models are kept, a few of them; a run that changed is opened again."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localizer import scene, write_localizer
from sharpeye.errors import ImageReadError, SharpEyeError
from sharpeye.studio.models import Models


def test_a_model_is_opened_once(trained: Path) -> None:
    models = Models()
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(models.open, [trained] * 8))
    assert all(one is opened[0] for one in opened)


def test_a_run_that_changed_is_opened_again(trained: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "run", Models()
    shutil.copytree(trained, run)
    first = models.open(run)
    os.utime(run / "bundle.json", ns=(1, 1))
    assert models.open(run) is not first
    (run / "model.onnx").write_bytes(b"no model")
    with pytest.raises(SharpEyeError):
        models.open(run)


def test_the_latest_used_are_kept(tmp_path: Path) -> None:
    files = [write_localizer(tmp_path / f"{n}.onnx") for n in range(3)]
    models = Models(most=2)
    first, second = models.open(files[0]), models.open(files[1])
    assert models.open(files[0]) is first
    models.open(files[2])  # the second was not used for the longest time
    assert models.open(files[0]) is first
    assert models.open(files[1]) is not second


def test_suggestions(trained: Path, tmp_path: Path) -> None:
    model = write_localizer(tmp_path / "model.onnx", fit="stretch")
    image = scene(tmp_path / "a.png", "green", (64, 64), (16, 8, 48, 40))
    models = Models()
    ((label, box, score),) = models.suggest(model, image)
    assert label == "green"
    assert score > 0.4
    assert box == pytest.approx((16 / 64, 8 / 64, 48 / 64, 40 / 64), abs=1 / 32)
    assert models.suggest(trained, image) == []  # it finds no boxes
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageReadError):
        models.suggest(model, tmp_path / "text.jpg")
