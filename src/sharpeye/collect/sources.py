"""`sources.csv` beside the images of a class: the source of each one, and failed attempts.

Each attempt appends a line, by one process at a time and in one write. Lines are not flushed one by
one: after a power cut, lost attempts are repeated, and their images recognized. An incomplete last
line is ended before the next one, and ignored.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from sharpeye.core.storage import os_errors_at
from sharpeye.core.tables import format_row, parse_row

NAME = "sources.csv"
UNKNOWN = "unknown"  # the default licence

ADDED, DUPLICATE, CONFLICT = "added", "duplicate", "conflict"
REJECTED, FAILED, REFUSED = "rejected", "failed", "refused"
ARRIVED = frozenset({ADDED, DUPLICATE, CONFLICT})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One line.

    Attributes:
        status: `added`; `duplicate` of an image of this class; in `conflict` with the same
            image in another class; `rejected` as not an image; `failed` to arrive; `refused` by a
            rule.
    """

    path: str  # the image's name in the class folder; empty unless it was added
    source: str  # a URL, or a file
    licence: str  # `unknown` if none was given
    time: str  # time of the attempt, UTC, ISO 8601
    sha256: str  # of its bytes, if any arrived
    status: str
    reason: str  # empty if it was added


COLUMNS = tuple(column.name for column in fields(SourceRecord))


@dataclass
class CollectCounts:
    """The results of many attempts."""

    counts: Counter[str] = field(default_factory=Counter)  # images by status
    collected_before: int = 0  # URLs left out because an earlier run collected them
    unreached: int = 0  # failures without reaching a server
    # (source, reason) of the first 20 without an image
    examples: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tries(self) -> int:
        return self.counts.total()

    @property
    def missing(self) -> int:
        """The number of attempts without an image, new or already present."""
        return sum(count for status, count in self.counts.items() if status not in ARRIVED)

    def count(self, source: str, status: str, reason: str) -> None:
        self.counts[status] += 1
        if status not in ARRIVED and len(self.examples) < 20:
            self.examples.append((source, reason))


def line_of(text: str) -> str:
    """Text without characters that end a line or move a cursor."""
    return _CONTROL.sub(" ", text.encode("utf-8", "backslashreplace").decode()).strip()


class SourcesFile:
    """The file of one class folder; to append to it, a process must hold the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._read_to = 0

    def new_records(self) -> Iterator[SourceRecord]:
        """Records appended since the last call; all on the first call."""
        with os_errors_at(self.path):
            if not self.path.is_file():
                return
            size = self.path.stat().st_size
            if size == self._read_to:
                return
            if size < self._read_to:  # the file was replaced
                self._read_to = 0
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):  # incomplete, or just being written
                        return
                    self._read_to += len(line)
                    # Line by line: an incomplete one may end within quotes, and would absorb the
                    # next.
                    text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
                    if not text:
                        continue
                    try:
                        row = parse_row(text)
                    except ValueError:  # an incomplete one
                        continue
                    if len(row) == len(COLUMNS) and tuple(row) != COLUMNS:
                        yield SourceRecord(*row)

    def append(self, record: SourceRecord) -> None:
        """Raises EnvironmentFault: disk full, no permission."""
        text = format_row([line_of(getattr(record, name)) for name in COLUMNS])
        with os_errors_at(self.path), self.path.open("a+b", buffering=0) as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
            last_byte = file.read(1)
            if not last_byte:
                text = format_row(COLUMNS) + text
            torn = last_byte not in (b"", b"\n")
            file.write((b"\n" if torn else b"") + text.encode("utf-8"))
