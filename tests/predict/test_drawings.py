"""`predict --draw` and `--write-voc`: which files are written, and that no image is changed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from localizer import COLOURS, scene, write_localizer
from runner import one_line, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.core.types import Prediction
from sharpeye.images.voc_xml import parse_voc
from sharpeye.predict.draw import draw_prediction
from sharpeye.predict.output_paths import OutputPaths

SIZE, EDGES = (320, 240), (80, 100, 240, 200)
YELLOW = np.array((255, 200, 0))


@pytest.fixture
def localizer(tmp_path: Path) -> Path:
    return write_localizer(tmp_path / "model.onnx")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four images, two of them with names that differ in the suffix only."""
    folder = tmp_path / "pictures"
    for name, label in (("a.jpg", "red"), ("sub/a.png", "green"), ("sub/a.webp", "blue")):
        scene(folder / name, label, SIZE, EDGES)
    scene(folder / "sub" / "b.bmp", "red", SIZE, EDGES)
    return folder


def predict(*arguments: object) -> int:
    return run(["predict", *map(str, arguments)])


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def prediction_of(box: tuple[float, float, float, float] | None, label: str = "bird") -> Prediction:
    return Prediction(label, 0.97, [(label, 0.97)], box)


def frame_of(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The edges of the pixels with the frame's exact colour; text is antialiased."""
    is_frame = (np.asarray(image) == YELLOW).all(axis=2)
    rows, columns = np.flatnonzero(is_frame.sum(1) > 20), np.flatnonzero(is_frame.sum(0) > 20)
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# --- drawing -------------------------------------------------------------------------------------


def test_the_frame_is_where_the_box_is() -> None:
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    drawn = draw_prediction(image, prediction_of((100.2, 60.4, 300.0, 250.0)))
    assert frame_of(drawn) == (100, 60, 300, 250)
    assert drawn.getpixel((200, 150)) == (90, 90, 90)
    assert image.getextrema() == ((90, 90),) * 3


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 64.0, 48.0),
        (63.0, 47.0, 64.0, 48.0),
        (30.0, 20.0, 30.0, 20.0),
        (60.0, 0.0, 64.0, 3.0),
        None,
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (1200, 40), (12, 9), (1, 1)])
def test_any_box_and_size_can_be_drawn(
    box: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> None:
    scaled = box and (
        box[0] / 64 * size[0],
        box[1] / 48 * size[1],
        box[2] / 64 * size[0],
        box[3] / 48 * size[1],
    )
    image = Image.new("RGB", size, (255, 255, 255))
    drawn = draw_prediction(image, prediction_of(scaled, "a rather long name of a class"))
    assert drawn.size == size
    assert drawn.tobytes() != image.tobytes()


def test_the_text_stays_within_the_image() -> None:
    """Without space beside or above the box the text moves, or gets smaller."""
    image = Image.new("RGB", (400, 300), (255, 255, 255))
    for box in ((380.0, 0.0, 400.0, 20.0), (0.0, 290.0, 10.0, 300.0), None):
        narrow = np.asarray(draw_prediction(image, prediction_of(box, "i")))
        wide = np.asarray(draw_prediction(image, prediction_of(box, "w" * 55)))
        lit = (wide[..., 0] > 150) & (wide[..., 2] < 90)  # text or frame
        assert lit.sum() > ((narrow[..., 0] > 150) & (narrow[..., 2] < 90)).sum() + 300
        black = (wide < 60).all(axis=2)
        columns = np.flatnonzero(black.sum(axis=0) > 3)
        assert columns[-1] - columns[0] > 300  # the plate has all of the 60 characters


def test_each_image_is_drawn_at_its_own_size(localizer: Path, images: Path, tmp_path: Path) -> None:
    before, out = tree(images), tmp_path / "out"
    assert predict(localizer, images, "--draw", out) == 0
    assert files(out) == ["a.jpg", "sub/a-2.png", "sub/a.png", "sub/b.png"]
    assert tree(images) == before
    assert temporaries(tmp_path) == []
    for name, label in (("sub/a.png", "green"), ("sub/a-2.png", "blue"), ("sub/b.png", "red")):
        with Image.open(out / name) as image:
            assert image.size == SIZE
            assert frame_of(image) == pytest.approx(EDGES, abs=SIZE[0] / 32)
            assert image.getpixel((160, 150)) == pytest.approx(COLOURS[label], abs=2)  # WebP
    with Image.open(out / "a.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == SIZE


def test_a_rotated_photo_is_drawn_upright(localizer: Path, tmp_path: Path) -> None:
    file = scene(tmp_path / "in" / "a.jpg", "red", SIZE, EDGES)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(file) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(file, quality=95, exif=exif)
    assert predict(localizer, file, "--draw", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.jpg") as drawn:
        assert drawn.size == SIZE
        assert not drawn.getexif()
        red, green, blue = drawn.convert("RGB").getpixel((160, 150))
    assert red > 230 and green < 60 and blue < 60


def test_a_classifier_draws_text_alone(images: Path, tmp_path: Path) -> None:
    model = write_localizer(tmp_path / "classifier.onnx", boxes=False, task="classify")
    assert predict(model, images / "sub" / "a.png", "--draw", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.png") as drawn:
        assert frame_of(drawn) is None
        corner = np.asarray(drawn)[:20, :60]
        assert corner.max() > 150  # the image is black there
        assert np.asarray(drawn)[210:].max() == 0


def test_existing_files_stay_without_overwrite(
    localizer: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for flag, suffix in (("--draw", "png"), ("--write-voc", "xml")):
        existing = out / "sub" / f"a.{suffix}"
        existing.parent.mkdir(parents=True, exist_ok=True)
        existing.write_text("mine")
        capsys.readouterr()
        assert predict(localizer, images / "sub", flag, out / "sub") == 0
        assert "kept: 1 file that were there already; --overwrite" in capsys.readouterr().err
        assert existing.read_text() == "mine"
        assert predict(localizer, images / "sub", flag, out / "sub", "--overwrite") == 0
        assert existing.stat().st_size > 200


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_no_image_is_overwritten(
    more: list[str],
    localizer: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = tree(images)
    monkeypatch.chdir(images)
    for paths, out in (
        ([images], images),
        ([images], images / "drawn"),
        (["a.jpg"], "."),
        (["sub", images / "a.jpg"], images),
    ):
        capsys.readouterr()
        assert predict(localizer, *paths, "--draw", out, *more) == 2
        assert "which stay as they are" in one_line(capsys.readouterr().err.splitlines()[-1])
    assert tree(images) == before


def test_a_link_out_of_the_output_folder_is_refused(
    localizer: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    assert predict(localizer, images, "--draw", tmp_path / "out") == 2
    assert "leads out of" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_unreadable_images_are_reported_and_the_others_drawn(
    localizer: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "0.jpg").write_text("<html>")
    (images / "sub" / "c.png").write_bytes((images / "sub" / "a.png").read_bytes()[:200])
    out = tmp_path / "out"
    assert predict(localizer, images, "nowhere.jpg", "--draw", out, "--write-voc", out) == 3
    out_text, err = capsys.readouterr()
    assert out_text.count("\terror: ") == 3
    assert "3 of 7 files could not be read" in err
    assert "not written: 1 file whose name another image's has" in err
    drawn = ["a.jpg", "sub/a-2.png", "sub/a.png", "sub/b.png"]
    assert files(out) == sorted([*drawn, "a.xml", "sub/a.xml", "sub/b.xml"])


def test_a_folder_that_cannot_be_created_ends_with_5(
    localizer: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert predict(localizer, images / "a.jpg", "--draw", tmp_path / "file" / "out") == 5
    assert "cannot write" in capsys.readouterr().err


# --- annotations ---------------------------------------------------------------------------------


def test_annotations_are_in_the_images_tree_with_their_boxes(
    localizer: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(localizer, images, "--write-voc", out) == 0
    assert files(out) == ["a.xml", "sub/a.xml", "sub/b.xml"]
    annotation = parse_voc((out / "sub" / "a.xml").read_bytes(), "a.xml")
    assert annotation.filename == "a.png"
    assert (annotation.width, annotation.height) == SIZE
    assert not annotation.verified
    (item,) = annotation.objects
    assert item.name == "green"
    # Pascal VOC counts from 1 and includes the last pixel.
    expected = (EDGES[0] + 1, EDGES[1] + 1, EDGES[2], EDGES[3])
    edges = (item.xmin, item.ymin, item.xmax, item.ymax)
    assert edges == pytest.approx(expected, abs=SIZE[0] / 32)


def test_annotations_need_boxes(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_localizer(tmp_path / "classifier.onnx", boxes=False, task="classify")
    assert predict(model, images, "--write-voc", tmp_path / "out") == 2
    assert "train one with --task localize" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


# --- names ---------------------------------------------------------------------------------------


def test_output_names_are_unique_ignoring_case(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    paths = OutputPaths(tmp_path / "out", roots)
    images = ["one/x/A.jpg", "two/x/a.gif", "two/x/a-2.gif", "elsewhere/A.jpg", "a"]
    assigned = [paths.assign(tmp_path / image, ".png") for image in images]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in assigned if path] == [
        "x/A.png",
        "x/a-2.png",
        "x/a-2-2.png",
        "A.png",
        "a-2.png",
    ]


def test_a_name_that_is_not_utf8_is_drawn(localizer: Path, tmp_path: Path) -> None:
    source = scene(tmp_path / "a.png", "red", SIZE, EDGES)
    folder = tmp_path / "odd"
    folder.mkdir()
    with open(bytes(folder) + b"/\xff\n.png", "wb") as file:
        file.write(source.read_bytes())
    assert (
        predict(localizer, folder, "--draw", tmp_path / "out", "--write-voc", tmp_path / "x") == 0
    )
    assert len(files(tmp_path / "out")) == len(files(tmp_path / "x")) == 1
