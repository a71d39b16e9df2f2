"""Archives: good ones become a folder, all others leave nothing behind."""

import os
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest

from archive_files import (
    BAD_NAMES,
    CLASHES,
    GOOD,
    SUFFIXES,
    Entry,
    content,
    make,
    make_raw_zip,
    make_tar,
    make_zip,
)
from sharpeye.collect import archives
from sharpeye.collect.archives import extract_archive
from sharpeye.core import archive_members
from sharpeye.errors import EnvironmentFault, ModelError, UsageError


def assert_refused(archive: Path, reason: str, error: type[Exception] = ModelError) -> None:
    """Unpack into a new folder, and expect an error of one line and nothing in or beside it."""
    folder = archive.parent / "folder"
    folder.mkdir()
    (folder / "sentinel").write_text("mine")
    with pytest.raises(error, match=reason) as caught:
        extract_archive(archive, folder / "new")
    assert len(str(caught.value).splitlines()) == 1
    assert content(folder) == {"sentinel": b"mine"}
    assert [path.name for path in folder.iterdir()] == ["sentinel"]
    assert not (archive.parent / "evil").exists()


# --- good ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_files_come_out_with_plain_modes(suffix: str, tmp_path: Path) -> None:
    archive = make(tmp_path / f"good.{suffix}", GOOD)
    before = os.umask(0o022)
    try:
        assert extract_archive(archive, tmp_path / "new" / "photos") == 4
    finally:
        os.umask(before)
    photos = tmp_path / "new" / "photos"
    assert content(photos) == {name: data for name, data in GOOD if data is not None}
    for path in (photos, *photos.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("top", ["flower_photos", "./flower_photos", "rose"])
def test_a_single_top_folder_is_removed(top: str, suffix: str, tmp_path: Path) -> None:
    """Also one that holds a folder of its own name."""
    mac = [("__MACOSX/._x", b"?"), (f"{top}/.DS_Store", b"?"), (".DS_Store", b"?")]
    wrapped = [(f"{top}/{name}", data) for name, data in GOOD]
    archive = make(tmp_path / f"good.{suffix}", [*mac, (f"{top}/", None), *wrapped])
    (tmp_path / "empty").mkdir()
    assert extract_archive(archive, tmp_path / "empty") == 4
    assert content(tmp_path / "empty") == {name: data for name, data in GOOD if data is not None}


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_a_folder_of_classes_is_removed_though_a_licence_lies_beside(
    suffix: str, tmp_path: Path
) -> None:
    entries: list[Entry] = [
        ("readme[1].txt", b"read"),
        ("PetImages/", None),
        ("PetImages/Cat/1.jpg", b"1"),
        ("PetImages/Cat/Thumbs.db", b"t"),
        ("PetImages/PetImages/1.jpg", b"2"),
    ]
    extract_archive(make(tmp_path / f"pets.{suffix}", entries), tmp_path / "new")
    names = {"readme[1].txt", "Cat/1.jpg", "PetImages/1.jpg"}
    assert content(tmp_path / "new").keys() == names


@pytest.mark.parametrize(
    "entries",
    [
        [("rose/1.jpg", b"1"), ("LICENSE.txt", b"free")],
        [("top/rose/1.jpg", b"1"), ("top/readme", b"in"), ("README", b"out")],
        [("top/e\u0301/1.jpg", b"1"), ("\u00c9", b"out")],
        [("top/rose/1.jpg", b"1"), ("other/tulip/1.jpg", b"2"), ("LICENSE.txt", b"free")],
    ],
    ids=["a class", "a name that is taken", "taken in another spelling", "two folders"],
)
def test_a_folder_that_is_a_class_or_has_no_room_stays(
    entries: list[Entry], tmp_path: Path
) -> None:
    extract_archive(make(tmp_path / "a.zip", entries), tmp_path / "new")
    expected = {unicodedata.normalize("NFC", name): data for name, data in entries}
    assert content(tmp_path / "new") == expected


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_non_ascii_names_survive(form: int, tmp_path: Path) -> None:
    name = f"Blümchen/{'d' * 90}/{'n' * 95}.jpg"
    archive = make_tar(tmp_path / "long.tar.gz", [(name, b"1"), ("other/1.jpg", b"2")], format=form)
    extract_archive(archive, tmp_path / "new")
    assert content(tmp_path / "new") == {name: b"1", "other/1.jpg": b"2"}


def test_a_big_tar_is_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which reading ends at a block's end: going back would unpack it all again."""
    entries = [(f"a/{n}", os.urandom(8192 * (n % 3) + 512 * (n % 5))) for n in range(200)]
    archive = make_tar(tmp_path / "big.tar.gz", entries)
    assert extract_archive(archive, tmp_path / "new") == 200
    assert content(tmp_path / "new") == {name.removeprefix("a/"): data for name, data in entries}


# --- hostile ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
@pytest.mark.parametrize(("name", "reason"), BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(
    name: str, reason: str, suffix: str, tmp_path: Path
) -> None:
    archive = make(tmp_path / f"bad.{suffix}", [*GOOD, (name, b"evil")])
    assert_refused(archive, rf"bad\.{suffix} is refused: its member '.*' {reason}")


def test_a_nul_does_not_end_a_name(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "bad.zip", [("a/1.jpgX.exe", b"evil")])
    archive.write_bytes(archive.read_bytes().replace(b"jpgX", b"jpg\0"))
    assert_refused(archive, r"its member 'a/1\.jpg\\x00\.exe' has a control character")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a named pipe"),
        (tarfile.GNUTYPE_SPARSE, "is a file with holes"),
        (b"Z", "is of an unknown kind"),
    ],
)
def test_links_and_devices_are_refused(kind: bytes, reason: str, tmp_path: Path) -> None:
    info = tarfile.TarInfo("rose/3.jpg")
    info.type, info.linkname = kind, "1.jpg"
    archive = make_tar(tmp_path / "bad.tar.gz", [*GOOD, info])
    assert_refused(archive, f"its member 'rose/3.jpg' {reason}")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(stat.S_IFLNK, "is a symbolic link"), (stat.S_IFBLK, "is a device or pipe")],
)
def test_links_and_devices_in_a_zip_are_refused(mode: int, reason: str, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "bad.zip", [("rose/1.jpg", b"/etc/passwd")], mode | 0o777)
    assert_refused(archive, f"its member 'rose/1.jpg' {reason}")


def test_encrypted_and_unusually_packed_members_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "bad.zip", [("rose/1.jpg", b"1")])
    raw = bytearray(archive.read_bytes())
    directory = raw.index(b"PK\1\2")
    raw[directory + 8] |= 1
    archive.write_bytes(raw)
    assert_refused(archive, "its member 'rose/1.jpg' is encrypted")
    raw[directory + 8] &= ~1
    raw[directory + 10] = zipfile.ZIP_BZIP2
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "bad.zip"
    other.write_bytes(raw)
    assert_refused(other, "its member 'rose/1.jpg' is packed by another method than deflate")


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    ("first", "second", "reason"),
    CLASHES,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_one_on_some_disks_are_refused(
    first: str, second: str, reason: str, suffix: str, tmp_path: Path
) -> None:
    archive = make(tmp_path / f"bad.{suffix}", [(first, b"1"), (second, b"2")])
    assert_refused(archive, reason)


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_bombs_are_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    archive = make(tmp_path / f"bomb.{suffix}", [("a/zeros", bytes(2**22))])
    assert_refused(archive, "unpacks to more than 1 MiB, as a bomb would")


def test_a_tar_of_headers_alone_is_a_bomb_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**16)
    archive = make_tar(tmp_path / "bomb.tar.gz", [("same/", None)] * 1000)
    assert_refused(archive, "unpacks to more than")


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_empty_members_are_a_bomb_by_their_number(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    monkeypatch.setattr(archives, "MAX_RATIO", 0)
    few = make(tmp_path / f"few.{suffix}", [(f"a/{number}", b"") for number in range(200)])
    assert extract_archive(few, tmp_path / "few") == 200
    many = make(tmp_path / f"many.{suffix}", [(f"a/{number}", b"") for number in range(300)])
    assert_refused(many, "unpacks to more than 1 MiB, as a bomb would")


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_too_many_members_are_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    assert_refused(make(tmp_path / f"many.{suffix}", GOOD), "it has more than 3 members")


def test_a_header_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "_MAX_HEADER_BYTES", 2**17)
    info = tarfile.TarInfo("a/1.jpg")
    info.pax_headers = {"comment": "x" * 2**18}
    assert_refused(
        make_tar(tmp_path / "bomb.tar.gz", [info]), "a header in it has more than 131,072 bytes"
    )


def test_a_zip_that_says_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "liar.zip", [("a/1.jpg", bytes(5000))])
    raw = bytearray(archive.read_bytes())
    start = raw.index(b"PK\1\2") + 24
    raw[start : start + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    assert_refused(archive, r"liar\.zip is damaged")


def test_a_zip_that_says_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """Its checksum is right all the same."""
    archive = make_zip(tmp_path / "liar.zip", [("a/1.jpg", bytes(5000))])
    raw = bytearray(archive.read_bytes())
    start = raw.index(b"PK\1\2") + 24
    raw[start : start + 4] = (5001).to_bytes(4, "little")
    archive.write_bytes(raw)
    assert_refused(archive, r"its member 'a/1\.jpg' has 5,000 bytes instead of 5,001")


def test_a_size_below_zero_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a/1.jpg")
    info.pax_headers = {"size": "-1"}
    archive = make_tar(tmp_path / "bad.tar.gz", [info])
    assert_refused(archive, "its member 'a/1.jpg' has a size below zero")


def test_a_zip_that_points_before_its_start_is_refused(tmp_path: Path) -> None:
    raw = bytearray(make_zip(tmp_path / "liar.zip", [("a/1.jpg", b"1")]).read_bytes())
    start = raw.index(b"PK\5\6") + 16  # the directory's offset: later than it is
    raw[start : start + 4] = (2**20).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(raw)
    assert_refused(tmp_path / "liar.zip", r"liar\.zip is damaged")


# --- damaged ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    """Also a plain tar that ends where a member ends, which tarfile takes for whole."""
    whole = make(tmp_path / f"whole.{suffix}", GOOD).read_bytes()
    for number, share in enumerate((0.02, 0.1, 0.3, 0.5, 0.8, 0.98)):
        end = max(1, int(len(whole) * share))
        end -= end % 512 if suffix == "tar" and end > 512 else 0
        if suffix == "tar" and not whole[end:].strip(b"\0"):
            continue  # only padding is missing
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"cut.{suffix}").write_bytes(whole[:end])
        assert_refused(folder / f"cut.{suffix}", rf"cut\.{suffix} is (damaged|refused)")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_a_flipped_byte_is_found(suffix: str, tmp_path: Path) -> None:
    noise = [("a/1.jpg", os.urandom(40_000)), ("b/1.jpg", os.urandom(40_000))]
    raw = bytearray(make(tmp_path / f"whole.{suffix}", noise).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / f"flipped.{suffix}").write_bytes(raw)
    assert_refused(tmp_path / f"flipped.{suffix}", r"flipped.* is .*damaged")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"<!DOCTYPE html><html>" + b" " * 2000, bytes(20_000), b"PK\3\4", b"\x1f\x8b"],
)
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_bytes(data)
    assert_refused(
        tmp_path / "page.zip", r"page\.zip is (damaged, or is no zip or tar archive|refused)"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_without_files_is_refused(suffix: str, tmp_path: Path) -> None:
    assert_refused(make(tmp_path / f"empty.{suffix}", [("a/", None)]), "there is no file in it")


# --- the folder ----------------------------------------------------------------------------------


def test_what_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make(tmp_path / "good.zip", GOOD)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("mine")
    (tmp_path / "here").mkdir()
    before = content(tmp_path)
    with pytest.raises(UsageError, match="full is not empty; choose a folder that does not exist"):
        extract_archive(archive, tmp_path / "full")
    with pytest.raises(UsageError, match="is a file; choose"):
        extract_archive(archive, archive)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match=r"current folder .* such as pictures"):
        extract_archive(archive, Path())
    with pytest.raises(EnvironmentFault, match=r"cannot read .*none\.zip: No such file"):
        extract_archive(tmp_path / "none.zip", tmp_path / "new")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), EnvironmentFault),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_an_error_of_the_machine_is_not_the_archives(
    error: BaseException,
    kind: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise error

    archive = make(tmp_path / "good.tar.gz", GOOD)
    monkeypatch.setattr(archives.shutil, "copyfileobj", broken)
    with pytest.raises(kind):
        extract_archive(archive, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["good.tar.gz"]


def test_a_zip_of_a_mac_has_its_names_and_nothing_of_the_system(tmp_path: Path) -> None:
    """UTF-8 without the flag, decomposed, and with files that macOS and Windows add."""
    names = ["classes/cafe\u0301/first.jpg", "classes/\u685c/second.jpg", "classes/plain/3.jpg"]
    system = [f"__MACOSX/{names[0]}", "classes/cafe\u0301/.DS_Store", "classes/plain/Icon\r"]
    system += ["$RECYCLE.BIN/S-1-5/a.jpg", "classes/plain/Thumbs.db", "System Volume Information/x"]
    raw = [name.encode() for name in (*names, *system)]
    archive = make_raw_zip(tmp_path / "mac.zip", raw)
    assert extract_archive(archive, tmp_path / "new") == 3
    assert content(tmp_path / "new") == {
        "caf\u00e9/first.jpg": b"\0",
        "\u685c/second.jpg": b"\1",
        "plain/3.jpg": b"\2",
    }


def test_names_without_a_flag_that_are_no_utf_8_are_of_code_page_437(tmp_path: Path) -> None:
    names = ["caf\u00e9/1-------.jpg", "\u00fcber/2-------.jpg", "plain/3-------.jpg"]
    archive = make_raw_zip(tmp_path / "dos.zip", [name.encode("cp437") for name in names])
    extract_archive(archive, tmp_path / "new")
    assert content(tmp_path / "new").keys() == set(names)


def test_the_name_in_info_zips_field_counts(tmp_path: Path) -> None:
    name, raw = "\u685c/1.jpg", b"dos-----/1.jpg"
    for matches in (True, False):
        info = zipfile.ZipInfo(raw.decode())
        digest = zlib.crc32(raw) ^ (not matches)
        field = b"\1" + digest.to_bytes(4, "little") + name.encode()
        info.extra = struct.pack("<HHHH", 0xCAFE, 0, 0x7075, len(field)) + field
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(info, b"x")
            archive.writestr("other/1.jpg", b"y")
        extract_archive(tmp_path / "a.zip", tmp_path / str(matches))
        expected = {name if matches else raw.decode(), "other/1.jpg"}
        assert content(tmp_path / str(matches)).keys() == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_no_archive_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(EnvironmentFault, match=r"a\.zip: not a regular file"):
        extract_archive(tmp_path / "a.zip", tmp_path / "new")


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_a_long_name_is_shortened_in_the_message(suffix: str, tmp_path: Path) -> None:
    file = make(tmp_path / f"x.{suffix}", [("a" * 40_000, b"x")])
    with pytest.raises(
        ModelError, match=r"its member 'a{100}\.\.\.' has too long a name"
    ) as caught:
        extract_archive(file, tmp_path / "new")
    assert len(str(caught.value)) < 500


def test_a_name_of_another_length_in_a_header_is_shortened(tmp_path: Path) -> None:
    file = make(tmp_path / "x.zip", [("a" * 30_000, b"x")])
    data = file.read_bytes()
    file.write_bytes(data.replace(b"a" * 30_000, b"b" * 200 + b"a" * 29_800, 1))
    with pytest.raises(ModelError) as caught:
        extract_archive(file, tmp_path / "new")
    assert len(str(caught.value)) < 500
