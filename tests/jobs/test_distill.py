"""A finished run as the teacher of a network that is trained from scratch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharpeye
from runner import TINY, hard_photos, one_line
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.errors import UsageError
from sharpeye.jobs.train.distill import with_teacher
from sharpeye.jobs.train.load_arrays import load_arrays
from sharpeye.jobs.train.resolve import resolve

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 12 images that are hard to tell apart. Not to be changed."""
    return hard_photos(tmp_path_factory.mktemp("photos") / "hard")


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Not to be changed."""
    output = tmp_path_factory.mktemp("teacher") / "run"
    return sharpeye.train(photos, output=output, **TINY | {"train__epochs": 12}).path


def config_of(folder: Path, **knobs: Any) -> Config:
    changes = {key.replace("__", "."): value for key, value in (TINY | knobs).items()}
    return resolve(Config().replace(changes | {"data.folder": str(folder)}))


def test_the_teacher_answers_for_the_views_that_are_trained_on(teacher: Path, photos: Path) -> None:
    config = config_of(photos, distill__teacher=str(teacher), distill__views=3)
    plain = config.replace({"distill.teacher": ""})
    samples, before = load_arrays(plain)
    arrays = with_teacher(before, samples, config)
    count = len(before.indices["train"])
    assert arrays.teacher_probs is not None
    assert arrays.teacher_probs.shape == (3 * count, len(samples.class_names))
    np.testing.assert_allclose(arrays.teacher_probs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(arrays.targets["train"], np.repeat(before.targets["train"], 3))
    # The first view of each image is the image, and the second its mirror image.
    views = arrays.pixels[arrays.indices["train"]].reshape(count, 3, 16, 16, 3)
    np.testing.assert_array_equal(views[:, 0], before.pixels[before.indices["train"]])
    np.testing.assert_array_equal(views[:, 1], views[:, 0, :, ::-1])
    for split in ("validation", "test"):
        images = [part.pixels[part.indices[split]] for part in (before, arrays)]
        np.testing.assert_array_equal(*images)
    model = sharpeye.load(teacher)
    train = [sample for sample in samples if sample.split == "train"]
    for sample, answers in zip(train[:4], arrays.teacher_probs[::3], strict=False):
        top = dict(model.predict(sample.file, top=len(samples.class_names)).top)
        expected = [top[name] for name in samples.class_names]
        np.testing.assert_allclose(answers, expected, atol=5e-3)


@pytest.mark.slow
def test_a_student_learns_from_the_answers_alone(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"distill__views": 4, "distill__weight": 1.0, "train__epochs": 6}
    output = tmp_path / "student"
    done = sharpeye.train(photos, output=output, distill__teacher=str(teacher), **TINY | options)
    losses = [float(row["validation_log_loss"]) for row in done.table("history.csv")]
    assert losses[-1] < losses[0]
    assert done.metrics["seconds"]["teacher"] > 0
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "learned from these images and from the answers of another model" in card
    again = sharpeye.train(
        photos, output=tmp_path / "2", distill__teacher=str(teacher), **TINY | options
    )
    assert [row["log_loss"] for row in again.table("history.csv")] == [
        row["log_loss"] for row in done.table("history.csv")
    ]


def test_the_loss_is_that_of_softened_answers() -> None:
    from nets import make_loss
    from sharpeye.learn.nets.backend import load_backend

    load_backend()
    logits = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], np.float32)
    teacher = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], np.float32)
    targets = {
        "label": np.array([0, 1], np.int32),
        "weight": np.ones(2, np.float32),
        "teacher": teacher,
    }
    loss = make_loss(teacher_weight=0.75, teacher_temperature=2.0)
    value = float(loss.sums({"logits": logits}, np.eye(3, dtype=np.float32)[:2], targets)[0])

    def softmax(values: Any) -> Any:
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    labels = -np.log(softmax(logits)[[0, 1], [0, 1]])
    softened = softmax(np.log(teacher) / 2)
    answers = -(softened * np.log(softmax(logits / 2))).sum(axis=1)
    assert value == pytest.approx(float((0.25 * labels + 0.75 * 4 * answers).sum()), rel=1e-4)


def test_a_teacher_of_other_classes_is_refused(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hard_photos(tmp_path / "hard")
    (folder / "cedar").rename(folder / "other")
    with pytest.raises(UsageError, match="--teacher needs a run with the same classes"):
        sharpeye.train(folder, output=tmp_path / "run", distill__teacher=str(teacher), **TINY)
    arguments = ["train", str(folder), "--model", "cnn", "-q", "-o", str(tmp_path / "run")]
    assert run([*arguments, "--teacher", str(tmp_path / "none")]) != 0
    one_line(capsys.readouterr().err)
    assert run([*arguments, "--teacher", str(teacher), "--task", "localize"]) == 2
    assert "--teacher goes with --task classify alone" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
