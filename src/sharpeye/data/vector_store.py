"""Store vectors of images on disk by content, so that no image is run through a backbone twice.

Each key (backbone, its weights, its input, versions) has a folder of append-only segment files:

    header   64 bytes   b"SHRPEYE1", uint32 dimension, zeros
    record   32 bytes   SHA-256 of the image file
             4 D bytes  float32, little endian
             16 bytes   BLAKE2b of the two before it

A record is valid if its checksum is right, whatever surrounds it. So a killed run loses at most the
record that it was writing, several runs may write at once (each to its own segment), and a damaged
record is computed again.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats, map_array
from sharpeye.core.storage import FileLock, cache_root, make_folder, os_errors_at, write_text
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

_MAGIC = b"SHRPEYE1"
_HEADER_BYTES = 64
_DIGEST_BYTES, _CHECKSUM_BYTES = 32, 16
_MAX_SEGMENTS = 16  # more segments are merged


class VectorStore:
    """The records of one key: everything that a vector depends on besides the image's bytes.

    `dimension` is the length D of a vector, `root` the cache, by default `cache_root()`.
    """

    def __init__(self, key: Mapping[str, Any], dimension: int, root: Path | None = None) -> None:
        self.key = dict(key) | {"dimension": dimension}
        text = json.dumps(self.key, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:20]
        self.folder = (root or cache_root()) / "features" / name
        self.dimension = dimension
        self._record = np.dtype(
            [
                ("digest", f"V{_DIGEST_BYTES}"),
                ("vector", "<f4", (dimension,)),
                ("checksum", f"V{_CHECKSUM_BYTES}"),
            ]
        )

    def read(
        self, digests: Iterable[str], columns: slice = slice(None)
    ) -> Iterator[tuple[str, Floats]]:
        """(digest, float32[columns]) of each intact record, once per digest."""
        missing = {bytes.fromhex(digest): digest for digest in digests}
        damaged = 0
        for segment in self._segments():
            records = self._map_records(segment)
            for row, key in enumerate(records["digest"].tolist()):
                digest = missing.get(key)
                if digest is None:
                    continue
                if _is_intact(records[row].tobytes()):
                    del missing[key]
                    yield digest, np.array(records["vector"][row][columns], dtype=np.float32)
                else:
                    damaged += 1
        if damaged:
            log.warning("%d damaged cache records in %s are computed again", damaged, self.folder)

    def count(self, digests: Iterable[str]) -> int:
        """The number of given images in the store, including damaged records."""
        stored: set[bytes] = set()
        for segment in self._segments():
            stored.update(self._map_records(segment)["digest"].tolist())
        return sum(bytes.fromhex(digest) in stored for digest in set(digests))

    @contextlib.contextmanager
    def writer(self) -> Iterator["SegmentWriter"]:
        """Append to a new segment; other processes see each record as soon as it is written.

        Raises:
            EnvironmentFault: the cache cannot be written.
        """
        make_folder(self.folder)
        key_file = self.folder / "key.json"
        if not key_file.exists():
            write_text(key_file, json.dumps(self.key, indent=2, sort_keys=True) + "\n")
        path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}.seg"
        with _segment_lock(path):  # shows `merge` that this segment is in use
            with os_errors_at(path):
                file = path.open("wb", buffering=0)
            try:
                writer = SegmentWriter(path, file)
                writer.append_record(_header(self.dimension))
                yield writer
            finally:
                file.close()
                with contextlib.suppress(OSError):  # another process may have cleared the cache
                    if path.stat().st_size <= _HEADER_BYTES:
                        path.unlink(missing_ok=True)

    def merge(self) -> None:
        """Merge the segments if there are many, except those still in use."""
        lock = FileLock(self.folder / "merge.lock")
        with contextlib.suppress(EnvironmentFault, OSError), contextlib.ExitStack() as locks:
            if len(self._segments()) <= _MAX_SEGMENTS or not lock.try_acquire():
                return
            locks.callback(lock.release)
            idle = [s for s in self._segments() if locks.enter_context(_segment_lock(s))]
            with self.writer() as out:
                for record in self._distinct_records(idle):
                    out.append_record(record)
            for segment in idle:
                # Windows cannot delete a file that another process maps; the next merge does.
                with contextlib.suppress(PermissionError):
                    segment.unlink(missing_ok=True)

    def _distinct_records(self, segments: Iterable[Path]) -> Iterator[bytes]:
        """The intact records of some segments, one per digest; the maps are closed at the end."""
        digests: set[bytes] = set()
        for segment in segments:
            for row in self._map_records(segment):
                record = row.tobytes()
                digest = record[:_DIGEST_BYTES]
                if digest not in digests and _is_intact(record):
                    digests.add(digest)
                    yield record

    def _segments(self) -> list[Path]:
        return _sorted_glob(self.folder, "*.seg")

    def _map_records(self, segment: Path) -> npt.NDArray[np.void]:
        """The records of a segment as a memory-mapped array."""
        empty = np.empty(0, self._record)
        try:
            count = (segment.stat().st_size - _HEADER_BYTES) // self._record.itemsize
            if count <= 0:
                return empty
            with segment.open("rb") as file:
                if file.read(_HEADER_BYTES) != _header(self.dimension):
                    log.warning("%s is damaged and left out", segment)
                    return empty
            return map_array(segment, self._record, (count,), offset=_HEADER_BYTES)
        except OSError:  # another process has cleared or merged it
            return empty


@dataclass(frozen=True)
class SegmentWriter:
    path: Path
    file: IO[bytes]

    def append(self, digest: str, vector: Floats) -> None:
        """Write one record. `vector`: float32[D]."""
        data = bytes.fromhex(digest) + np.ascontiguousarray(vector, "<f4").tobytes()
        self.append_record(data + _checksum(data))

    def append_record(self, record: bytes) -> None:
        unwritten = memoryview(record)
        with os_errors_at(self.path):
            while unwritten:  # a full disk may accept a part, and then fail at the next write
                unwritten = unwritten[self.file.write(unwritten) :]


def iter_vector_folders(root: Path | None = None) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Each folder of vectors in the cache with its key and its size in bytes."""
    for folder in _sorted_glob((root or cache_root()) / "features", "*"):
        try:
            key = dict(json.loads((folder / "key.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            key = {}
        yield folder, key, sum(file.stat().st_size for file in _sorted_glob(folder, "*.seg"))


def _sorted_glob(folder: Path, pattern: str) -> list[Path]:
    """The matching entries of a folder; none if this user may not read it."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


@contextlib.contextmanager
def _segment_lock(segment: Path) -> Iterator[bool]:
    """Try to lock a segment; the value says whether no other process writes to or merges it."""
    lock = FileLock(segment.with_suffix(".lock"))
    granted = lock.try_acquire()
    try:
        yield granted
    finally:
        lock.release()
        if granted:  # a finished segment is never written to again, so the lock file is obsolete
            with contextlib.suppress(OSError):
                lock.path.unlink(missing_ok=True)


def _header(dimension: int) -> bytes:
    return (_MAGIC + dimension.to_bytes(4, "little")).ljust(_HEADER_BYTES, b"\0")


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()


def _is_intact(record: bytes) -> bool:
    return _checksum(record[:-_CHECKSUM_BYTES]) == record[-_CHECKSUM_BYTES:]
