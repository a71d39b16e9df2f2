"""`predict --explain` and `Model.explain`: the heat is on the object, in the image's pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import sharpeye
from feature_map_models import write_finder
from localizer import COLOURS, LABELS, scene, write_localizer
from runner import one_line, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.core.types import ResizeMode
from sharpeye.errors import UsageError
from sharpeye.images.heat_overlay import COLOURS as HEAT_COLOURS
from sharpeye.predict.explain import occlusion

SIZE, EDGES = (320, 240), (80, 100, 240, 200)

Floats = npt.NDArray[np.float32]


def predict(*arguments: object) -> int:
    return run(["predict", *map(str, arguments)])


def assert_on(heat: Floats, edges: tuple[int, int, int, int], slack: int) -> None:
    """The hottest pixel is in the object; hot pixels are at most `slack` pixels outside."""
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert edges[0] <= x < edges[2] and edges[1] <= y < edges[3]
    rows, columns = np.nonzero(heat > 0.5)
    hot = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(hot, edges)).max() <= slack
    assert heat.max() == 1


@pytest.fixture
def heat_model(tmp_path: Path) -> Path:
    return write_finder(tmp_path / "model.onnx")


@pytest.fixture
def model_without_heat(tmp_path: Path) -> Path:
    """A model whose file outputs no heat maps."""
    return write_localizer(tmp_path / "no_heat.onnx", boxes=False, task="classify")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name, label in (("a.jpg", "red"), ("sub/a.png", "green"), ("sub/a.webp", "blue")):
        scene(folder / name, label, SIZE, EDGES)
    return folder


# --- from Python ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_the_heat_is_on_the_object(fit: ResizeMode, tmp_path: Path) -> None:
    model = sharpeye.load(write_finder(tmp_path / "m.onnx", fit))
    for label in LABELS:
        explanation = model.explain(scene(tmp_path / f"{label}.png", label, SIZE, EDGES))
        assert (explanation.label, explanation.prediction.label) == (label, label)
        assert explanation.score == explanation.prediction.score > 0.5
        assert explanation.heat.shape == SIZE[::-1]
        assert explanation.heat.dtype == np.float32
        assert_on(explanation.heat, EDGES, slack=32)  # a cell of 4 of 32 pixels


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_rotated_photo_gets_a_map_of_the_upright_image(
    fit: ResizeMode, orientation: int, tmp_path: Path
) -> None:
    size, edges = (1604, 1200), (640, 400, 1040, 800)
    file = scene(tmp_path / "large.jpg", "red", size, edges)
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turn = {**turns, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(file) as image:
        stored = image.transpose(turn) if turn is not None else image.copy()
    stored.save(file, quality=95, exif=exif)
    explanation = sharpeye.load(write_finder(tmp_path / "m.onnx", fit, side=64)).explain(file)
    assert explanation.heat.shape == size[::-1]
    assert_on(explanation.heat, edges, slack=110)


def test_every_kind_of_source_gives_the_same_map(heat_model: Path, images: Path) -> None:
    model, file = sharpeye.load(heat_model), images / "sub" / "a.png"
    first = model.explain(file)
    assert first.prediction == model.predict(file)
    with Image.open(file) as image:
        sources: list[Any] = [str(file), file.read_bytes(), image.copy(), np.asarray(image)]
    for source in sources:
        np.testing.assert_array_equal(model.explain(source).heat, first.heat)


def test_another_class_can_be_explained(heat_model: Path, tmp_path: Path) -> None:
    file = scene(tmp_path / "a.png", "red", SIZE, EDGES)
    with Image.open(file) as image:
        image.paste(COLOURS["blue"], (0, 0, 60, 60))
        image.save(file)
    model = sharpeye.load(heat_model)
    assert_on(model.explain(file).heat, EDGES, slack=32)
    explanation = model.explain(file, "blue")
    assert (explanation.label, explanation.prediction.label) == ("blue", "red")
    assert explanation.score == pytest.approx(dict(explanation.prediction.top)["blue"])
    assert_on(explanation.heat, (0, 0, 60, 60), slack=32)
    assert not model.explain(file, "green").heat[EDGES[1] + 9 : EDGES[3] - 9, 120:200].any()
    with pytest.raises(UsageError, match=r"one of the model's: blue, green, red\. Received: pink"):
        model.explain(file, "pink")


def test_a_model_without_heat_is_explained_by_occlusion(
    model_without_heat: Path, tmp_path: Path
) -> None:
    model = sharpeye.load(model_without_heat)
    assert not model.has_heat
    explanation = model.explain(scene(tmp_path / "a.png", "green", SIZE, EDGES))
    assert explanation.label == "green"
    assert_on(explanation.heat, EDGES, slack=60)


def test_occlusion_is_the_mean_drop_of_the_logarithm() -> None:
    """A model of one pixel: only patches over its cell change the probability, all equally."""

    def probabilities(pixels: npt.NDArray[np.uint8]) -> Floats:
        lit = pixels[:, 5, 13, 0] > 200
        return np.where(lit[:, None], [[0.8, 0.2]], [[0.2, 0.8]]).astype(np.float32)

    pixels = np.zeros((32, 32, 1), np.uint8)
    pixels[5, 13] = 255
    drops = occlusion(probabilities, pixels, 0)
    assert np.unravel_index(int(drops.argmax()), drops.shape) == (1, 3)
    assert drops.max() == pytest.approx(np.log(4))
    assert occlusion(probabilities, pixels, 1).max() <= 0
    assert np.count_nonzero(drops) == 9  # all cells that share a patch with it


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 50, 1), (227, 227, 3)])
def test_occlusion_accepts_any_input_shape(shape: tuple[int, int, int]) -> None:
    batch_sizes = []

    def probabilities(pixels: npt.NDArray[np.uint8]) -> Floats:
        batch_sizes.append(len(pixels))
        return np.full((len(pixels), 2), 0.5, np.float32)

    drops = occlusion(probabilities, np.zeros(shape, np.uint8), 0)
    assert drops.shape == (min(8, shape[0]), min(8, shape[1]))
    assert not drops.any()
    assert max(batch_sizes) <= 14


# --- files ---------------------------------------------------------------------------------------


def hot_pixels(file: Path) -> npt.NDArray[np.bool_]:
    """Where a heat-mapped image has nearly the hottest colour."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    is_hot = np.abs(pixels - HEAT_COLOURS[-1]).max(axis=2) < 90
    return is_hot & (pixels[..., 0] - pixels[..., 2] > 30)


def test_each_image_gets_a_heat_map_at_its_own_size(
    heat_model: Path, images: Path, tmp_path: Path
) -> None:
    before, out = tree(images), tmp_path / "out"
    assert predict(heat_model, images, "--explain", out) == 0
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert names == ["a.jpg", "sub/a-2.png", "sub/a.png"]
    assert tree(images) == before
    assert temporaries(tmp_path) == []
    for name in names:
        with Image.open(out / name) as image:
            assert image.size == SIZE
            corner = np.asarray(image.convert("RGB"))[:16, :90]
        assert (corner[..., 0] > 150).sum() > 30  # the text: class and score
        rows, columns = np.nonzero(hot_pixels(out / name))
        assert len(rows) > 1000
        assert columns.mean() == pytest.approx(160, abs=16)
        assert rows.mean() == pytest.approx(150, abs=16)


def test_a_model_without_heat_announces_occlusion(
    heat_model: Path, model_without_heat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = scene(tmp_path / "a.png", "green", SIZE, EDGES)
    assert predict(heat_model, file, "--explain", tmp_path / "quick") == 0
    assert capsys.readouterr().err == ""
    assert predict(model_without_heat, file, "--explain", tmp_path / "slow") == 0
    assert "holds no heat maps: each takes 82 predictions" in one_line(capsys.readouterr().err)
    assert hot_pixels(tmp_path / "slow" / "a.png").any()


def test_a_rotated_photo_gets_an_upright_heat_map(heat_model: Path, tmp_path: Path) -> None:
    file = scene(tmp_path / "in" / "a.jpg", "red", SIZE, (0, 0, 120, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(file) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(file, quality=95, exif=exif)
    assert predict(heat_model, file, "--explain", tmp_path / "out") == 0
    rows, columns = np.nonzero(hot_pixels(tmp_path / "out" / "a.jpg"))
    assert columns.mean() < 120 and rows.mean() < 120


def test_a_localizer_draws_its_box_too(tmp_path: Path) -> None:
    model = write_localizer(tmp_path / "model.onnx")
    file = scene(tmp_path / "a.png", "green", SIZE, EDGES)
    assert predict(model, file, "--explain", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        frame = (np.asarray(image) == (255, 200, 0)).all(axis=2)
    assert frame.sum() > 300


def test_the_class_to_explain_must_be_known(
    heat_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: tuple[tuple[list[object], str], ...] = (
        (["--explain", tmp_path / "out", "--explain-class", "pink"], "Received: pink"),
        (["--explain-class", "red"], "needs --explain DIR"),
        (["--explain", tmp_path / "out", "--draw", tmp_path / "out"], "folders of their own"),
    )
    for options, words in wrong:
        capsys.readouterr()
        assert predict(heat_model, images, *options) == 2
        assert words in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
    right = ["--explain", tmp_path / "out", "--explain-class", "red"]
    assert predict(heat_model, images / "sub", *right) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_existing_files_stay_and_no_image_is_overwritten(
    heat_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    existing, before = tmp_path / "out" / "a.jpg", tree(images)
    existing.parent.mkdir()
    existing.write_text("mine")
    assert predict(heat_model, images / "a.jpg", "--explain", existing.parent) == 0
    assert "kept: 1 file" in capsys.readouterr().err
    assert existing.read_text() == "mine"
    assert predict(heat_model, images / "a.jpg", "--explain", existing.parent, "--overwrite") == 0
    assert existing.stat().st_size > 200
    assert predict(heat_model, images, "--explain", images, "--overwrite") == 2
    assert "which stay as they are" in one_line(capsys.readouterr().err.splitlines()[-1])
    assert tree(images) == before


def test_unreadable_images_are_reported_and_the_others_explained(
    heat_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "0.jpg").write_text("<html>")
    assert predict(heat_model, images, "--explain", tmp_path / "out") == 3
    out, err = capsys.readouterr()
    assert out.count("\terror: ") == 1
    assert "1 of 4 files could not be read" in err
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 3
