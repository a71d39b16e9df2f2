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
from datetime import UTC, datetime
from pathlib import Path

from sharpeye.core.storage import os_errors_at

NAME = "sources.csv"
UNKNOWN = "unknown"  # a licence that nobody named

ADDED, DUPLICATE, CONFLICT = "added", "duplicate", "conflict"
REJECTED, FAILED, REFUSED = "rejected", "failed", "refused"
ARRIVED = frozenset({ADDED, DUPLICATE, CONFLICT})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One line.

    Attributes:
        path: the image's name in the class folder; empty unless it was added.
        source: a URL, or a file.
        licence: `unknown` if nobody named it.
        time: of the try, UTC, ISO 8601.
        sha256: of its bytes, if any came.
        status: `added`; `duplicate` of an image of this class; in `conflict` with the same
            image in another class; `rejected` as no image; `failed` to come; `refused` by a
            rule.
        reason: why, unless it was added.
    """

    path: str
    source: str
    licence: str
    time: str
    sha256: str
    status: str
    reason: str


COLUMNS = tuple(column.name for column in fields(SourceRecord))


@dataclass
class CollectCounts:
    """What many tries have brought.

    Attributes:
        counts: images by status; see `SourceRecord`.
        before: URLs left out because an earlier run collected them.
        unreached: failures in which no server was reached.
        examples: (source, reason) of the first 20 that brought nothing.
    """

    counts: Counter[str] = field(default_factory=Counter)
    collected_before: int = 0
    unreached: int = 0
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


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


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
            if size < self._read_to:  # another file is there now
                self._read_to = 0
            if size == self._read_to:
                return
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):  # torn, or just being written
                        return
                    self._read_to += len(line)
                    yield from _parse(line.decode("utf-8-sig", "replace"))

    def append(self, record: SourceRecord) -> None:
        """Raises EnvironmentFault: disk full, no permission."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        with os_errors_at(self.path):
            last_byte = _last_byte(self.path)
            if not last_byte:
                table.writerow(COLUMNS)
            table.writerow([line_of(getattr(record, name)) for name in COLUMNS])
            torn = last_byte not in (b"", b"\n")
            with self.path.open("ab", buffering=0) as file:
                file.write((b"\n" if torn else b"") + text.getvalue().encode("utf-8"))


def _last_byte(path: Path) -> bytes:
    """Empty if the file is, or if there is none."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
        return file.read(1)


def _parse(line: str) -> Iterator[SourceRecord]:
    # Line by line: a torn one may end within quotes, and would swallow the next ones.
    row = next(csv.reader([line.rstrip("\r\n")]), [])
    if len(row) == len(COLUMNS) and tuple(row) != COLUMNS:
        yield SourceRecord(*row)
