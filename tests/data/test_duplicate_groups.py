"""The groups of nearly the same images are found once for a data set that takes long."""

import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sharpeye.core.types import Sample
from sharpeye.data import duplicate_groups as module
from sharpeye.data.digest import add_digests
from sharpeye.data.duplicate_groups import FOLDER, find_duplicate_groups
from sharpeye.data.image_folder import scan_folder


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Sample, ...]:
    """Two different drawings, a recompressed copy of the first, and a blank image."""
    monkeypatch.setattr(module, "_MIN_SECONDS", 0.0)
    monkeypatch.setenv("SHARPEYE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "images"
    for name, corners in (("a", ((20, 30), (90, 120))), ("b", ((70, 10), (150, 60)))):
        image = Image.new("RGB", (160, 160), "white")
        ImageDraw.Draw(image).ellipse((*corners[0], *corners[1]), fill="navy")
        ImageDraw.Draw(image).line((*corners[1], 5, 150), fill="red", width=9)
        (folder / name).mkdir(parents=True)
        image.save(folder / name / "1.png")
        if name == "a":
            image.save(folder / name / "2.jpg", quality=60)
    Image.new("RGB", (160, 160), "white").save(folder / "b" / "blank.png")
    return add_digests(scan_folder(folder), 2).samples


def stored_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache" / FOLDER).iterdir()
    return file


def test_groups_are_found_once(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_duplicate_groups(samples)
    by_path = {sample.path: sample.sha256 for sample in samples}
    assert found.groups == ((by_path["a/1.png"], by_path["a/2.jpg"]),)
    assert found.blank == {by_path["b/blank.png"]}
    monkeypatch.setattr(module, "load_thumbnails", lambda *_: pytest.fail("they are stored"))
    assert find_duplicate_groups(samples) == found
    with pytest.raises(pytest.fail.Exception):
        find_duplicate_groups(samples[:-1])  # another data set


@pytest.mark.parametrize("position", [0, 30, 60, -5])
def test_a_damaged_file_costs_a_warning(
    position: int,
    samples: tuple[Sample, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = find_duplicate_groups(samples)
    file = stored_file(tmp_path)
    intact = file.read_bytes()
    damaged = bytearray(intact)
    damaged[position] ^= 1
    file.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "sharpeye"):
        assert find_duplicate_groups(samples) == found
    assert "is damaged" in caplog.text and file.read_bytes() == intact


def test_an_image_that_cannot_be_read_is_tried_again(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "images" / "b")
    assert find_duplicate_groups(samples).blank == frozenset()
    assert not (tmp_path / "cache" / FOLDER).exists()


def test_a_cache_that_cannot_be_written_costs_a_warning(
    samples: tuple[Sample, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FOLDER).touch()
    with caplog.at_level(logging.WARNING, "sharpeye"):
        assert len(find_duplicate_groups(samples).groups) == 1
    assert "not remembered" in caplog.text
