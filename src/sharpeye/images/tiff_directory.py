"""Read the directories of a TIFF without libtiff, and keep libtiff from writing to stderr.

libtiff prints a line to standard error for each tag that it does not understand and for each
damaged strip: 48 kB made 1.2 MB of output, which blocks a parent that does not read the pipe.
"""

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from PIL import _imaging

# Cameras write up to 80 tags, microscopes 100.
MAX_TAGS = 500
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION, _REDUCED = 254, 330, 50706, 1

_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips and of tiles
_WHOLE = {3: "H", 4: "I", 16: "Q"}  # types of whole numbers
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_VALUE_BYTES |= {16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class _Layout:
    """The sizes of the fields of a TIFF or a BigTIFF."""

    order: str
    big: bool

    def number(self, data: bytes, at: int, kind: str) -> int:
        """The number at an offset; struct.error behind the end."""
        if at > len(data):  # Python's own check fails for offsets of 2**63 and more.
            raise struct.error("an offset behind the end")
        value: int = struct.unpack_from(self.order + kind, data, at)[0]
        return value

    def tags(self, data: bytes, at: int) -> int:
        return self.number(data, at, "Q" if self.big else "H")

    @property
    def entry(self) -> int:
        return 20 if self.big else 12

    def next(self, data: bytes, at: int) -> int:
        """The offset of the next directory; 0 behind the last one."""
        end = at + (8 if self.big else 2) + self.tags(data, at) * self.entry
        return self.number(data, end, "Q" if self.big else "I")


def check_directory(data: bytes, max_pages: int) -> str | None:
    """Why a TIFF is not read: too many tags in one of its pages, or a camera's raw photo."""
    for page, (layout, at) in enumerate(_iter_directories(data, max_pages)):
        count = layout.tags(data, at)
        if count > MAX_TAGS:
            return f"a TIFF with {count:,} tags in a page; up to {MAX_TAGS} are read"
        if page == 0:
            values = _values(data, layout, at)
            preview = values.get(_SUBFILE_TYPE, 0) & _REDUCED and _SUB_IFDS in values
            if _DNG_VERSION in values or preview:
                return (
                    "not an image: it is a camera's raw photo (DNG, NEF, ARW or the like), whose "
                    "first image is a preview; develop it, and save it as JPEG or TIFF"
                )
    return None


def is_truncated(data: bytes) -> bool:
    """Whether a file ends before the first page's directory, its values or its strips end."""
    first = next(_iter_directories(data, 0), None)
    if first is None:
        return True
    layout, at = first
    lists: dict[int, list[int]] = {}
    try:
        start = at + (8 if layout.big else 2)
        for number in range(min(layout.tags(data, at), MAX_TAGS)):
            entry = start + number * layout.entry
            tag, kind = layout.number(data, entry, "H"), layout.number(data, entry + 2, "H")
            count = layout.number(data, entry + 4, "Q" if layout.big else "I")
            values, inline = entry + (12 if layout.big else 8), 8 if layout.big else 4
            length = count * _VALUE_BYTES.get(kind, 0)
            if length > inline:
                values = layout.number(data, values, "Q" if layout.big else "I")
            if values + length > len(data):
                return True
            if tag in (*_OFFSETS, *_LENGTHS) and kind in _WHOLE:
                lists[tag] = list(
                    struct.unpack_from(f"{layout.order}{count}{_WHOLE[kind]}", data, values)
                )
    except struct.error:
        return True
    return any(
        offset + length > len(data)
        for offsets, lengths in zip(_OFFSETS, _LENGTHS, strict=True)
        for offset, length in zip(lists.get(offsets, ()), lists.get(lengths, ()), strict=False)
    )


def count_pages(data: bytes, limit: int) -> int:
    """The number of pages, at most `limit` + 1."""
    return sum(1 for _ in _iter_directories(data, limit))


def _iter_directories(data: bytes, limit: int) -> Iterator[tuple[_Layout, int]]:
    """Each directory up to `limit` + 1; a ring or a wrong offset ends it."""
    order = ">" if data[:2] == b"MM" else "<"
    layout, visited = _Layout(order, 43 in data[2:4]), set[int]()
    try:
        at = layout.number(data, 8 if layout.big else 4, "Q" if layout.big else "I")
        while at and at not in visited and len(visited) <= limit:
            visited.add(at)
            layout.tags(data, at)
            yield layout, at
            at = layout.next(data, at)
    except struct.error:
        return


def _values(data: bytes, layout: _Layout, at: int) -> dict[int, int]:
    """The first value of each tag of a directory, if it is a number that stands in the entry."""
    values: dict[int, int] = {}
    start = at + (8 if layout.big else 2)
    try:
        for number in range(layout.tags(data, at)):
            entry = start + number * layout.entry
            tag, kind = layout.number(data, entry, "H"), layout.number(data, entry + 2, "H")
            value = layout.number(
                data, entry + (12 if layout.big else 8), {1: "B", 3: "H"}.get(kind, "I")
            )
            values.setdefault(tag, value)
    except struct.error:
        pass
    return values


@cache
def silence_libtiff() -> None:
    """Take libtiff's error handler away, as Pillow does with the handler for warnings.

    Pillow raises an error of its own in each case. Where libtiff's symbols are not visible, as in
    wheels for Windows, the handler stays.
    """
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError, TypeError):
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)
