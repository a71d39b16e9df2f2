"""What a zip or tar says that it holds, member by member; nothing is written here.

Both formats allow links, devices and more; a member that is neither a regular file nor a folder
comes with the reason why it is refused. What is unpacked is counted as it comes, so that a small
archive cannot fill memory or disk.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

_MAX_HEADER = 2**20  # bytes
_CHUNK = 2**17

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


class Refused(Exception):
    """The archive breaks a rule; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry.

    Attributes:
        name: as the archive has it, not to be trusted.
        refusal: "is a symbolic link" and such; empty for a regular file or a folder.
        open: gives the content; to be read before the next member is asked for.
    """

    name: str
    is_folder: bool
    refusal: str
    open: Callable[[], IO[bytes]]


Members = Generator[Member, None, None]


def read_members(file: IO[bytes], limit: int, folder: str) -> Members:
    """The members in the archive's order, up to and including the mark of its end.

    Args:
        file: a zip, or a tar that is plain or packed by gzip, bzip2 or xz.
        limit: number of bytes that may come out of it.
        folder: where they will go.

    Raises:
        Refused: the limit is passed, or a tar is cut short.
        Exception: of any kind, where an archive is damaged.
    """
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PK"):
        return _zip_members(file, limit)
    decompress = next((f for start, f in _DECOMPRESSORS.items() if magic.startswith(start)), None)
    return _tar_members(file, decompress, limit, folder)


def _zip_members(file: IO[bytes], limit: int) -> Members:
    with zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        if sum(info.file_size for info in infos) > limit:  # of each, no more than that is read
            raise _too_large(limit)
        for info in infos:
            name = info.orig_filename  # `filename` ends at a NUL
            yield Member(name, name.endswith("/"), _zip_refusal(info), partial(opened.open, info))


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or pipe"
    if info.flag_bits & 1:
        return "is encrypted"
    # Others expand a few bytes to gigabytes in one step, before anything can be counted.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by another method than deflate"
    return ""


def _tar_members(
    file: IO[bytes], decompress: Callable[..., Any] | None, limit: int, folder: str
) -> Members:
    with contextlib.ExitStack() as stack:
        stream = _Counted(stack.enter_context(decompress(file)) if decompress else file, limit)
        tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
        while info := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # a kilobyte each if they are kept
            yield Member(info.name, info.isdir(), _tar_refusal(info), _opener(tar, info, folder))
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise Refused("it is cut short or damaged, as its end is not marked")
        while stream.read(_CHUNK):  # to its end, where the decompressor compares a checksum
            pass


def _tar_refusal(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "is a file with holes"
    if info.isreg() or info.isdir():
        return ""
    return f"is {_TAR_KINDS.get(info.type, 'of an unknown kind')}"


def _opener(tar: tarfile.TarFile, info: tarfile.TarInfo, folder: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if hasattr(tarfile, "data_filter"):  # since Python 3.11.4; a second opinion on the name
            tarfile.data_filter(info, folder)
        content = tar.extractfile(info)
        if content is None:
            raise Refused(f"its member {info.name!r} has no content")
        return content

    return opened


class _Counted(io.BufferedIOBase):
    """Reads forward only, and no further than a limit. `last` is what was read last."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source, self._limit, self._position = source, limit, 0
        self.last = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER:  # tarfile reads a header in one piece
            raise Refused(f"a header in it has more than {_MAX_HEADER:,} bytes")
        self.last = self._source.read(size)
        self._position += len(self.last)
        if self._position > self._limit:
            raise _too_large(self._limit)
        return self.last

    def seek(self, position: int, whence: int = 0, /) -> int:
        if whence or position < self._position:
            raise io.UnsupportedOperation("an archive is read forward only")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position


def _too_large(limit: int) -> Refused:
    return Refused(
        f"it unpacks to more than {limit / 2**20:,.0f} MiB, as a bomb would; if you trust it, "
        "unpack it yourself"
    )
