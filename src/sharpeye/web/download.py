"""Download files: resumed where they broke off, verified, and visible only when complete.

The bytes gather in a hidden file beside the final one, under a name that follows from the URL, so
that a later run finds them. A note beside them says which version of the file on the server they
belong to: it is written after the bytes of another version are gone and before the first new one
comes. A process that is killed at any moment therefore leaves bytes that fit their note.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sharpeye.core import storage
from sharpeye.core.progress import StageProgress
from sharpeye.core.version import __version__
from sharpeye.errors import BusyError, EnvironmentFault, ModelError, NetworkError
from sharpeye.web.addresses import anywhere
from sharpeye.web.fetch_error import MAX_PAUSE_SECONDS, PAUSES_SECONDS, FetchError
from sharpeye.web.http_client import (
    HttpClient,
    Response,
    body_chunks,
    body_length,
    status_error,
)
from sharpeye.web.urls import require_http

log = logging.getLogger(__name__)

MAX_BYTES = 20 * 10**9  # of a file whose size is not known beforehand
TIMEOUT_SECONDS = 30.0  # to connect, and between two pieces of the body
# A connection that brings fewer bytes in so long a time is closed: the next one may be better.
SLOW_SECONDS, SLOW_BYTES = 60.0, 60_000


def download(
    url: str,
    file: Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: StageProgress | None = None,
) -> Path:
    """Download a file, unless it is there already with the right digest.

    Args:
        url: of http or https.
        file: the final name; its folder is created.
        sha256: the hexadecimal digest it must have.
        size: the number of bytes it must have.
        progress: called with ("download, MB", done, total).

    Returns:
        `file`.

    Raises:
        UsageError: no such URL can be.
        NetworkError: the server cannot be reached, says no or to come back later, or broke off or
            sent next to nothing again and again; what has come is kept for the next run.
        ModelError: it is another file: its digest or size is not what it must be. It is deleted.
        EnvironmentFault: no room, no permission.
        BusyError: another process downloads it.
    """
    with downloaded(url, file, sha256, size, progress):
        return file


@contextlib.contextmanager
def downloaded(
    url: str,
    file: Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: StageProgress | None = None,
) -> Iterator[Path]:
    """`download`, and no other process downloads the same file until the block ends."""
    require_http(url)
    partial = _PartialFile(url, file, sha256.lower() if sha256 else None, size)
    storage.make_folder(file.parent)
    lock = storage.FileLock(partial.lock)
    if not lock.try_acquire():
        raise BusyError(
            f"another process downloads {url}; wait for it to end, then run the command again"
        )
    try:
        with storage.os_errors_at(file):
            if not partial.is_complete():
                _Download(partial, progress).run()
                partial.bytes.replace(file)
                storage.flush_folder(file.parent)
            partial.discard()
        yield file
    finally:
        with contextlib.suppress(OSError):
            partial.lock.unlink()
        lock.release()


@dataclass(frozen=True, slots=True)
class _Note:
    """Which version of the file on the server the bytes belong to.

    Attributes:
        validator: its strong ETag or its Last-Modified; empty if the server has neither.
        total: its number of bytes, if the server said so.
    """

    validator: str = ""
    total: int | None = None


class _PartialFile:
    """The file as it must be, and its bytes so far with their note."""

    def __init__(self, url: str, file: Path, sha256: str | None, size: int | None) -> None:
        self.url, self.file, self.sha256, self.size = url, file, sha256, size
        stem = storage.TEMPORARY_PREFIX + hashlib.sha256(url.encode()).hexdigest()[:16]
        self.bytes = file.with_name(f"{stem}.part")
        self.lock = file.with_name(f"{stem}.lock")
        self._note = file.with_name(f"{stem}.json")

    @property
    def resumable_bytes(self) -> int:
        """The number of bytes to which the rest can be appended."""
        # Without a validator, only a digest would reveal a mixture of two versions.
        safe = self.sha256 or self.note().validator
        return self.bytes.stat().st_size if safe and self.bytes.exists() else 0

    def note(self) -> _Note:
        try:
            return _Note(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Note()

    def start_over(self, note: _Note) -> None:
        """Drop what is there and begin with a version of the file."""
        self.discard()
        storage.write_text(self._note, json.dumps(asdict(note)))

    def discard(self) -> None:
        self.bytes.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def is_complete(self) -> bool:
        """Whether the final file is there already; without a digest nobody can say."""
        return bool(
            self.sha256 and self.file.is_file() and storage.sha256_file(self.file) == self.sha256
        )

    def reject(self, reason: str) -> ModelError:
        """Drop what is there; returns the error that says why."""
        self.discard()
        return ModelError(
            f"what {self.url} gives is refused: {reason}; either the file on the server is another "
            "one by now, or something on the way changes it"
        )


class _Download:
    """Fills a partial file in several attempts."""

    def __init__(self, partial: _PartialFile, progress: StageProgress | None) -> None:
        self._partial, self._progress = partial, progress
        self._client = HttpClient(
            anywhere,
            headers={"User-Agent": f"sharpeye/{__version__}"},
            connect_seconds=TIMEOUT_SECONDS,
            silence_seconds=TIMEOUT_SECONDS,
            proxies=True,
        )

    def run(self) -> None:
        """Download what is missing, and verify the digest of all of it."""
        partial, resumed = self._partial, self._partial.resumable_bytes > 0
        for pause in (*PAUSES_SECONDS, None):
            try:
                self._attempt()
                break
            except FetchError as error:
                if pause is None or not self._may_retry(error):
                    raise self._network_error(error) from None
                if error.retry_after > pause:
                    log.info("the server wants to be asked again in %.0f s", error.retry_after)
                time.sleep(max(pause, error.retry_after))
        if partial.sha256 is None:
            return
        sha256 = storage.sha256_file(partial.bytes)
        if sha256 == partial.sha256:
            return
        rejection = partial.reject(f"its SHA-256 is {sha256}, not {partial.sha256}")
        if not resumed:
            raise rejection
        # A power cut can spoil what an earlier run had received: that deserves a fresh start.
        self.run()

    def _may_retry(self, error: FetchError) -> bool:
        return _is_passing(error) and error.retry_after <= MAX_PAUSE_SECONDS

    def _network_error(self, error: FetchError) -> NetworkError:
        have = self._partial.resumable_bytes
        goes_on = f": it goes on at {have / 1e6:.1f} MB" if have else ""
        if not _is_passing(error):
            advice = "; check the address"
        elif error.retry_after > MAX_PAUSE_SECONDS:
            pause = f"{error.retry_after:,.0f} s"
            advice = f", and wants to be asked again in {pause}; run the same command again then"
            advice += goes_on
        elif have:
            advice = f"; run the same command again{goes_on}"
        else:
            advice = "; check the address and the network, then run the same command again"
        return NetworkError(f"cannot download {self._partial.url}: {error.reason}{advice}")

    def _attempt(self) -> None:
        """Ask for what is missing and append what comes, over one connection."""
        partial, start, note = self._partial, self._partial.resumable_bytes, self._partial.note()
        if start and start == note.total and partial.size in (None, start):
            return
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if note.validator:  # the whole file comes if it is another one by now
                headers["If-Range"] = note.validator
        with self._client.get(partial.url, headers=headers) as response:
            if response.status_code == 206 and start:
                first_byte, total = _content_range(response)
                same_version = _validator(response) in ("", note.validator)
                if not same_version or first_byte != start or note.total not in (None, total):
                    partial.discard()
                    reason = "the server sent another piece of the file than was asked for"
                    raise FetchError(reason, retryable=True)
                note = replace(note, total=total)
            elif response.status_code == 200:
                start, note = 0, _Note(_validator(response), body_length(response))
                partial.start_over(note)
            elif response.status_code == 416:  # the file on the server is shorter than what is here
                partial.discard()
                raise FetchError(status_error(response).reason, retryable=True)
            else:
                raise status_error(response)
            self._require_size_and_room(start, note.total)
            self._append(response, start, note.total)

    def _require_size_and_room(self, start: int, total: int | None) -> None:
        """Refuse what the server announces, before any of it comes."""
        partial, folder = self._partial, self._partial.file.parent
        if total is not None and partial.size not in (None, total):
            raise partial.reject(f"it has {total:,} bytes, not {partial.size:,}")
        if total is not None and total > MAX_BYTES:
            raise partial.reject(f"it has {total:,} bytes, more than {MAX_BYTES:,}")
        missing = (total or partial.size or 0) - start
        free = shutil.disk_usage(folder).free
        if free < missing:
            raise EnvironmentFault(
                f"cannot download {partial.url} to {folder}: {missing / 1e6:,.1f} MB are to come "
                f"and {free / 1e6:,.1f} MB are free; free some room, or set SHARPEYE_CACHE to "
                "another disk"
            )

    def _append(self, response: Response, have: int, total: int | None) -> None:
        """Append a body, `have` bytes into the file, up to `total` if that is known."""
        partial = self._partial
        limit, expected = partial.size or MAX_BYTES, total or partial.size
        with partial.bytes.open("ab") as file:
            for chunk in body_chunks(response, SLOW_SECONDS, SLOW_BYTES):
                piece = chunk if total is None else chunk[: total - have]
                have += len(piece)
                if have > limit:
                    break
                file.write(piece)
                file.flush()  # so that a kill loses nothing
                if self._progress:
                    self._progress("download, MB", have // 10**6, max(have, expected or 0) // 10**6)
                if have == total:
                    break
            os.fsync(file.fileno())
        if have > limit:
            raise partial.reject(f"it has more than {limit:,} bytes")
        if expected is not None and have < expected:
            reason = f"the connection closed after {have:,} of {expected:,} bytes"
            raise FetchError(reason, retryable=True)


def _is_passing(error: FetchError) -> bool:
    """Whether another attempt may succeed, also where no server could be reached."""
    return error.retryable or not error.reached


def _validator(response: Response) -> str:
    """What If-Range may hold: a weak ETag may not, as it allows for other bytes."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _content_range(response: Response) -> tuple[int, int]:
    """(first byte, size of the whole file) of a partial response; -1 where it lacks either."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, -1)
