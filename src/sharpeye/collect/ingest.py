"""Put images into a class folder: each is decoded first, named by content, and stored once.

Undecodable files are not written; the others appear only when complete, with the suffix of their
format. The same bytes are not stored twice in a class, nor in another class beside it, which would
be a contradiction. `sources.csv` in the folder gets a line for each attempt. Several processes and
threads may fill one folder: each image is added under a lock.
"""

import contextlib
import hashlib
import itertools
import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sharpeye.collect.sources import (
    ADDED,
    ARRIVED,
    CONFLICT,
    DUPLICATE,
    REJECTED,
    UNKNOWN,
    SourceRecord,
    SourcesFile,
    line_of,
)
from sharpeye.core import storage
from sharpeye.errors import EnvironmentFault, ImageReadError, UsageError
from sharpeye.images.decode import decode
from sharpeye.images.decode_limits import limits_in_force
from sharpeye.images.formats import JPEG, sniff, suffixes_of
from sharpeye.web.urls import without_password

log = logging.getLogger(__name__)

_LOCK = ".sources.lock"
_NAME_DIGITS = 16  # of a digest's 64; if two images share them, one gets a number
_MAX_FILES = 2_000_000  # compared with new images, in the class folder and those beside it
_MAX_STEM_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Ingested:
    """The result for one image: added as `path`, or why not; see `SourceRecord`."""

    path: Path | None
    status: str
    reason: str = ""


class ClassFolder:
    """A class folder that images enter; used by several threads. A context manager.

    The folder is created. The folders beside it count as the other classes.
    """

    def __init__(self, folder: Path) -> None:
        # Resolved, because the textual parent of `.` is `.` itself.
        self.folder = folder if folder.name not in ("", "..") else folder.resolve()
        self._sources = SourcesFile(self.folder)
        self._mutex = threading.RLock()
        self._is_locked = False
        self._arrived: set[str] = set()
        self._names: dict[str, str] = {}  # by digest, of recorded images
        self._recorded: set[str] = set()  # their names
        self._known_files: _KnownFiles | None = None

    def __enter__(self) -> "ClassFolder":
        storage.make_folder(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        lock = storage.FileLock(self.folder / _LOCK)
        try:
            if lock.try_acquire():
                lock.path.unlink(missing_ok=True)
                lock.release()
        except (EnvironmentFault, OSError):  # it does no harm there
            log.debug("the lock %s stays", lock.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock for several images: to take it costs more than a small image.

        Other threads and processes wait for the end of the block.
        """
        with self._mutex:
            if self._is_locked:
                yield
                return
            with storage.FileLock(self.folder / _LOCK):
                self._read_new_records()
                self._is_locked = True
                try:
                    yield
                finally:
                    self._is_locked = False

    def arrived(self, source: str) -> bool:
        """Whether a source has delivered before, even if the image was deleted since."""
        with self.locked():
            return line_of(without_password(source)) in self._arrived

    def ingest(
        self, data: bytes, *, source: str, licence: str = UNKNOWN, stem: str | None = None
    ) -> Ingested:
        """Put one image into the folder, and a line into its `sources.csv`.

        Args:
            data: the file's bytes; not adding them is not an error.
            source: a URL, or a file. A password in it is not stored.
            stem: the name without suffix; by default the first 16 digits of its SHA-256.

        Raises:
            UsageError: `stem` cannot be a file's name.
            EnvironmentFault: disk full, no permission; then the image is not added.
        """
        if stem is not None:
            _require_stem(stem)
        digest = hashlib.sha256(data).hexdigest()
        rejection = _decode_error(data, source)
        with self.locked():
            if rejection:
                ingested = Ingested(None, REJECTED, rejection)
            else:
                ingested = self._find_copy(data, digest, stem) or self._write(data, digest, stem)
            self._record(ingested, source, licence, digest=digest)
        return ingested

    def record(self, source: str, licence: str, status: str, *, reason: str) -> None:
        """Record an attempt without bytes."""
        with self.locked():
            self._record(Ingested(None, status, reason), source, licence, digest="")

    def _record(self, ingested: Ingested, source: str, licence: str, *, digest: str) -> None:
        name = ingested.path.name if ingested.path else ""
        source, licence = without_password(source), licence or UNKNOWN
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        status, reason = ingested.status, ingested.reason
        record = SourceRecord(name, source, licence, time, digest, status, reason)
        self._sources.append(record)
        self._remember(record)

    def _read_new_records(self) -> None:
        """Read the records that other processes, and this one, have added."""
        for record in self._sources.new_records():
            self._remember(record)

    def _remember(self, record: SourceRecord) -> None:
        if record.status in ARRIVED:
            self._arrived.add(line_of(record.source))
        if record.status == ADDED:
            self._names[record.sha256] = record.path
            self._recorded.add(record.path)

    def _find_copy(self, data: bytes, digest: str, stem: str | None) -> Ingested | None:
        if self._known_files is None:
            self._known_files = _KnownFiles(self.folder)
        name = self._names.get(digest)
        copy = self.folder / name if name else None
        if copy is None or not _has_digest(copy, digest):
            copy = self._known_files.find(len(data), digest, _name_by_content(data, digest))
        if copy is None:
            return None
        if copy.is_relative_to(self.folder):
            expected = self.folder / _file_name(data, digest, stem)
            if copy == expected and copy.name not in self._recorded:
                return Ingested(copy, ADDED)  # by a process that was killed before it could say so
            name = copy.relative_to(self.folder).as_posix()
            return Ingested(None, DUPLICATE, f"the same image as {name}")
        name = copy.relative_to(self.folder.parent).as_posix()
        return Ingested(None, CONFLICT, f"the same image is in another class: {name}")

    def _write(self, data: bytes, digest: str, stem: str | None) -> Ingested:
        name = Path(_file_name(data, digest, stem))
        path, number = self.folder / name, 1
        while os.path.lexists(path):  # by another image, since a copy would have been found
            number += 1
            path = self.folder / f"{name.stem}-{number}{name.suffix}"
        storage.write_bytes(path, data)
        return Ingested(path, ADDED)


class _KnownFiles:
    """Finds a file of given bytes in a class folder and those beside it.

    Files are listed once; files that other processes add later are found only by the name of their
    content.
    """

    def __init__(self, folder: Path) -> None:
        self._by_size: dict[int, list[Path]] = {}
        self._siblings = _sibling_folders(folder)
        files = (file for parent in (folder, *self._siblings) for file in _files_below(parent))
        for path, size in itertools.islice(files, _MAX_FILES):
            self._by_size.setdefault(size, []).append(path)
        if next(files, None):
            message = "%s has more than %s files: copies of the others are not seen"
            log.warning(message, folder.parent, f"{_MAX_FILES:,}")

    def find(self, size: int, digest: str, name: str) -> Path | None:
        """A file of this size and digest, in this class before other classes."""
        # Only files with the same number of bytes are read: they are few.
        listed = self._by_size.get(size, [])
        new = (folder / name for folder in self._siblings)
        return next((path for path in (*listed, *new) if _has_digest(path, digest)), None)


def _sibling_folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder.parent) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder.parent / n for n in names if n != folder.name and not n.startswith(".")]


def _files_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files with their sizes, without hidden ones and links."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and not path.is_symlink():
                with contextlib.suppress(OSError):
                    yield path, path.stat().st_size


def _name_by_content(data: bytes, digest: str) -> str:
    return digest[:_NAME_DIGITS] + suffixes_of(sniff(data[:32]) or JPEG)[0]


def _file_name(data: bytes, digest: str, stem: str | None) -> str:
    """The name of a new image; the stem may hold dots."""
    name = _name_by_content(data, digest)
    return name if stem is None else stem + Path(name).suffix


def _has_digest(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and storage.sha256_file(path) == digest
    except OSError:
        return False


def _decode_error(data: bytes, name: str) -> str:
    """The reason why bytes are not an image; empty if they are one."""
    file_bytes = limits_in_force().file_bytes
    if len(data) > file_bytes:
        return f"it has more than the limit of {file_bytes // 2**20} MiB a file"
    try:
        decode(data, name)
    except ImageReadError as error:
        return error.reason
    return ""


def _require_stem(stem: str) -> None:
    bad = re.search(r"[\x00-\x1f\x7f/\\:*?\"<>|]", stem) or stem.strip(" .") != stem
    if bad or not 0 < len(stem) <= _MAX_STEM_CHARACTERS:
        raise UsageError(
            f"`stem` must be a file's name of up to {_MAX_STEM_CHARACTERS} plain characters. "
            f"Received: stem={stem!r}"
        )
