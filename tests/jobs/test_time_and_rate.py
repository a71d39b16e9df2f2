"""The learning-rate range test, the preview of augmentation, and curves after a stop."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import TINY, one_line
from sharpeye.cli.app import run
from sharpeye.errors import DivergedError
from sharpeye.jobs.train import finetune, progress_log
from sharpeye.jobs.train.network_on_pixels import SECONDS_AFTER
from sharpeye.learn.nets.rate_range import STEPS
from sharpeye.learn.nets.settings import FitSettings

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FLAGS = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]


def test_the_range_test_suggests_a_rate_that_trains(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rates.svg"
    arguments = ["train", str(photo_folder), *FLAGS, "-o", str(tmp_path / "run")]
    assert run([*arguments, "--find-lr", str(file)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    rate = float(first.removeprefix("suggested: --learning-rate "))
    assert second == f"picture:   {file}" and not (tmp_path / "run").exists()
    assert 1e-5 < rate < 0.1
    drawing = ElementTree.fromstring(file.read_text())
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert f"suggested: {rate:.2g}" in "".join(drawing.itertext())
    points = drawing.findall(".//{http://www.w3.org/2000/svg}polyline")[0].get("points")
    assert points is not None and 20 < len(points.split()) <= STEPS
    done = sharpeye.train(
        photo_folder,
        output=tmp_path / "run",
        **TINY | {"train__epochs": 10, "train__learning_rate": rate},
    )
    losses = [float(row["validation_log_loss"]) for row in done.table("history.csv")]
    assert min(losses) < losses[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "cnn", "--find-lr", "rates.png"], "--find-lr writes a file named .svg"),
        (["--find-lr", "rates.svg"], "--find-lr tests a network that is trained from scratch"),
        (["--model", "cnn", "--preview-augmentation", "a.svg"], "writes a file named .png"),
        (["--preview-augmentation", "a.png"], "--preview-augmentation shows what"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    options: list[str], words: str, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(photo_folder), *options, "-q"]) == 2
    assert words in one_line(capsys.readouterr().err)


def test_the_preview_has_a_row_an_image(photo_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "preview.png"
    arguments = ["train", str(photo_folder), *FLAGS, "--preview-augmentation", str(file), "-q"]
    assert run([*arguments, "--set", "augment.policy=trivial"]) == 0
    with Image.open(file) as image:
        pixels = np.asarray(image)
    rows, columns = pixels.shape[0] // 100, pixels.shape[1] // 100  # 96 pixels and a gap
    assert (rows, columns) == (8, 8)
    row = pixels[:96].reshape(96, columns, 100, 3)[:, :, :96]
    changed = [not np.array_equal(row[:, 0], row[:, i]) for i in range(1, columns)]
    assert sum(changed) >= 4


def test_the_preview_shows_own_augmentation(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHARPEYE_OWN_CODE", raising=False)
    code, file = tmp_path / "changes.py", tmp_path / "preview.png"
    code.write_text("def black(images, random):\n    return images * 0\n")
    arguments = ["train", str(photo_folder), *FLAGS, "--preview-augmentation", str(file), "-q"]
    still = ("--set=augment.flip=false", "--set=augment.shift=0")
    assert run([*arguments, *still, "--augment", f"{code}:black"]) == 0
    with Image.open(file) as image:
        row = np.asarray(image)[:96].reshape(96, -1, 100, 3)[:, :, :96]
    assert row[:, 0].any() and not row[:, 1:].any()


@pytest.mark.parametrize("stop", [3, 5])
def test_curves_have_each_point_once_after_a_stop(
    stop: int, photo_folder: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Cut(Exception):
        pass

    whole = progress_log.ProgressLog.epoch

    def cut(self: Any, row: Any) -> None:
        whole(self, row)
        if row["epoch"] == stop:
            raise Cut

    output, knobs = tmp_path / "run", TINY | {"train__epochs": 5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sharpeye.learn.nets.checkpoint._MAX_TIME_SHARE", float("inf"))
        patch.setattr(progress_log.ProgressLog, "epoch", cut)
        with pytest.raises(Cut):
            sharpeye.train(photo_folder, output=output, **knobs)
    if stop == 3:  # The last checkpoint is lost: that epoch is trained once more.
        sorted((output / "checkpoints").iterdir())[-1].unlink()
    done = sharpeye.train(photo_folder, output=output, resume=True, **knobs)
    rows = done.table("history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    for split, prefix in (("train", ""), ("validation", "validation_")):
        events = EventAccumulator(str(output / "tensorboard" / split)).Reload()
        points = events.Scalars("epoch/log_loss")
        assert [point.step for point in points] == [1, 2, 3, 4, 5]
        values = [float(row[f"{prefix}log_loss"]) for row in rows]
        np.testing.assert_allclose([point.value for point in points], values, rtol=1e-4)


@pytest.mark.slow
def test_a_time_limit_covers_the_whole_run(photo_folder: Path, tmp_path: Path) -> None:
    knobs = TINY | {"train__epochs": 10_000, "train__time_limit": 16.0}
    done = sharpeye.train(photo_folder, output=tmp_path / "run", **knobs)
    assert 1 < len(done.table("history.csv")) < 10_000
    assert done.metrics["seconds"]["total"] < 20


@pytest.mark.slow
def test_what_a_run_did_before_counts_against_the_time_of_fine_tuning(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[FitSettings] = []

    def fit(_build: Any, _arrays: Any, settings: FitSettings, **_: Any) -> Any:
        seen.append(settings)
        raise DivergedError("enough")

    monkeypatch.setattr(finetune, "fit_network", fit)
    knobs = {"model__image_size": 64, "finetune__epochs": 3, "train__time_limit": 60.0}
    done = sharpeye.train(photo_folder, output=tmp_path / "run", model__weights="random", **knobs)
    spent = sum(done.metrics["seconds"][stage] for stage in ("features", "head"))
    assert 1 <= seen[0].time_limit <= 60 - spent - SECONDS_AFTER
    assert seen[0].predictions_after > 0
