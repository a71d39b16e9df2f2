"""Images of archives and folders."""

import csv
import errno
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from hostile_server import image
from runner import tree
from sharpeye.collect.imports import ImportResult, import_images
from sharpeye.collect.sources import CollectCounts
from sharpeye.data.image_folder import scan_folder
from sharpeye.errors import DataError, EnvironmentFault, ModelError, UsageError

FILES = {
    "rose/1.jpg": image("1"),
    "rose/deep/2.jpg": image("2"),
    "rose/again.jpg": image("1"),
    "rose/broken.jpg": b"<html>",
    "rose/notes.txt": b"none",
    "rose/.hidden.jpg": image("hidden"),
    "tulip/3": image("3"),
    "tulip/rose.jpg": image("1"),
    "LICENSE.md": b"free",
}
FORMS = ("folder", "zip", "tar.gz")


def make(folder: Path, form: str, files: dict[str, bytes]) -> Path:
    target = folder / ("source" if form == "folder" else f"source.{form}")
    if form == "folder":
        for name, data in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
    elif form == "zip":
        with zipfile.ZipFile(target, "w") as opened:
            for name, data in files.items():
                opened.writestr(name, data)
    else:
        with tarfile.open(target, "w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return target


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sources.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_import(source: Path, folder: Path, **options: bool) -> tuple[CollectCounts, ImportResult]:
    counts = CollectCounts()
    return counts, import_images(source, folder, counts=counts, licence="CC0", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_folders_of_the_source_are_classes(form: str, tmp_path: Path) -> None:
    source = make(tmp_path, form, FILES)
    before = tree(tmp_path)
    counts, result = run_import(source, tmp_path / "photos", classes=True)
    assert counts.counts == {"added": 3, "duplicate": 1, "rejected": 1, "conflict": 1}
    assert result.classes == ["rose", "tulip"]
    assert sorted(result.ignored.items()) == [(".md", 1), (".txt", 1)]
    samples = scan_folder(tmp_path / "photos")
    assert sorted(s.label for s in samples) == ["rose", "rose", "tulip"]
    assert {s.file.read_bytes() for s in samples} == {image(n) for n in "123"}
    assert not samples.rejected
    rows = {row["source"]: row for row in rows_of(tmp_path / "photos" / "rose")}
    assert set(rows) == {
        f"{source}/rose/{name}" for name in ("1.jpg", "deep/2.jpg", "again.jpg", "broken.jpg")
    }
    assert {row["licence"] for row in rows.values()} == {"CC0"}
    after = tree(tmp_path)
    assert {path: after[path] for path in before} == before
    assert not list(tmp_path.rglob(".sharpeye*"))
    assert not list(tmp_path.rglob(".sources.lock"))
    second_counts, _ = run_import(source, tmp_path / "photos", classes=True)
    assert second_counts.counts["added"] == 0
    assert len(scan_folder(tmp_path / "photos")) == 3


@pytest.mark.parametrize("form", FORMS)
def test_without_classes_all_are_of_one(form: str, tmp_path: Path) -> None:
    counts, result = run_import(make(tmp_path, form, FILES), tmp_path / "photos" / "flower")
    assert counts.counts == {"added": 3, "duplicate": 2, "rejected": 1}
    assert result.folders == 2
    assert len(list((tmp_path / "photos" / "flower").glob("*"))) == 4


def test_given_splits_stay_splits(tmp_path: Path) -> None:
    files = {
        f"{split}/{label}/1.jpg": image(split + label)
        for split in ("train", "test")
        for label in "ab"
    }
    _, result = run_import(make(tmp_path, "zip", files), tmp_path / "photos", classes=True)
    assert result.classes == ["test/a", "test/b", "train/a", "train/b"]
    samples = scan_folder(tmp_path / "photos")
    assert samples.given_splits
    assert len(samples) == 4


def test_a_hostile_archive_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "evil.zip"
    with zipfile.ZipFile(source, "w") as opened:
        opened.writestr("rose/1.jpg", image("1"))
        opened.writestr("../../evil.jpg", image("2"))
    with pytest.raises(ModelError, match="leads out of the folder"):
        run_import(source, tmp_path / "photos" / "rose")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != source]
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ModelError, match="no zip or tar"):
        run_import(tmp_path / "text.zip", tmp_path / "photos" / "rose")


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    source = make(tmp_path, "folder", {"rose/1.jpg": image("1")})
    (tmp_path / "outside.jpg").write_bytes(image("outside"))
    (source / "rose" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    counts, _ = run_import(source, tmp_path / "photos", classes=True)
    assert counts.counts == {"added": 1, "rejected": 1}
    assert "leads out of the folder" in counts.examples[0][1]


def test_a_source_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        run_import(tmp_path / "nowhere", tmp_path / "photos" / "rose")
    source = make(tmp_path, "folder", {"a/notes.txt": b"x"})
    with pytest.raises(DataError, match="no images in"):
        run_import(source, tmp_path / "photos" / "rose")
    source = make(tmp_path, "zip", {"1.jpg": image("1"), "2.jpg": image("2")})
    with pytest.raises(DataError, match="2 images, but in no sub-folder a class"):
        run_import(source, tmp_path / "photos", classes=True)


def test_a_full_disk_is_reported_for_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    source = make(tmp_path, "zip", FILES)
    with pytest.raises(EnvironmentFault) as caught:
        run_import(source, tmp_path / "data" / "rose")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'data' / 'rose'}: No space left")
    assert not list((tmp_path / "data").iterdir())
