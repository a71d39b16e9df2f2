"""Feature vectors on disk, by content: an image is never run through a backbone twice.

One folder a key (backbone, its weights, the way to its input, versions), in it segment files
that are only ever appended to:

    header   64 bytes   b"SHRPEYE1", uint32 dimension, zeros
    record   32 bytes   SHA-256 of the image file
             4 D bytes  float32, little endian
             16 bytes   BLAKE2b of the two before it

A record counts when its checksum is right, whatever stands around it: so a run that was killed
has lost at most the record it was writing, several runs may write at once (each its own
segment), and a damaged record is simply computed again.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import FileLock, cache_root, explain_os_error, make_folder, write_text
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

_MAGIC = b"SHRPEYE1"
_HEADER = 64
_KEY, _CHECK = 32, 16
_MERGE_ABOVE = 16  # segments

Features = npt.NDArray[np.float32]


def _record_type(dimension: int) -> np.dtype[np.void]:
    return np.dtype([("key", f"V{_KEY}"), ("vector", "<f4", (dimension,)), ("check", f"V{_CHECK}")])


def _checksum(key: bytes, vector: bytes) -> bytes:
    return hashlib.blake2b(key + vector, digest_size=_CHECK).digest()


class FeatureStore:
    """The records of one key.

    Args:
        key: everything that a feature depends on besides the image's bytes.
        dimension: length D of a vector.
        root: the cache; by default `cache_root()`.
    """

    def __init__(self, key: Mapping[str, Any], dimension: int, root: Path | None = None) -> None:
        self.key = dict(key) | {"dimension": dimension}
        text = json.dumps(self.key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:20]
        self.folder = (root or cache_root()) / "features" / name
        self.dimension = dimension
        self._type = _record_type(dimension)

    def stored(
        self, digests: Iterable[str], columns: slice = slice(None)
    ) -> Iterator[tuple[str, Features]]:
        """What is stored of the given images, one after the other, each once.

        Args:
            digests: hexadecimal SHA-256 of the images' files.
            columns: which stretch of the vectors.

        Returns:
            (digest, float32[D]); missing and damaged ones are absent.
        """
        wanted = {bytes.fromhex(d): d for d in digests}
        damaged = 0
        for segment in self._segments():
            records = self._records(segment)
            for row, key in enumerate(records["key"].tolist()):
                digest = wanted.get(key)
                if digest is None:
                    continue
                raw = records[row].tobytes()
                if _checksum(raw[:_KEY], raw[_KEY:-_CHECK]) == raw[-_CHECK:]:
                    del wanted[key]
                    yield digest, np.array(records["vector"][row][columns], dtype=np.float32)
                else:
                    damaged += 1
        if damaged:
            log.warning("%d damaged cache records in %s are computed again", damaged, self.folder)

    def count(self, digests: Iterable[str]) -> int:
        """How many of the given images are stored; damaged ones count."""
        wanted = {bytes.fromhex(digest) for digest in digests}
        keys = (self._records(segment)["key"].tolist() for segment in self._segments())
        return len({key for own in keys for key in own if key in wanted})

    def writer(self) -> "SegmentWriter":
        """A new segment to append to.

        Raises:
            EnvironmentFault: the cache cannot be written.
        """
        make_folder(self.folder)
        about = self.folder / "key.json"
        if not about.exists():
            write_text(about, json.dumps(self.key, indent=2, sort_keys=True) + "\n")
        return SegmentWriter(self.folder / f"{os.getpid()}-{secrets.token_hex(4)}.seg", self)

    def merge(self) -> None:
        """Join the segments if there are many, leaving alone those still being written."""
        with contextlib.suppress(EnvironmentFault, OSError):
            lock = FileLock(self.folder / "merge.lock")
            if len(self._segments()) <= _MERGE_ABOVE or not lock.try_acquire():
                return
            try:
                self._merge_locked()
            finally:
                lock.release()

    def _merge_locked(self) -> None:
        with contextlib.ExitStack() as locks:
            idle = []
            for segment in self._segments():
                lock = FileLock(segment)
                if lock.try_acquire():
                    locks.callback(lock.release)
                    idle.append(segment)
            seen: set[bytes] = set()
            with self.writer() as out:
                for segment in idle:
                    for record in self._records(segment):
                        raw = record.tobytes()
                        key, vector, check = raw[:_KEY], raw[_KEY:-_CHECK], raw[-_CHECK:]
                        if key not in seen and _checksum(key, vector) == check:
                            seen.add(key)
                            out.append_raw(raw)
            for segment in idle:
                segment.unlink(missing_ok=True)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.seg"))

    def _records(self, segment: Path) -> npt.NDArray[np.void]:
        empty = np.empty(0, self._type)
        try:
            size = segment.stat().st_size
            rows = (size - _HEADER) // self._type.itemsize
            if rows <= 0:
                return empty
            with segment.open("rb") as file:
                if file.read(_HEADER) != _header(self.dimension):
                    log.warning("%s is damaged and left out", segment)
                    return empty
            return np.memmap(segment, self._type, "r", offset=_HEADER, shape=(rows,))
        except OSError:  # cleared or merged by another process meanwhile
            return empty


def _header(dimension: int) -> bytes:
    return (_MAGIC + dimension.to_bytes(4, "little")).ljust(_HEADER, b"\0")


class SegmentWriter:
    """Appends records to one segment; others see each as soon as it is written."""

    def __init__(self, path: Path, store: FeatureStore) -> None:
        self.path, self._store = path, store

    def __enter__(self) -> "SegmentWriter":
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        self._lock = FileLock(self.path)  # tells `merge` that this segment is still growing
        try:
            self._lock.try_acquire()
            self.append_raw(_header(self._store.dimension))
        except EnvironmentFault:
            self.__exit__(None, None, None)
            raise
        return self

    def append(self, digest: str, vector: Features) -> None:
        """Write one record. `vector`: float32[D]."""
        key, data = bytes.fromhex(digest), np.ascontiguousarray(vector, "<f4").tobytes()
        self.append_raw(key + data + _checksum(key, data))

    def append_raw(self, record: bytes) -> None:
        rest = memoryview(record)
        try:
            while rest:  # a disk that runs full takes a part, and says why at the next write
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._lock.release()
        with contextlib.suppress(OSError):  # the cache may have been cleared meanwhile
            if self.path.stat().st_size <= _HEADER:
                self.path.unlink(missing_ok=True)


def iter_keys(root: Path | None = None) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Each feature folder of the cache with its key and its size in bytes."""
    for folder in sorted(((root or cache_root()) / "features").glob("*")):
        about = folder / "key.json"
        try:
            key = json.loads(about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            key = {}
        yield folder, key, sum(file.stat().st_size for file in folder.glob("*.seg"))
