"""The confusion matrix as a PNG file."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.errors import EnvironmentFault, MissingExtra
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


def test_without_matplotlib_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"needs matplotlib.*sharpeye\[train\]"):
        draw_confusion(np.eye(2, dtype=int), ["a", "b"], tmp_path / "c.png")


def test_importing_the_room_loads_no_plotting_and_no_templates() -> None:
    code = (
        "import sys, sharpeye.report.run_page, sharpeye.report.confusion_image;"
        "sys.exit(bool({'matplotlib', 'jinja2', 'tensorflow', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_does_not_load_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, numpy, pathlib; from sharpeye.report.confusion_image import *;"
        "draw_confusion(numpy.eye(2, dtype=int), ['a', 'b'], pathlib.Path(sys.argv[1]));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c.png")]
    assert subprocess.run(command, check=False).returncode == 0


def test_settings_of_the_user_do_not_change_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook's drawing surface, and a `matplotlibrc` of the folder the user stands in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: red\n")
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "from sharpeye.report.confusion_image import draw_confusion\n"
        "draw_confusion(np.eye(2, dtype=int), ['a', 'b'], Path(sys.argv[1]))\n"
        "import os; assert os.environ['MPLBACKEND'] == 'module://nowhere'"
    )
    variables = os.environ | {"MPLBACKEND": "module://nowhere", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "odd.png")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    draw_confusion(np.eye(2, dtype=int), ["a", "b"], tmp_path / "here.png")
    assert (tmp_path / "odd.png").read_bytes() == (tmp_path / "here.png").read_bytes()
