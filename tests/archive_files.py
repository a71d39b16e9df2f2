"""Good and hostile zip and tar files."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

# (name, content); None makes a folder
Entry = tuple[str, bytes | None]
GOOD: list[Entry] = [
    ("rose/", None),
    ("rose/1.jpg", b"a" * 5000),
    ("rose/garden/2.jpg", b"b" * 16384),
    ("tulip/1.jpg", b""),
    ("LICENSE.txt", b"free"),
]
SUFFIXES = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")


def make_tar(file: Path, entries: Iterable[Entry | tarfile.TarInfo], **options: int) -> Path:
    """A tar, compressed as the suffix says; a TarInfo goes in as it is."""
    suffix = file.suffix.removeprefix(".")
    mode = "w" if suffix == "tar" else f"w:{suffix}"
    with tarfile.open(file, mode, **options) as tar:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            name, data = entry
            info = tarfile.TarInfo(name)
            info.mode = 0o7777
            info.type = tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data or b""))
    return file


def make_zip(file: Path, entries: Iterable[Entry], mode: int = stat.S_IFREG | 0o7777) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (mode if data is not None else stat.S_IFDIR | 0o777) << 16
            opened.writestr(info, data or b"")
    return file


def make(file: Path, entries: Iterable[Entry]) -> Path:
    return (make_zip if file.suffix == ".zip" else make_tar)(file, entries)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def set_raw_names(file: Path, names: dict[str, bytes]) -> None:
    """Replace names of members, in both places, by bytes of the same length, without the flag."""
    data = file.read_bytes()
    for name, raw in names.items():
        assert len(raw) == len(name) and data.count(name.encode()) == 2
        data = data.replace(name.encode(), raw)
    file.write_bytes(data)


def make_raw_zip(file: Path, names: Sequence[bytes]) -> Path:
    """A zip whose names are these bytes, without a flag that says how they are encoded."""
    plain = {f"member-{number:02}".ljust(len(raw), "x"): raw for number, raw in enumerate(names)}
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(plain):
            archive.writestr(name, bytes([number]))
    set_raw_names(file, plain)
    return file


# Names of members, and the reason for which they are refused.
BAD_NAMES = [
    ("../evil", "leads out of the folder"),
    ("a/../../evil", "leads out of the folder"),
    ("..", "leads out of the folder"),
    ("/evil", "has an absolute path"),
    ("//host/evil", "has an absolute path"),
    ("C:/evil", "has an absolute path"),
    ("C:evil", "has an absolute path"),
    ("..\\evil", "has a backslash"),
    ("\\\\?\\C:\\evil", "has a backslash"),
    ("a\nb", "has a control character"),
    ("a\x1b[31m", "has a control character"),
    ("n" * 256, "has too long a name"),
    ("/".join(["n" * 200] * 6), "has too long a name"),
    ("d/" * 64 + "evil", "lies deeper than 64 folders"),
]
# Two names that are one on some disks, and the reason for which the second one is refused.
CLASHES = [
    ("rose/a.jpg", "rose/A.JPG", "is 'rose/a.jpg' in another spelling"),
    ("Rose/a.jpg", "rose/b.jpg", "is 'Rose' in another spelling"),
    ("rose/\u00e9.jpg", "rose/e\u0301.jpg", "is there twice"),
    ("rose/a.jpg", "rose//a.jpg", "is there twice"),
    ("rose", "rose/a.jpg", "is there twice"),
    ("rose/a.jpg", "rose", "is there twice"),
]
