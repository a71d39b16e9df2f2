"""What is an image in a folder, what is left out, and names that can be printed and found again."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.config import CONFIG_MARK
from sharpeye.core.regular_files import open_regular
from sharpeye.data.file_walk import (
    RUN_DIRECTORY,
    describe_ignored,
    has_image_signature,
    original_name,
    printable,
    walk_images,
)
from sharpeye.data.system_names import is_system_name

posix = pytest.mark.skipif(os.name == "nt", reason="names and files that only POSIX has")


def image(file: Path, kind: str = "PNG") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(opened, kind)


def names(root: Path) -> list[str]:
    return [relative for relative, _ in walk_images(root).files]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize(
    "name",
    ["1.jpg_large", "WhatsApp Image 2021-05-12 at 10.30.45", "scan.001", "4.png!d", "5", "6.tmp"],
)
def test_content_makes_an_image_whatever_its_suffix(tmp_path: Path, name: str, kind: str) -> None:
    image(tmp_path / name, kind)
    assert names(tmp_path) == [name]
    assert has_image_signature(tmp_path / name)


def test_everything_else_is_counted_by_suffix(tmp_path: Path) -> None:
    image(tmp_path / "1.jpg")
    for name in ("a.txt", "b.TXT", "c.xml", "README", "BM of a text", "d.bmpx"):
        (tmp_path / name).write_text("BM, as a text may begin too; long enough for a header")
    (tmp_path / "empty").touch()
    (tmp_path / "broken.HEIC").touch()  # its suffix says what it should be: the decoder says why
    listing = walk_images(tmp_path)
    assert names(tmp_path) == ["1.jpg", "broken.HEIC"]
    assert listing.ignored == {".txt": 2, ".xml": 1, "": 3, ".bmpx": 1}
    assert listing.rejected == []
    assert describe_ignored(listing.ignored) == (
        "3 files without a suffix, 2 .txt, 1 .bmpx, 1 .xml"
    )


def test_many_kinds_are_summed_up() -> None:
    text = describe_ignored({f".{number}": 1 for number in range(300)})
    assert text.endswith(", 288 more kinds")
    assert len(text) < 120


def test_a_run_directory_is_no_class(tmp_path: Path) -> None:
    image(tmp_path / "cat/1.jpg")
    for name in ("runs/photos", "runs/photos-2", "cat/run"):
        image(tmp_path / name / "confusion_matrix.png")
        (tmp_path / name / "config.toml").write_text(f"{CONFIG_MARK}\n")
    image(tmp_path / "dog/2.jpg")
    (tmp_path / "dog/config.toml").write_text("[settings]\n")  # another program's
    listing = walk_images(tmp_path)
    assert names(tmp_path) == ["cat/1.jpg", "dog/2.jpg"]
    assert listing.ignored == {RUN_DIRECTORY: 3, ".toml": 1}
    assert describe_ignored({RUN_DIRECTORY: 1}) == "1 run directory of SharpEye"
    assert describe_ignored({RUN_DIRECTORY: 3}) == "3 run directories of SharpEye"


@posix
def test_a_fifo_is_never_opened_and_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not has_image_signature(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "pipe")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may open everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    image(tmp_path / "scan.001")
    (tmp_path / "scan.001").chmod(0)
    listing = walk_images(tmp_path)
    assert [r.reason for r in listing.rejected] == ["cannot be opened: Permission denied"]


@pytest.mark.parametrize(
    "name",
    [
        *("$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "Thumbs.db", "ehthumbs.db"),
        *("#recycle", "@Recycle", "@eaDir", "@EADIR", ".@__thumb", "#snapshot", "lost+found"),
        *(".Trash-1000", ".DS_Store", "._1.jpg", ".fseventsd", ".Spotlight-V100", "Icon\r"),
        *(".AppleDouble", "__MACOSX", ".ipynb_checkpoints", "__pycache__", "found.000"),
        *("desktop.ini", "node_modules", "LOST.DIR", ".thumbnails", "Network Trash Folder"),
    ],
)
def test_names_that_systems_write_are_hidden(name: str) -> None:
    assert is_system_name(name)


@pytest.mark.parametrize(
    "name", ["cat", "recycle", "recycled", "lost", "icon", "found", "Icons", "trash", "@home", "#1"]
)
def test_names_that_people_write_are_not_hidden(name: str) -> None:
    assert not is_system_name(name)


def test_printable_changes_no_ordinary_name() -> None:
    for name in ("плечо/猫.jpg", "a\\b.jpg", "c:\\xyz", "e\u0301", "\\x1.jpg", "\\xFF"):
        assert printable(name) == name == original_name(name)


def test_no_two_names_are_printed_alike() -> None:
    raw = [b"lit\\xff", b"lit\xff", b"lit\\x5cxff", b"\\\xff", b"\\\\xff", b"\\x5c", "é".encode()]
    written = [os.fsdecode(name) for name in [*raw, *(b"a%cb" % byte for byte in range(128, 256))]]
    shown = [printable(name) for name in written]
    assert len(set(shown)) == len(shown)
    assert [original_name(text) for text in shown] == written
    assert all(text.encode("utf-8") for text in shown)
