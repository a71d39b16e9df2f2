"""The confusion matrix as a PNG file."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.errors import EnvironmentFault
from sharpeye.report import confusion_image
from sharpeye.report.confusion_image import draw_confusion


def random_matrix(classes: int) -> np.ndarray:
    random = np.random.default_rng(classes)
    return random.poisson(0.3, (classes, classes)) + np.diag(random.integers(5, 40, classes))


@pytest.mark.parametrize(
    ("classes", "low", "high"), [(2, 300, 600), (10, 650, 900), (200, 1700, 2200)]
)
def test_size_grows_with_the_classes_and_stays_in_bounds(
    classes: int, low: int, high: int, tmp_path: Path
) -> None:
    file = tmp_path / "confusion_matrix.png"
    draw_confusion(random_matrix(classes), [f"class {i}" for i in range(classes)], file)
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG"
        assert all(low <= side <= high for side in image.size)
    assert list(tmp_path.iterdir()) == [file]


def test_the_diagonal_is_dark_and_the_rest_light(tmp_path: Path) -> None:
    file = tmp_path / "c.png"
    draw_confusion(np.diag([3, 3, 3, 3]), list("abcd"), file)
    with Image.open(file) as image:
        dark = np.asarray(image.convert("L")) < 90
    # Four squares of 65 px, less their counts and the white lines between them.
    assert 0.8 * 4 * 65**2 < dark.sum() < 1.15 * 4 * 65**2


@pytest.mark.parametrize(
    "labels",
    [
        ["猫", "犬"],
        ["قطة", "कुत्ता"],
        ["$5_$10", r"\frac{1}{2}$"],
        ["😀", "a\nb"],
        ["x" * 300, "C:\\temp"],
    ],
)
def test_any_class_name_is_drawn_without_a_warning(labels: list[str], tmp_path: Path) -> None:
    file = tmp_path / "c.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(2, dtype=int), labels, file)
    with Image.open(file) as image:
        assert max(image.size) < 900


def test_classes_without_images_are_no_error(tmp_path: Path) -> None:
    file = tmp_path / "c.png"
    draw_confusion(np.zeros((3, 3), int), ["a", "b", "c"], file)
    assert file.stat().st_size > 1000


def test_a_missing_folder_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"c\.png"):
        draw_confusion(np.eye(2, dtype=int), ["a", "b"], tmp_path / "nowhere" / "c.png")


def test_a_name_that_no_font_can_draw_is_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["cat", "\u732b", "\u00e4sche"]
    confusion_image.draw_confusion(np.eye(3, dtype=int), ["cat", "#2", "#3"], tmp_path / "a.png")
    monkeypatch.setattr(confusion_image, "_SYSTEM_FONTS", ("nowhere.ttf",))
    confusion_image.draw_confusion(np.eye(3, dtype=int), names, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_first_font_that_has_all_letters_of_a_name_draws_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fonts = {"a": "ab", "b": "abc", "c": "abcd"}
    monkeypatch.setattr(confusion_image, "_fonts", lambda _: iter(fonts))
    monkeypatch.setattr(confusion_image, "_has_letter", lambda font, letter: letter in fonts[font])
    assert confusion_image._label("c b", 1, 9) == ("c b", "b")
    assert confusion_image._label("cab d", 1, 9) == ("cab d", "c")
    assert confusion_image._label("e", 7, 9)[0] == "#7"


def test_the_letters_of_pillows_font_are_known() -> None:
    font = confusion_image._own_font(18.0)
    assert all(confusion_image._has_letter(font, letter) for letter in "Az09\u2026#")
    assert not any(confusion_image._has_letter(font, letter) for letter in "\u00e4\u732b\u0639")


def test_each_cell_has_the_colour_of_its_share(tmp_path: Path) -> None:
    """Counts of a row 1, 3, 0: the roots of 1/4, 3/4 and 0."""
    matrix = np.array([[1, 3, 0], [0, 9, 0], [0, 0, 0]])
    file = tmp_path / "c.png"
    draw_confusion(matrix, ["a", "b", "c"], file)
    with Image.open(file) as image:
        pixels = np.asarray(image).reshape(-1, 3)
    for share in (0.5, np.sqrt(0.75), 0.0, 1.0):
        color = confusion_image._colors(np.array([[share]]))[0, 0]
        assert (pixels == color).all(axis=1).sum() > 1000, share
