"""A localizer's predictions: the box is in pixels of the original upright image by all paths."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from localizer import SIDE, Edges, scene, write_localizer
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.core.types import Prediction, ResizeMode
from sharpeye.errors import ModelError

SIZE, EDGES = (96, 64), (30, 12, 60, 36)


@pytest.fixture
def localizer(tmp_path: Path) -> Path:
    return write_localizer(tmp_path / "model.onnx")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return scene(tmp_path / "scenes" / "a.png", "green", SIZE, EDGES)


def assert_near(prediction: Prediction, edges: Edges, size: tuple[int, int]) -> None:
    """Within one pixel of the model's input: its resizing blurs that much."""
    assert prediction.box is not None
    assert prediction.box == pytest.approx(edges, abs=max(size) / SIDE)
    assert prediction.size == size


def test_every_kind_of_source_gives_the_same_box_in_pixels(localizer: Path, image: Path) -> None:
    model = sharpeye.load(localizer)
    assert (model.task, model.localizes) == ("localize", True)
    with Image.open(image) as opened:
        sources = [image, str(image), image.read_bytes(), opened.copy(), np.asarray(opened)]
        predictions = [*map(model.predict, sources), *model.predict(sources)]
    (by_file,) = model.predict_files([("a", image)])
    for prediction in [*predictions, by_file]:
        assert isinstance(prediction, Prediction)
        assert prediction.label == "green"
        assert_near(prediction, EDGES, SIZE)
        assert prediction.box == predictions[0].box


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_each_resize_mode_is_inverted(fit: ResizeMode, tmp_path: Path, image: Path) -> None:
    model = sharpeye.load(write_localizer(tmp_path / f"{fit}.onnx", fit=fit))
    assert_near(model.predict(image), EDGES, SIZE)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_box_of_a_large_photo_is_in_its_upright_pixels(
    fit: ResizeMode, orientation: int, tmp_path: Path
) -> None:
    size, edges = (1603, 1201), (640, 401, 960, 803)
    file = scene(tmp_path / "large.jpg", "red", size, edges)
    # Stored rotated; the prediction is for the upright image that a viewer shows.
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turn = {**turns, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(file) as image:
        stored = image.transpose(turn) if turn is not None else image.copy()
    stored.save(file, quality=95, exif=exif)
    model = sharpeye.load(write_localizer(tmp_path / "model.onnx", fit=fit))
    assert_near(model.predict(file), edges, size)
    assert_near(model.predict(file.read_bytes()), edges, size)


def test_a_box_stays_within_the_image(localizer: Path, tmp_path: Path) -> None:
    size = (200, 37)
    file = scene(tmp_path / "wide.png", "blue", size, (0, 0, 200, 37))
    box = sharpeye.load(localizer).predict(file).box
    assert box is not None
    assert box[0] >= 0 and box[1] >= 0 and box[2] <= 200 and box[3] <= 37
    assert box == pytest.approx((0, 0, 200, 37), abs=200 / SIDE)


def test_boxes_of_a_batch_are_relative_to_the_models_input(localizer: Path, image: Path) -> None:
    model = sharpeye.load(localizer)
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[0, 8:16, 4:28, 0] = 255
    pixels[1, :, :, 2] = 255
    outputs = model.run(pixels)
    assert outputs.probs.shape == (2, 3)
    assert outputs.boxes is not None
    np.testing.assert_allclose(outputs.boxes, [[1 / 8, 1 / 4, 7 / 8, 1 / 2], [0, 0, 1, 1]])
    np.testing.assert_array_equal(model.probabilities(pixels), outputs.probs)


def test_a_classifier_has_no_boxes(tmp_path: Path, image: Path) -> None:
    file = write_localizer(tmp_path / "classifier.onnx", boxes=False, task="classify")
    model = sharpeye.load(file)
    assert not model.localizes
    assert model.predict(image).box is None
    assert model.run(np.zeros((1, SIDE, SIDE, 3), np.uint8)).boxes is None


@pytest.mark.parametrize(
    ("boxes", "task", "edges", "words"),
    [
        (False, "localize", 4, "gives probs and 4 edges as box; this one gives probs"),
        (True, "classify", 4, "can classify gives probs; this one gives probs, box"),
        (True, "localize", 3, "4 edges as box"),
        (True, "detect", 4, "allowed: classify, localize"),
    ],
)
def test_a_graph_that_does_not_fit_its_task_is_refused(
    boxes: bool, task: str, edges: int, words: str, tmp_path: Path
) -> None:
    file = write_localizer(tmp_path / "x.onnx", boxes=boxes, task=task, edges=edges)
    with pytest.raises(ModelError, match=words):
        open_model(file)


# --- output formats ------------------------------------------------------------------------------


def stdout_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == code
    return capsys.readouterr().out


def test_the_three_formats_have_the_same_box(
    localizer: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image.parent / "b.jpg").write_text("<html>")
    text = stdout_of(capsys, "predict", localizer, image.parent, "--format", "jsonl", code=3)
    line = json.loads(text.splitlines()[0])
    assert line["box"] == pytest.approx(EDGES, abs=96 / SIDE)
    table = stdout_of(capsys, "predict", localizer, image.parent, "--format", "csv", code=3)
    good, bad = csv.DictReader(io.StringIO(table))
    header = "path,label,score,error,xmin,ymin,xmax,ymax,box_score,unknown,unknown_score"
    assert table.splitlines()[0] == header
    assert [float(good[edge]) for edge in ("xmin", "ymin", "xmax", "ymax")] == line["box"]
    assert (bad["xmin"], bad["ymax"]) == ("", "")
    words = stdout_of(capsys, "predict", localizer, image, "--top", "1").rstrip("\n").split("\t")
    xmin, ymin, xmax, ymax = (f"{edge:.0f}" for edge in line["box"])
    assert words[1].startswith("green ")
    assert words[2] == f"at {xmin},{ymin} to {xmax},{ymax}"
