"""Read the members of a zip or tar one by one, each with the reason if it is forbidden.

Both formats allow links, devices and more; only regular files and folders are accepted. Unpacked
bytes are counted at once, so that a small archive cannot fill memory or disk.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

_MAX_HEADER_BYTES = 2**20
_CHUNK_BYTES = 2**17
# Counted for each member: an empty file, too, takes time to write and a block of the disk.
_MEMBER_BYTES = 4096
_UTF8_FLAG, _UNICODE_NAME = 0x800, 0x7075  # a flag, and the number of an extra field

_DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class ArchiveRefused(Exception):
    """The archive breaks a rule; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry."""

    name: str  # the untrusted name in the archive
    is_folder: bool
    size: int  # of the unpacked content in bytes, as the archive gives it
    refusal: str  # "is a symbolic link" and such; empty for a regular file or a folder
    open: Callable[[], IO[bytes]]  # opens the content, to be read before the next member


_Members = Generator[Member, None, None]


def read_members(file: IO[bytes], limit: int, *, max_members: int) -> _Members:
    """The members in the archive's order; after the last one, the archive's end is verified.

    Args:
        limit: largest number of unpacked bytes; each member counts 4 KiB besides its content.

    Raises:
        ArchiveRefused: a limit is passed, or a tar is cut short.
        Exception: of any kind, if an archive is damaged.
    """
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PK"):
        return _zip_members(file, limit, max_members)
    decompress = next((f for start, f in _DECOMPRESSORS.items() if magic.startswith(start)), None)
    return _counted(_tar_members(file, decompress, limit), max_members)


def _counted(members: _Members, max_members: int) -> _Members:
    for number, member in enumerate(members):
        if number == max_members:
            raise _too_many(max_members)
        yield member


def _zip_members(file: IO[bytes], limit: int, max_members: int) -> _Members:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > max_members:
            raise _too_many(max_members)
        # zipfile reads at most these.
        if sum(info.file_size + _MEMBER_BYTES for info in infos) > limit:
            raise _too_large(limit)
        names = _zip_names(infos)
        for info, name in zip(infos, names, strict=True):
            unpack = partial(archive.open, info)
            yield Member(name, name.endswith("/"), info.file_size, _zip_refusal(info), unpack)


def _zip_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The members' names.

    A flag marks names in UTF-8. Without it the format means code page 437, but macOS and many
    libraries write UTF-8 all the same: if all these names are valid UTF-8, they are. Info-ZIP's
    field of the name in UTF-8 comes first.
    """
    raw = {  # `filename` ends at a NUL; Python decodes by code page 437, in which all bytes exist
        index: info.orig_filename.encode("cp437")
        for index, info in enumerate(infos)
        if not info.flag_bits & _UTF8_FLAG
    }
    unicode_names = {index: _unicode_name(infos[index].extra, name) for index, name in raw.items()}
    try:
        decoded = {index: name.decode() for index, name in raw.items() if not unicode_names[index]}
    except UnicodeDecodeError:
        decoded = {}
    return [
        unicode_names.get(index) or decoded.get(index) or info.orig_filename
        for index, info in enumerate(infos)
    ]


def _unicode_name(extra: bytes, name: bytes) -> str:
    """The name in Info-ZIP's extra field; empty if there is none for this name.

    Source: APPNOTE.TXT of PKWARE, 4.6.9.
    """
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        is_name = kind == _UNICODE_NAME and len(field) > 5 and field[0] == 1
        if is_name and int.from_bytes(field[1:5], "little") == zlib.crc32(name):
            with contextlib.suppress(UnicodeDecodeError):
                return field[5:].decode()
    return ""


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or pipe"
    if info.flag_bits & 1:
        return "is encrypted"
    # Other methods expand a few bytes to gigabytes in one step, before they can be counted.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by another method than deflate"
    return ""


def _tar_members(file: IO[bytes], decompress: Callable[..., Any] | None, limit: int) -> _Members:
    with contextlib.ExitStack() as stack:
        unpacked = stack.enter_context(decompress(file)) if decompress else file
        reader = _LimitedReader(unpacked, limit)
        archive = stack.enter_context(tarfile.open(fileobj=reader, mode="r:"))
        while info := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # a kilobyte each
            reader.count(_MEMBER_BYTES)
            unpack = partial(_open, archive, info)
            yield Member(info.name, info.isdir(), info.size, _tar_refusal(info), unpack)
        if reader.last_read != bytes(tarfile.BLOCKSIZE):
            raise ArchiveRefused("it is cut short or damaged, as its end is not marked")
        while reader.read(_CHUNK_BYTES):  # to its end, where the decompressor compares a checksum
            pass


def _tar_refusal(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "is a file with holes"
    if info.size < 0:
        return "has a size below zero"
    if info.isreg() or info.isdir():
        return ""
    return f"is {_TAR_KINDS.get(info.type, 'of an unknown kind')}"


def _open(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(info)
    if content is None:
        raise ArchiveRefused(f"its member {info.name!r:.100} has no content")
    return content


class _LimitedReader(io.BufferedIOBase):
    """Reads only forward, up to a limit. `last_read` holds the last bytes."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source, self._limit, self._position, self._counted = source, limit, 0, 0
        self.last_read = b""

    def count(self, size: int) -> None:
        """Count bytes against the limit, read ones or others."""
        self._counted += size
        if self._counted > self._limit:
            raise _too_large(self._limit)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:  # tarfile reads a header at once
            raise ArchiveRefused(f"a header in it has more than {_MAX_HEADER_BYTES:,} bytes")
        self.last_read = self._source.read(size)
        self._position += len(self.last_read)
        self.count(len(self.last_read))
        return self.last_read

    def seek(self, position: int, whence: int = 0, /) -> int:
        if whence or position < self._position:
            raise io.UnsupportedOperation("an archive is read forward only")
        while self._position < position and self.read(min(_CHUNK_BYTES, position - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position


def _too_many(max_members: int) -> ArchiveRefused:
    return ArchiveRefused(f"it has more than {max_members:,} members")


def _too_large(limit: int) -> ArchiveRefused:
    return ArchiveRefused(
        f"it unpacks to more than {limit / 2**20:,.0f} MiB, as a bomb would; if you trust it, "
        "unpack it yourself"
    )
