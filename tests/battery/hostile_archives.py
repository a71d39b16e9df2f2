"""Archives made to break an extractor: names, links, bombs, lies and damage."""

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archive_files import BAD_NAMES, CLASHES, Entry, make, make_tar, make_zip
from hostile_server import image

REFUSED = frozenset({4})
ACCEPTED = frozenset({0})
ZEROS = 65 * 2**20  # more than may be unpacked from a small archive


@dataclass(frozen=True)
class ArchiveCase:
    """An archive and its result.

    Attributes:
        suffix: of the file, without a dot.
        write: writes the archive.
        codes: allowed exit codes of `collect import`.
        words: a part of the message, such as the member's name.
    """

    name: str
    suffix: str
    write: Callable[[Path], object]
    codes: frozenset[int] = REFUSED
    words: str = ""


def good_entries() -> list[Entry]:
    return [(f"rose/{number}.jpg", image(f"{number}")) for number in range(4)]


def crafted_archives() -> list[ArchiveCase]:
    """All crafted archives, in an order in which neighbours are of different kinds."""
    kinds = [[*_names()], [*_tar_members()], [*_tar_headers()], [*_zips()], [*_bombs()], [*_good()]]
    ordered = [(index / len(kind), case) for kind in kinds for index, case in enumerate(kind)]
    return [case for _, case in sorted(ordered, key=lambda pair: pair[0])]


def _with_members(*entries: Entry | tarfile.TarInfo) -> Callable[[Path], object]:
    return _only(*good_entries(), *entries)


def _only(*entries: Entry | tarfile.TarInfo) -> Callable[[Path], object]:
    def write(file: Path) -> object:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate name")
            if file.suffix == ".zip":
                return make_zip(file, entries)  # type: ignore[arg-type]
            return make_tar(file, entries)

    return write


def _names() -> Iterator[ArchiveCase]:
    for suffix in ("zip", "tar.gz"):
        for number, (name, reason) in enumerate(BAD_NAMES):
            yield ArchiveCase(
                f"name {number}", suffix, _with_members((name, b"evil")), words=reason
            )
        for number, (first, second, reason) in enumerate(CLASHES):
            write = _only((first, b"1"), (second, b"2"))
            yield ArchiveCase(f"clash {number}", suffix, write, words=reason)


def _member(name: str, kind: bytes, target: str = "", **values: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for key, value in values.items():
        setattr(info, key, value)
    return info


def _tar_members() -> Iterator[ArchiveCase]:
    outside = "../../outside"
    members = {
        "symbolic link out": [_member("rose/a.jpg", tarfile.SYMTYPE, outside)],
        "absolute symbolic link": [_member("rose/a.jpg", tarfile.SYMTYPE, "/etc/passwd")],
        "hard link out": [_member("rose/a.jpg", tarfile.LNKTYPE, f"{outside}/secret.txt")],
        "hard link inside": [_member("rose/a.jpg", tarfile.LNKTYPE, "rose/0.jpg")],
        "writing through a link": [
            _member("rose/a.jpg", tarfile.SYMTYPE, outside),
            ("rose/a.jpg/evil.jpg", b"evil"),
        ],
        "a link to itself": [_member("rose/a.jpg", tarfile.SYMTYPE, "a.jpg")],
        "a chain of links that is too long to resolve": _link_chain(),
        "pipe": [_member("rose/a.jpg", tarfile.FIFOTYPE)],
        "character device": [_member("rose/a.jpg", tarfile.CHRTYPE, devmajor=1, devminor=5)],
        "block device": [_member("rose/a.jpg", tarfile.BLKTYPE, devmajor=8)],
        "file with holes": [_member("rose/a.jpg", tarfile.GNUTYPE_SPARSE)],
        "unknown kind": [_member("rose/a.jpg", b"Z")],
    }
    for name, infos in members.items():
        yield ArchiveCase(name, "tar.gz", _with_members(*infos), words="rose/a.jpg")


def _link_chain() -> list[Entry | tarfile.TarInfo]:
    """Folders and links whose resolved path is longer than PATH_MAX (CVE-2025-4517)."""
    folder, chain = "d" * 247, list[Entry | tarfile.TarInfo]()
    path = "rose/a.jpg"
    for letter in "abcdefghijklmnop":
        chain += [(f"{path}/{folder}/", None)]
        chain += [_member(f"{path}/{letter}", tarfile.SYMTYPE, folder)]
        path = f"{path}/{folder}"
    return [*chain, _member("escape", tarfile.SYMTYPE, "/".join("abcdefghijklmnop") + "/../" * 16)]


def _tar_headers() -> Iterator[ArchiveCase]:
    pax = {
        "an extended header that leads out": {"path": "../../evil"},
        "an extended header with an absolute path": {"path": "/evil"},
        "an extended header of 2 MiB": {"comment": "x" * 2**21},
        "an extended size below zero": {"size": "-1"},
        "an extended size that leads back": {"size": "-5000"},
        "an extended size of 10^30": {"size": str(10**30)},
        "an extended link": {"linkpath": "/etc/passwd", "path": "../evil"},
        "extended holes": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        "holes up to 10^15 bytes": {"GNU.sparse.size": str(10**15), "GNU.sparse.map": "0,1"},
    }
    for name, headers in pax.items():
        info = _member("rose/a.jpg", tarfile.REGTYPE)
        info.pax_headers = headers
        yield ArchiveCase(name, "tar.gz", _with_members(info))
    edits: dict[str, tuple[int, bytes]] = {
        "a member that is longer than the archive": (124, b"77777777777\0"),
        "a size below zero": (124, b"\xff" * 12),
        "a size of 2^63": (124, b"\x80\0\0\0\x7f" + b"\xff" * 7),
        "a size that is no number": (124, b"zzzzzzzzzzz\0"),
    }
    for name, (start, value) in edits.items():
        yield ArchiveCase(name, "tar", _edited_tar(start, value))
    yield ArchiveCase("a wrong checksum", "tar", _edited_tar(0, b"x", checksum=False))


def _edited_tar(start: int, value: bytes, *, checksum: bool = True) -> Callable[[Path], object]:
    """Replace bytes in the header of the second member."""

    def write(file: Path) -> object:
        data = bytearray(make_tar(file, good_entries()).read_bytes())
        header = data.index(b"rose/1.jpg")
        data[header + start : header + start + len(value)] = value
        if checksum:
            data[header + 148 : header + 156] = b" " * 8
            total = sum(data[header : header + 512])
            data[header + 148 : header + 156] = f"{total:06o}\0 ".encode()
        return file.write_bytes(data)

    return write


def _zips() -> Iterator[ArchiveCase]:
    central, local, end = b"PK\1\2", b"PK\3\4", b"PK\5\6"
    edits: dict[str, tuple[bytes, int, bytes]] = {
        "another name in the local header": (local, 30, b"../evil"),
        "another name in the directory": (central, 46, b"../evil"),
        "NUL in a name": (central, 50, b"\0"),
        "a smaller size than it has": (central, 24, b"\1\0\0\0"),
        "a larger size than it has": (central, 24, b"\0\0\1\0"),
        "a size of 4 GiB": (central, 24, b"\xfe\xff\xff\xff"),
        "a size in a missing 64-bit field": (central, 24, b"\xff\xff\xff\xff"),
        "a wrong checksum": (central, 16, b"\0\0\0\0"),
        "encryption": (central, 8, b"\1"),
        "bzip2 in a zip": (central, 10, b"\x0c"),
        "lzma in a zip": (central, 10, b"\x0e"),
        "an unknown method": (central, 10, b"\x63"),
        "a member outside of the file": (central, 42, b"\xff\xff\xff\x7f"),
        "a directory outside of the file": (end, 16, b"\xff\xff\xff\x7f"),
        "a directory of 2 GiB": (end, 12, b"\xff\xff\xff\x7f"),
        "a name longer than the directory": (central, 28, b"\xff\xff"),
        "a version of the future": (central, 6, b"\xff"),
    }
    for name, (magic, start, value) in edits.items():
        yield ArchiveCase(name, "zip", _edited_zip(magic, start, value))
    for name, mode in {
        "symbolic link": stat.S_IFLNK,
        "block device": stat.S_IFBLK,
        "pipe": stat.S_IFIFO,
        "socket": stat.S_IFSOCK,
    }.items():
        write = lambda file, mode=mode: make_zip(file, good_entries(), mode | 0o777)  # noqa: E731
        yield ArchiveCase(f"{name} in a zip", "zip", write, words="rose/0.jpg")
    yield ArchiveCase("a name in UTF-8 that leads out", "zip", _unicode_name, words="../evil.jpg")
    yield ArchiveCase("64-bit sizes that lie", "zip", _zip64)
    yield ArchiveCase("members that share their bytes", "zip", _overlapping)


def _edited_zip(magic: bytes, start: int, value: bytes) -> Callable[[Path], object]:
    """Replace bytes in the first record of a kind."""

    def write(file: Path) -> object:
        data = bytearray(make_zip(file, good_entries()).read_bytes())
        record = data.index(magic)
        data[record + start : record + start + len(value)] = value
        return file.write_bytes(data)

    return write


def _unicode_name(file: Path) -> None:
    raw = b"rose/a.jpg"
    field = b"\1" + zlib.crc32(raw).to_bytes(4, "little") + b"../evil.jpg"
    info = zipfile.ZipInfo(raw.decode())
    info.extra = struct.pack("<HH", 0x7075, len(field)) + field
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, b"evil")


def _zip64(file: Path) -> None:
    data = bytearray(make_zip(file, [("rose/a.jpg", b"evil")]).read_bytes())
    record = data.index(b"PK\1\2")
    data[record + 20 : record + 28] = b"\xff" * 8
    extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    data[record + 30 : record + 32] = len(extra).to_bytes(2, "little")
    end = data.index(b"PK\5\6")
    data[end:end] = extra
    end += len(extra)
    size = int.from_bytes(data[end + 12 : end + 16], "little") + len(extra)
    data[end + 12 : end + 16] = size.to_bytes(4, "little")
    file.write_bytes(data)


def _overlapping(file: Path) -> None:
    """A directory with 2,000 entries of 1 MiB that are all the same bytes (Fifield's bomb)."""
    data = make_zip(file, [("a/0000.jpg", bytes(2**20))]).read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries = b"".join(
        data[start:end].replace(b"0000", f"{number:04}".encode()) for number in range(2000)
    )
    tail = data[end : end + 8] + struct.pack("<HHII", 2000, 2000, len(entries), start) + b"\0\0"
    file.write_bytes(data[:start] + entries + tail)


def _bombs() -> Iterator[ArchiveCase]:
    for suffix in ("zip", "tar.gz", "tar.xz", "tar.bz2"):
        write = _with_members(("rose/a.jpg", bytes(ZEROS)))
        yield ArchiveCase(f"{ZEROS / 2**20:.0f} MiB of zeros", suffix, write, words="as a bomb")
    yield ArchiveCase("200,000 folders of one name", "tar.gz", _headers_alone, words="as a bomb")
    yield ArchiveCase("zeros after the end", "tar.gz", _long_tail, words="as a bomb")


def _headers_alone(file: Path) -> None:
    header = _member("rose", tarfile.DIRTYPE).tobuf()
    file.write_bytes(gzip.compress(header * 200_000, 1))


def _long_tail(file: Path) -> None:
    data = gzip.decompress(make_tar(file, good_entries()).read_bytes())
    file.write_bytes(gzip.compress(data + bytes(2 * ZEROS), 1))


def _good() -> Iterator[ArchiveCase]:
    """Unusual archives whose images are read all the same, or that hold none."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("rose/0.jpg", image("0"))
    for suffix in ("zip", "tar.gz"):
        nested = _with_members(("inner.zip", inner.getvalue()))
        yield ArchiveCase("an archive in an archive", suffix, nested, ACCEPTED)
        strange = _with_members(("rose/CON.jpg", image("con")), ("rose/dot./x.jpg", image("dot")))
        yield ArchiveCase("names that Windows reserves", suffix, strange, ACCEPTED)
        only = lambda file: make(file, [("inner.zip", inner.getvalue())])  # noqa: E731
        yield ArchiveCase("nothing but an archive", suffix, only, frozenset({3}))
        empty = lambda file: make(file, [("rose/", None)])  # noqa: E731
        yield ArchiveCase("no file at all", suffix, empty)
    tail = lambda data: data + b"more"  # noqa: E731
    twice = lambda data: data + data  # noqa: E731
    yield ArchiveCase("bytes after a zip", "zip", _changed(tail), ACCEPTED | REFUSED)
    yield ArchiveCase("two zips in one file", "zip", _changed(twice), ACCEPTED | REFUSED)
    yield ArchiveCase("bytes before a zip", "zip", _changed(lambda data: b"MZ" + data))
    yield ArchiveCase("two tars in one file", "tar", _changed(twice), ACCEPTED | REFUSED)
    yield ArchiveCase("two gzips in one file", "tar.gz", _changed(twice), ACCEPTED | REFUSED)
    yield ArchiveCase("bytes after a gzip", "tar.gz", _changed(tail), ACCEPTED | REFUSED)
    yield ArchiveCase("a gzip in a gzip", "tar.gz", _changed(gzip.compress))
    for suffix in ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz"):
        yield ArchiveCase("half of it", suffix, _changed(lambda data: data[: len(data) // 2]))
    for name, data in {
        "a web page": b"<!DOCTYPE html><html>" + b" " * 2000,
        "nothing": b"",
        "zeros": bytes(20_000),
        "a pickle": b"\x80\x04cposix\nsystem\n(X\x04\0\0\0exit\x85R.",
    }.items():
        yield ArchiveCase(f"{name} for an archive", "zip", lambda file, d=data: file.write_bytes(d))


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(file: Path) -> object:
        return file.write_bytes(change(make(file, good_entries()).read_bytes()))

    return write


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Change, remove, repeat or insert some bytes, or cut the end off."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        start = int(random.integers(0, max(1, len(changed))))
        stop = start + int(random.integers(1, 17))
        match int(random.integers(0, 6)):
            case 0 | 1 if changed[start:]:
                changed[start] ^= 1 << int(random.integers(0, 8))
            case 2:
                changed[start:stop] = random.bytes(stop - start)
            case 3:
                del changed[start:stop]
            case 4:
                changed[start:start] = changed[start:stop]
            case _ if random.random() < 0.3:
                del changed[start:]
    return bytes(changed)
