"""The one door through which images enter a class folder.

What comes is decoded by the one decoder; what cannot be is not written. An image is called by its
content, has the suffix that its content has, is written whole or not at all, and is there once:
the same bytes are not taken a second time into the class, nor into another class beside it, where
they would contradict it. `sources.csv` in the folder has a line for each try.

Several processes and threads may fill one folder: each image is placed under a lock.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
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
    now,
)
from sharpeye.core import storage
from sharpeye.errors import EnvironmentFault, ImageReadError, UsageError
from sharpeye.images.decode import DECODE_LIMITS, DecodeLimits, decode
from sharpeye.images.formats import BMP, GIF, JPEG, PNG, TIFF, WEBP, sniff
from sharpeye.web.connection import without_password

log = logging.getLogger(__name__)

SUFFIXES = {JPEG: ".jpg", PNG: ".png", GIF: ".gif", WEBP: ".webp", BMP: ".bmp", TIFF: ".tif"}
_LOCK = ".sources.lock"
_DIGITS = 16  # of a digest's 64, in a name; should two images share them, one gets a number
_MAX_FILES = 2_000_000  # looked at for copies, in the class folder and those beside it
_MAX_STEM = 120  # characters
# However many threads there are: an image at the limits takes some 300 MB to decode.
_DECODING = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one image.

    Attributes:
        path: its file; None unless it was added.
        status: `added`, `duplicate`, `conflict` or `rejected`; see `sources.Source`.
        reason: why, unless it was added.
    """

    path: Path | None
    status: str
    reason: str = ""


def ingest(
    data: bytes,
    folder: Path,
    *,
    source: str,
    licence: str = UNKNOWN,
    stem: str | None = None,
    limits: DecodeLimits = DECODE_LIMITS,
) -> Ingested:
    """Put one image into a class folder, and a line into its `sources.csv`.

    Args:
        data: the file's bytes.
        folder: the class's; it is created. Those beside it are taken for the other classes.
        source: where the image comes from: a URL, or a file. A password in it is not kept.
        licence: what may be done with it.
        stem: the name without suffix; by default the first 16 digits of its SHA-256.
        limits: what decoding may cost.

    Returns:
        what became of it; an image that is not added is no error.

    Raises:
        UsageError: `stem` cannot be a file's name.
        EnvironmentFault: disk full, no permission; the image is not there then.

    For many images, `ClassFolder` looks at the folders once.
    """
    with ClassFolder(folder) as opened:
        return opened.ingest(data, source=source, licence=licence, stem=stem, limits=limits)


class ClassFolder:
    """A class folder that images enter; used by several threads. A context manager."""

    def __init__(self, folder: Path) -> None:
        # Those beside `.` are not in its textual parent.
        self.folder = folder if folder.name not in ("", "..") else folder.resolve()
        self._sources = SourcesFile(self.folder)
        self._mutex = threading.Lock()
        self._arrived: set[str] = set()
        self._names: dict[str, str] = {}  # by digest, of what came while this is open
        self._copies: _Copies | None = None

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

    def arrived(self, source: str) -> bool:
        """Whether something came from a source before, even if it was deleted since."""
        with self._mutex, storage.FileLock(self.folder / _LOCK):
            self._catch_up()
            return line_of(without_password(source)) in self._arrived

    def ingest(
        self,
        data: bytes,
        *,
        source: str,
        licence: str = UNKNOWN,
        stem: str | None = None,
        limits: DecodeLimits = DECODE_LIMITS,
    ) -> Ingested:
        """See the function `ingest`."""
        if stem is not None:
            _require_stem(stem)
        digest = hashlib.sha256(data).hexdigest()
        rejection = _rejection(data, source, limits)
        with self._mutex, storage.FileLock(self.folder / _LOCK):
            self._catch_up()
            if rejection:
                done = Ingested(None, REJECTED, rejection)
            else:
                done = self._copy_of(data, digest) or self._place(data, digest, stem)
            self._note(done, source, licence, digest)
        return done

    def record(self, source: str, licence: str, status: str, reason: str) -> None:
        """Note a try that brought no bytes."""
        with self._mutex, storage.FileLock(self.folder / _LOCK):
            self._note(Ingested(None, status, reason), source, licence, "")

    def _note(self, done: Ingested, source: str, licence: str, digest: str) -> None:
        name, source = done.path.name if done.path else "", without_password(source)
        self._sources.append(
            SourceRecord(name, source, licence or UNKNOWN, now(), digest, done.status, done.reason)
        )

    def _catch_up(self) -> None:
        """Learn what other processes, and this one before, have put there."""
        for line in self._sources.new_lines():
            if line.status in ARRIVED:
                self._arrived.add(line.source)
            if line.status == ADDED:
                self._names[line.sha256] = line.path

    def _copy_of(self, data: bytes, digest: str) -> Ingested | None:
        if self._copies is None:
            self._copies = _Copies(self.folder)
        name = self._names.get(digest)
        if name is not None and _is(self.folder / name, digest):
            return Ingested(None, DUPLICATE, f"the same picture as {name}")
        copy = self._copies.find(len(data), digest, _name_by_content(data, digest))
        if copy is None:
            return None
        if copy.is_relative_to(self.folder):
            name = copy.relative_to(self.folder).as_posix()
            return Ingested(None, DUPLICATE, f"the same picture as {name}")
        name = copy.relative_to(self.folder.parent).as_posix()
        return Ingested(None, CONFLICT, f"the same picture is in another class: {name}")

    def _place(self, data: bytes, digest: str, stem: str | None) -> Ingested:
        name = Path(_name_by_content(data, digest))
        wanted = stem or name.stem
        path, number = self.folder / f"{wanted}{name.suffix}", 1
        while os.path.lexists(path):  # another image's: ours would have been found
            number += 1
            path = self.folder / f"{wanted}-{number}{name.suffix}"
        storage.write_bytes(path, data)
        return Ingested(path, ADDED)


class _Copies:
    """Finds a file of given bytes in a class folder and those beside it.

    Files are listed once; what other processes add meanwhile is found if it is called by its
    content.
    """

    def __init__(self, folder: Path) -> None:
        self._by_size: dict[int, list[Path]] = {}
        self._beside = _folders_beside(folder)
        files = (found for each in (folder, *self._beside) for found in _files_below(each))
        for count, (path, size) in enumerate(files):
            if count >= _MAX_FILES:
                log.warning(
                    "%s has more than %s files: copies of the others are not seen",
                    folder.parent,
                    f"{_MAX_FILES:,}",
                )
                break
            self._by_size.setdefault(size, []).append(path)

    def find(self, size: int, digest: str, name: str) -> Path | None:
        """A file of this size and digest; the class's own before another's.

        Args:
            name: what it would be called by its content.
        """
        # Few files have the same number of bytes: only these are read.
        known = self._by_size.get(size, [])
        fresh = (folder / name for folder in self._beside)
        return next((path for path in (*known, *fresh) if _is(path, digest)), None)


def _folders_beside(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder.parent) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder.parent / n for n in names if n != folder.name and not n.startswith(".")]


def _files_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files with their sizes, but no hidden ones, and no links."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or path.is_symlink():
                continue
            try:
                yield path, path.stat().st_size
            except OSError:
                continue


def _name_by_content(data: bytes, digest: str) -> str:
    return digest[:_DIGITS] + SUFFIXES[sniff(data[:32]) or JPEG]


def _is(path: Path, digest: str) -> bool:
    """Whether a file is there and has a digest."""
    try:
        return path.is_file() and storage.sha256_file(path) == digest
    except OSError:
        return False


def _rejection(data: bytes, name: str, limits: DecodeLimits) -> str:
    """Why bytes are no image; empty if they are one."""
    if len(data) > limits.file_bytes:
        return f"it has more than the limit of {limits.file_bytes // 2**20} MiB a file"
    try:
        with _DECODING:
            decode(data, name, limits=limits)
    except ImageReadError as error:
        return error.reason
    return ""


def _require_stem(stem: str) -> None:
    bad = re.search(r"[\x00-\x1f\x7f/\\:*?\"<>|]", stem) or stem.strip(" .") != stem
    if bad or not 0 < len(stem) <= _MAX_STEM:
        raise UsageError(
            f"`stem` must be a file's name of up to {_MAX_STEM} plain characters. "
            f"Received: stem={stem!r}"
        )
