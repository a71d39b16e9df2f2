"""The sample data sets: what is written, that it can be repeated, and that it is all or nothing."""

import functools
import io
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.collect import samples
from sharpeye.collect.shapes import SHAPES, box_of_mask, draw_shape
from sharpeye.core import storage
from sharpeye.errors import EnvironmentFault, MissingExtra, UsageError

LABELS = {
    "digits": [str(digit) for digit in range(10)],
    "faces": ["face", "not-face"],
    "shapes": ["circle", "cross", "ring", "square", "star", "triangle"],
}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too: relative path -> bytes."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def numbers_in(root: ET.Element, parent: str, *names: str) -> tuple[int, ...]:
    return tuple(int(root.findtext(f"{parent}/{name}") or "") for name in names)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    """Gives a sample's folder and number of images; each sample is written once."""
    root = tmp_path_factory.mktemp("samples")

    @functools.cache
    def write(name: str) -> tuple[Path, int]:
        folder = root / f"new-{name}" / name
        return folder, samples.write_sample(name, folder)

    return write


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SHAPES_PER_CLASS", 3)


def test_every_sample_has_a_description_in_one_line() -> None:
    described = samples.list_samples()
    assert list(described) == list(LABELS)
    assert all(text and "\n" not in text for text in described.values())


@pytest.mark.parametrize(
    ("name", "count"),
    [("digits", 1797), ("faces", 200), pytest.param("shapes", 360, marks=pytest.mark.slow)],
)
def test_a_sample_is_a_folder_a_class_of_readable_images(
    name: str, count: int, written: Callable[[str], tuple[Path, int]]
) -> None:
    folder, written_images = written(name)
    assert written_images == count
    assert sorted(entry.name for entry in folder.iterdir()) == LABELS[name]
    images = [file for file in folder.rglob("*") if file.suffix in (".png", ".jpg")]
    assert len(images) == count
    for file in images:
        assert file.name.startswith(("digit-", f"{file.parent.name}-"))
        with Image.open(file) as image:
            image.load()
            if name == "shapes":
                assert image.mode == "RGB" and 160 <= image.width <= 320
                assert 120 <= image.height <= 240
            else:
                assert (image.mode, image.size) == ("L", {"digits": (8, 8)}.get(name, (25, 25)))
    assert [entry.name for entry in folder.parent.iterdir()] == [name]


def test_digits_use_the_whole_range_of_grey(written: Callable[[str], tuple[Path, int]]) -> None:
    folder, _ = written("digits")
    with Image.open(folder / "0" / "digit-0001.png") as image:
        first = np.asarray(image)
    assert (first.min(), first.max()) == (0, 239)  # 0..15 of 16
    assert sum(1 for _ in (folder / "8").iterdir()) == 174


def test_faces_are_brighter_in_the_middle_than_background(
    written: Callable[[str], tuple[Path, int]],
) -> None:
    """The order of the two halves: a face fills its image, much of the background is black."""
    folder, _ = written("faces")
    means = {}
    for label in LABELS["faces"]:
        stack = []
        for file in sorted((folder / label).iterdir()):
            with Image.open(file) as image:
                stack.append(np.asarray(image))
        assert len(stack) == 100
        means[label] = np.mean(stack)
    assert means["face"] > means["not-face"] + 20


@pytest.mark.usefixtures("few_shapes")
def test_shapes_depend_on_the_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("first", 5), ("second", 5), ("third", 6)):
        assert samples.write_sample("shapes", tmp_path / name, seed=seed) == 18
    first, second, third = (tree(tmp_path / name) for name in ("first", "second", "third"))
    assert first == second
    assert set(first) == set(third)
    assert all(first[path] != third[path] for path in first if path.endswith(".jpg"))


@pytest.mark.usefixtures("few_shapes")
def test_annotations_name_their_image_and_hold_its_size_and_box(tmp_path: Path) -> None:
    samples.write_sample("shapes", tmp_path / "shapes", seed=2)
    for class_index, label in enumerate(SHAPES):
        for number in (1, 2, 3):
            file = tmp_path / "shapes" / label / f"{label}-{number:04}.jpg"
            root = ET.parse(file.with_suffix(".xml")).getroot()
            assert root.findtext("folder") == root.findtext("object/name") == label
            assert root.findtext("filename") == file.name
            with Image.open(file) as image:
                size = numbers_in(root, "size", "width", "height", "depth")
                assert size == (*image.size, 3)
            mask = draw_shape(label, np.random.default_rng([2, class_index, number])).mask
            box = numbers_in(root, "object/bndbox", "xmin", "ymin", "xmax", "ymax")
            assert box == box_of_mask(mask)


@pytest.mark.parametrize("label", SHAPES)
def test_boxes_hold_the_visible_object(label: str) -> None:
    """The object's pixels, found by their colour in the JPEG, end where the box ends."""
    for seed in range(8):
        drawing = draw_shape(label, np.random.default_rng(seed))
        with Image.open(io.BytesIO(samples._jpeg(drawing.pixels))) as image:
            hue = np.asarray(image.convert("HSV"))[..., 0].astype(int)  # 0..255 is one turn
        object_hue = np.median(hue[drawing.mask])
        close = np.abs((hue - object_hue + 128) % 256 - 128) < 20
        xmin, ymin, xmax, ymax = box_of_mask(drawing.mask)
        # A row or column counts if two of its pixels agree: grain can turn the hue of one.
        rows = np.flatnonzero(close[:, xmin - 1 : xmax].sum(axis=1) >= 2) + 1
        columns = np.flatnonzero(close[ymin - 1 : ymax].sum(axis=0) >= 2) + 1
        inside = rows[(rows >= ymin - 3) & (rows <= ymax + 3)]
        across = columns[(columns >= xmin - 3) & (columns <= xmax + 3)]
        visible = np.array([across[0], inside[0], across[-1], inside[-1]])
        assert np.abs(visible - (xmin, ymin, xmax, ymax)).max() <= 2
        height, width = drawing.mask.shape
        assert 1 < xmin < xmax < width and 1 < ymin < ymax < height


def test_a_box_counts_from_one_and_includes_its_last_pixel() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:6] = True
    assert box_of_mask(mask) == (3, 2, 6, 4)


def test_unknown_names_get_a_near_match(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"digit\. Did you mean digits\?"):
        samples.write_sample("digit", tmp_path / "new")
    with pytest.raises(UsageError, match="seed=-1"):
        samples.write_sample("shapes", tmp_path / "new", seed=-1)
    assert not any(tmp_path.iterdir())


def test_existing_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="full is not empty; choose a folder that does not"):
        samples.write_sample("faces", tmp_path / "full")
    with pytest.raises(UsageError, match="is a file; choose"):
        samples.write_sample("faces", tmp_path / "file")
    with pytest.raises(EnvironmentFault, match="a file is where a folder should be"):
        samples.write_sample("faces", tmp_path / "file" / "below")
    assert tree(tmp_path) == before


def test_an_empty_folder_is_filled_but_not_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    assert samples.write_sample("faces", tmp_path / "empty") == 200
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match=r"current folder .* such as pictures"):
        samples.write_sample("faces", Path())
    assert samples.write_sample("faces", Path("sample")) == 200


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_midway_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(seed: int) -> Iterator[tuple[str, bytes]]:
        yield "a/1.png", b"1"
        raise error

    monkeypatch.setitem(samples._SAMPLES, "digits", ("breaks", broken))
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "new"):
        with pytest.raises((EnvironmentFault, KeyboardInterrupt)):
            samples.write_sample("digits", tmp_path / folder)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.usefixtures("few_shapes")
def test_the_folder_is_hidden_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def draw_and_list(label: str, random: np.random.Generator) -> object:
        names.extend(entry.name for entry in tmp_path.iterdir())
        return draw_shape(label, random)

    monkeypatch.setattr(samples, "draw_shape", draw_and_list)
    samples.write_sample("shapes", tmp_path / "shapes")
    assert names and all(name.startswith(storage.TEMPORARY_PREFIX) for name in names)
    assert [entry.name for entry in tmp_path.iterdir()] == ["shapes"]


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: None)
    for name in ("digits", "faces"):
        with pytest.raises(MissingExtra, match=rf"`{name}` needs scikit-.*sharpeye\[samples\]"):
            samples.write_sample(name, tmp_path / name)
    assert not any(tmp_path.iterdir())
