"""`sources.csv` beside the images of a class: where each came from, and what did not come.

Each try appends a line, by one process at a time and in one piece. Lines are not flushed one by
one: what a power cut takes is tried again, and recognized as there already. A torn last line is
ended before the next one, and ignored.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from sharpeye.core.storage import os_errors_at

NAME = "sources.csv"
UNKNOWN = "unknown"  # the licence, if none was given

ADDED, DUPLICATE, CONFLICT = "added", "duplicate", "conflict"
REJECTED, FAILED, REFUSED = "rejected", "failed", "refused"
ARRIVED = frozenset({ADDED, DUPLICATE, CONFLICT})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One line.

    Attributes:
        status: `added`; `duplicate` of an image of this class; in `conflict` with the same
            image in another class; `rejected` as no image; `failed` to come; `refused` by a
            rule.
    """

    path: str  # the image's name in the class folder; empty unless it was added
    source: str  # a URL, or a file
    licence: str  # `unknown` if none was given
    time: str  # of the try, UTC, ISO 8601
    sha256: str  # of its bytes, if any came
    status: str
    reason: str  # empty if it was added


COLUMNS = tuple(column.name for column in fields(SourceRecord))


@dataclass
class CollectCounts:
    """What many tries have brought."""

    counts: Counter[str] = field(default_factory=Counter)  # images by status
    collected_before: int = 0  # URLs left out because an earlier run collected them
    unreached: int = 0  # failures in which no server was reached
    # (source, reason) of the first 20 that brought no image
    examples: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tries(self) -> int:
        return self.counts.total()

    @property
    def missing(self) -> int:
        """Tries that brought no image, neither a new one nor one that is there already."""
        return sum(count for status, count in self.counts.items() if status not in ARRIVED)

    def count(self, source: str, status: str, reason: str) -> None:
        self.counts[status] += 1
        if status not in ARRIVED and len(self.examples) < 20:
            self.examples.append((source, reason))


def line_of(text: str) -> str:
    """Text without what would end a line or move a cursor."""
    return _CONTROL.sub(" ", text.encode("utf-8", "backslashreplace").decode()).strip()


class SourcesFile:
    """The file of one class folder; to append to it, a process must hold the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._read_to = 0

    def new_records(self) -> Iterator[SourceRecord]:
        """What was appended since the last call, at first everything."""
        with os_errors_at(self.path):
            if not self.path.is_file():
                return
            size = self.path.stat().st_size
            if size == self._read_to:
                return
            if size < self._read_to:  # another file is there now
                self._read_to = 0
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):  # torn, or just being written
                        return
                    self._read_to += len(line)
                    # Line by line: a torn one may end within quotes, and would swallow the next.
                    text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
                    row = next(csv.reader([text]), [])
                    if len(row) == len(COLUMNS) and tuple(row) != COLUMNS:
                        yield SourceRecord(*row)

    def append(self, record: SourceRecord) -> None:
        """Raises EnvironmentFault: disk full, no permission."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        with os_errors_at(self.path), self.path.open("a+b", buffering=0) as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
            last_byte = file.read(1)
            if not last_byte:
                table.writerow(COLUMNS)
            table.writerow([line_of(getattr(record, name)) for name in COLUMNS])
            torn = last_byte not in (b"", b"\n")
            file.write((b"\n" if torn else b"") + text.getvalue().encode("utf-8"))
