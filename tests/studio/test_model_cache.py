"""The last few models stay open; a run that changed is opened again."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localizer import write_localizer
from sharpeye.errors import SharpEyeError
from sharpeye.studio.prediction_view import ModelCache


def test_a_model_is_opened_once(trained: Path) -> None:
    models = ModelCache()
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(models.open, [trained] * 8))
    assert all(model is opened[0] for model in opened)


def test_a_run_that_changed_is_opened_again(trained: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "run", ModelCache()
    shutil.copytree(trained, run)
    first = models.open(run)
    os.utime(run / "bundle.json", ns=(1, 1))
    assert models.open(run) is not first
    (run / "model.onnx").write_bytes(b"no model")
    with pytest.raises(SharpEyeError):
        models.open(run)


def test_the_latest_used_are_kept(tmp_path: Path) -> None:
    files = [write_localizer(tmp_path / f"{n}.onnx") for n in range(3)]
    models = ModelCache(max_models=2)
    first, second = models.open(files[0]), models.open(files[1])
    assert models.open(files[0]) is first
    models.open(files[2])  # the second was not used for the longest time
    assert models.open(files[0]) is first
    assert models.open(files[1]) is not second
