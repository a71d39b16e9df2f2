"""The paths of a configuration mean the same files from any current folder."""

import shutil
from pathlib import Path

import pytest

from sharpeye.core.config import Config
from sharpeye.core.config_paths import (
    describe_lookup,
    features_path,
    locate,
    on_folder,
    remember_current_folder,
    weights_path,
    with_typed_paths,
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which `photos` was typed; the current folder is another one."""
    (tmp_path / "work" / "photos").mkdir(parents=True)
    (tmp_path / "elsewhere" / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def remembered(**changes: str) -> Config:
    return remember_current_folder(Config().replace({"data.folder": "photos"} | changes))


def test_a_path_begins_where_it_was_typed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = remembered()
    assert config.data.folder == "photos"
    assert config.data.relative_to == str(work)
    assert locate(config, "photos") == Path("photos")  # as typed, while the folder is the same
    monkeypatch.chdir(work.parent / "elsewhere")
    assert locate(config, "photos") == work / "photos"
    assert locate(config, "/photos") == Path("/photos")
    assert remember_current_folder(config) is config


def test_images_that_were_moved_with_the_current_folder_are_there(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = remembered()
    shutil.move(work, work.with_name("moved"))
    monkeypatch.chdir(work.with_name("moved"))
    assert locate(config, "photos") == Path("photos")
    assert describe_lookup(config, "fotos") == (
        f"fotos, neither in {work}, where it was typed, nor in the current folder"
    )
    assert describe_lookup(config, "/fotos") == "/fotos"


@pytest.mark.usefixtures("work")
def test_absolute_paths_need_no_folder(tmp_path: Path) -> None:
    for folder in (str(tmp_path / "photos"), "~/photos"):
        assert remembered(**{"data.folder": folder}).data.relative_to == ""
    assert remembered(**{"data.folder": "", "model.weights": "imagenet"}).data.relative_to == ""


def test_weights_and_features_begin_there_too(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "my.h5").touch()
    (work / "features").mkdir()
    config = remembered(**{"model.weights": "my.h5", "data.features_folder": "features"})
    monkeypatch.chdir(work.parent)
    assert weights_path(config) == str(work / "my.h5")
    assert features_path(config) == work / "features"
    assert weights_path(Config()) == "auto"
    assert features_path(Config()) is None


def test_what_is_typed_now_begins_here(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = remembered()
    elsewhere = work.parent / "elsewhere"
    monkeypatch.chdir(elsewhere)
    typed = with_typed_paths(config, {"data.folder": "photos", "data.added": ["a", "/b"]})
    assert typed.data.folder == str(elsewhere / "photos")
    assert typed.data.added == (str(elsewhere / "a"), "/b")
    monkeypatch.chdir(work)
    assert with_typed_paths(config, {"data.folder": "new"}).data.folder == "new"


def test_the_same_folder_by_another_path_keeps_what_was_typed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = remembered().replace({"data.added": ("more",), "data.add_to": "run"})
    monkeypatch.chdir(work.parent / "elsewhere")
    assert on_folder(config, "../work/photos") is config
    other = on_folder(config, "photos")
    assert locate(other, other.data.folder) == Path("photos").absolute()
    assert (other.data.added, other.data.add_to) == ((), "")
