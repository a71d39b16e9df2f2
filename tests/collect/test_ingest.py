"""How images enter a class folder."""

import csv
import hashlib
import multiprocessing
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hostile_server import image, png_bomb
from sharpeye.collect import ingest as module
from sharpeye.collect.ingest import ClassFolder, Ingested
from sharpeye.collect.sources import COLUMNS
from sharpeye.core import storage
from sharpeye.errors import EnvironmentFault, UsageError
from sharpeye.images.decode_limits import DecodeLimits, use_limits

DATA = image("/good/1")
OTHER = image("/good/2")
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "photos" / "rose"


def ingest(data: bytes, folder: Path, **options: Any) -> Ingested:
    with ClassFolder(folder) as opened:
        return opened.ingest(data, **options)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sources.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_named_by_its_content_and_recorded(folder: Path) -> None:
    ingested = ingest(DATA, folder, source="http://a/1", licence="CC0")
    assert ingested.status == "added"
    assert ingested.path is not None
    assert ingested.path.read_bytes() == DATA
    assert ingested.path.stem == DIGEST[:16]
    assert names(folder) == sorted([ingested.path.name, "sources.csv"])
    (row,) = rows_of(folder)
    assert tuple(row) == COLUMNS
    assert row.pop("time").endswith("Z")
    assert row == {
        "path": ingested.path.name,
        "source": "http://a/1",
        "licence": "CC0",
        "sha256": DIGEST,
        "status": "added",
        "reason": "",
    }


def test_several_images_enter_under_one_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy among them is recognized, and other processes see all of them afterwards."""
    acquired: list[Path] = []
    acquire = storage.FileLock.try_acquire

    def count(self: storage.FileLock, *, wait_seconds: float = 0) -> bool:
        acquired.append(self.path)
        return acquire(self, wait_seconds=wait_seconds)

    monkeypatch.setattr(storage.FileLock, "try_acquire", count)
    with ClassFolder(folder) as opened:
        with opened.locked():
            statuses = [
                opened.ingest(data, source=f"{number}").status
                for number, data in enumerate((DATA, OTHER, DATA, b"none"))
            ]
            assert opened.arrived("2") and not opened.arrived("3")
        assert len(acquired) == 1
        assert statuses == ["added", "added", "duplicate", "rejected"]
        assert opened.ingest(OTHER, source="4").status == "duplicate"
    assert [row["status"] for row in rows_of(folder)] == [*statuses, "duplicate"]


def test_the_suffix_is_that_of_the_content(folder: Path) -> None:
    suffixes = set()
    for number in range(40):
        ingested = ingest(image(f"/{number}"), folder, source=f"{number}.jpg")
        assert ingested.path is not None
        suffixes.add(ingested.path.suffix)
    assert suffixes == {".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>", "a saved web page"),
        (png_bomb(), "megapixels|side is over"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "damaged JPEG"),
        (b"%!PS", "PostScript"),
    ],
)
def test_data_that_cannot_be_decoded_are_not_written(
    data: bytes, reason: str, folder: Path
) -> None:
    ingested = ingest(data, folder, source="x.jpg")
    assert (ingested.path, ingested.status) == (None, "rejected")
    assert names(folder) == ["sources.csv"]
    (row,) = rows_of(folder)
    assert (row["path"], row["status"], row["reason"]) == ("", "rejected", ingested.reason)
    assert any(part in ingested.reason for part in reason.split("|"))


def test_too_large_data_are_not_decoded(folder: Path) -> None:
    with use_limits(DecodeLimits(file_bytes=len(DATA) - 1)):
        ingested = ingest(DATA, folder, source="x")
    assert ingested.status == "rejected"
    assert "limit" in ingested.reason


def test_the_same_bytes_are_there_once_under_any_name(folder: Path) -> None:
    (folder / "garden").mkdir(parents=True)
    (folder / "garden" / "mine.jpeg").write_bytes(DATA)
    ingested = ingest(DATA, folder, source="a")
    assert (ingested.status, ingested.reason) == (
        "duplicate",
        "the same image as garden/mine.jpeg",
    )
    with ClassFolder(folder) as opened:
        assert opened.ingest(OTHER, source="b").status == "added"
        again = opened.ingest(OTHER, source="c", stem="other")
    assert again.status == "duplicate"
    assert len(list(folder.glob("*.*"))) == 2  # one image and sources.csv
    assert [row["status"] for row in rows_of(folder)] == ["duplicate", "added", "duplicate"]


@pytest.mark.parametrize("stem", [None, "frame.7"])
def test_an_image_whose_process_was_killed_before_it_was_recorded_gets_its_source(
    stem: str | None, folder: Path
) -> None:
    image = ingest(DATA, folder, source="a", stem=stem).path
    assert image is not None
    (folder / "sources.csv").unlink()
    with ClassFolder(folder) as opened:
        again = opened.ingest(DATA, source="a", stem=stem)
        assert (again.path, again.status) == (image, "added")
        assert opened.ingest(DATA, source="a", stem=stem).status == "duplicate"
    assert names(folder) == [image.name, "sources.csv"]
    assert [row["path"] for row in rows_of(folder)] == [image.name, ""]


def test_the_same_bytes_in_another_class_are_a_conflict(folder: Path) -> None:
    tulip = folder.parent / "tulip"
    (tulip / "deep").mkdir(parents=True)
    (tulip / "deep" / "1.jpg").write_bytes(DATA)
    (folder.parent / ".hidden").mkdir()
    (folder.parent / ".hidden" / "2.jpg").write_bytes(OTHER)
    ingested = ingest(DATA, folder, source="a")
    assert (ingested.path, ingested.status) == (None, "conflict")
    assert ingested.reason == "the same image is in another class: tulip/deep/1.jpg"
    assert ingest(OTHER, folder, source="b").status == "added"
    assert not (tulip / "sources.csv").exists()


def test_two_folders_that_are_open_at_once_see_each_other(folder: Path) -> None:
    with ClassFolder(folder) as rose, ClassFolder(folder.parent / "tulip") as tulip:
        assert rose.ingest(image("first"), source="a").status == "added"
        assert tulip.ingest(image("second"), source="b").status == "added"
        assert tulip.ingest(DATA, source="c").status == "added"
        assert rose.ingest(DATA, source="d").status == "conflict"
    with ClassFolder(folder) as first, ClassFolder(folder) as second:
        assert first.ingest(OTHER, source="e", stem="named").status == "added"
        assert second.ingest(OTHER, source="f").status == "duplicate"


def test_a_deleted_image_may_come_back_from_elsewhere(folder: Path) -> None:
    first = ingest(DATA, folder, source="a")
    assert first.path is not None
    first.path.unlink()
    with ClassFolder(folder) as opened:
        assert opened.arrived("a")
        assert not opened.arrived("b")
        assert opened.ingest(DATA, source="b").status == "added"


def test_a_given_name_is_used_and_replaces_no_file(folder: Path) -> None:
    with ClassFolder(folder) as opened:
        results = [
            opened.ingest(image(f"/{n}"), source="v", stem="clip_nohash_1.5s") for n in range(30)
        ]
    stems = Counter(path.stem for ingested in results if (path := ingested.path))
    assert stems["clip_nohash_1.5s"] == len({p.suffix for d in results if (p := d.path)})
    assert len({ingested.path for ingested in results}) == 30
    assert all(stem.startswith("clip_nohash_1.5s") for stem in stems)


@pytest.mark.parametrize(
    "stem", ["", "a/b", "..", ".hidden", "a\nb", "a\\b", "x" * 121, "a ", "a."]
)
def test_a_name_that_leads_elsewhere_is_refused(stem: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="`stem` must be"):
        ingest(DATA, folder, source="a", stem=stem)
    assert names(folder) == []


def test_a_file_in_the_way_is_not_replaced(folder: Path) -> None:
    first = ingest(DATA, folder, source="a")
    assert first.path is not None
    first.path.write_bytes(b"edited by hand")
    second = ingest(DATA, folder, source="b")
    assert second.status == "added"
    assert second.path is not None
    assert second.path.stem == f"{DIGEST[:16]}-2"
    assert first.path.read_bytes() == b"edited by hand"


def test_lines_stay_lines_whatever_is_in_them(folder: Path) -> None:
    ingest(DATA, folder, source='a\n,"b"\r\x1b[2J\u2028c', licence='"x\ny')
    with ClassFolder(folder) as opened:
        assert opened.arrived('a\n,"b"\r\x1b[2J\u2028c')
    (row,) = rows_of(folder)
    assert row["source"] == 'a ,"b"  [2J c'
    assert row["licence"] == '"x y'
    assert len((folder / "sources.csv").read_bytes().splitlines()) == 2


def test_a_password_is_not_recorded(folder: Path) -> None:
    ingest(DATA, folder, source="https://user:secret@host/1.jpg?x=@")
    assert [row["source"] for row in rows_of(folder)] == ["https://***@host/1.jpg?x=@"]
    ingest(OTHER, folder, source="photos//a@b.jpg")
    assert rows_of(folder)[1]["source"] == "photos//a@b.jpg"
    with ClassFolder(folder) as opened:
        assert opened.arrived("https://user:secret@host/1.jpg?x=@")


def test_a_torn_line_is_ended_and_ignored(folder: Path) -> None:
    ingest(DATA, folder, source="a")
    with (folder / "sources.csv").open("a") as file:
        file.write('x.jpg,"http://a/torn, and')
    with ClassFolder(folder) as opened:
        assert opened.ingest(OTHER, source="b").status == "added"
        assert [opened.arrived(name) for name in "ab"] == [True, True]
    assert (folder / "sources.csv").read_text().count("\n") == 4


def test_a_full_disk_leaves_nothing_half_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise storage.explain_os_error(OSError(28, "No space left on device"), path)

    monkeypatch.setattr(module.storage, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        ingest(DATA, folder, source="a")
    assert names(folder) == []


def test_a_file_in_place_of_the_folder_is_an_error(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(EnvironmentFault, match="a file is where a folder should be"):
        ingest(DATA, folder, source="a")


def _fill(folder: Path, first: int) -> None:
    with ClassFolder(folder) as opened:
        for number in range(first, first + 20):
            opened.ingest(image(f"/{number}"), source=f"{first}:{number}")


def test_processes_and_threads_may_fill_one_folder(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(folder, first)) for first in (0, 10)]
    threads = [threading.Thread(target=_fill, args=(folder, first)) for first in (5, 15)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join()
    rows = rows_of(folder)
    assert Counter(row["status"] for row in rows) == {"added": 35, "duplicate": 45}
    assert len({row["sha256"] for row in rows if row["path"]}) == 35
    assert len(names(folder)) == 35 + 1


def test_the_current_folder_is_a_class_folder_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "tulip").mkdir(parents=True)
    (folder.parent / "tulip" / "1.jpg").write_bytes(DATA)
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert ingest(DATA, Path("."), source="a").status == "conflict"
    monkeypatch.chdir(folder.parent)
    assert ingest(DATA, Path("rose"), source="a").status == "conflict"


def test_a_warning_says_when_there_are_too_many_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MAX_FILES", 2)
    for name in ("a", "b", "c"):
        ingest(image(name), folder, source=name)
    ingest(DATA, folder, source="d")
    assert "copies of the others are not seen" in caplog.text
