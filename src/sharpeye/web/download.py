"""Download files: resume interrupted ones, verify them, and show only complete ones.

The bytes collect in a hidden file beside the final one, under a name derived from the URL. A note
beside it records the server's version of the file: it is written after the bytes of another version
are deleted and before the first new byte arrives. A process that is killed at any moment therefore
leaves bytes that match their note, and a later run continues there.
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
from sharpeye.web.addresses import anywhere, public_redirect
from sharpeye.web.fetch_error import MAX_PAUSE_SECONDS, PAUSES_SECONDS, FetchError
from sharpeye.web.http_client import HttpClient, Response, body_chunks, body_length, status_error
from sharpeye.web.urls import require_http

log = logging.getLogger(__name__)

MAX_BYTES = 20 * 10**9  # limit of a file of unknown size
TIMEOUT_SECONDS = 30.0  # to connect, and between two chunks of the body
# A slower connection is closed: the next one may be better.
SLOW_SECONDS, SLOW_BYTES = 60.0, 60_000


@contextlib.contextmanager
def locked_download(
    url: str,
    file: Path,
    sha256: str | None = None,
    *,
    size: int | None = None,
    progress: StageProgress | None = None,
) -> Iterator[Path]:
    """Download a file, unless it already exists with the right digest, and yield it.

    No other process downloads the same file until the block ends.

    Args:
        file: the final name; its folder is created.
        sha256: the hexadecimal digest it must have.
        size: the number of bytes it must have.
        progress: called with ("download, MB", done, total).

    Raises:
        UsageError: the URL is not valid.
        NetworkError: the server cannot be reached, refuses, asks to retry later, leads from the
            internet into a private network, or repeatedly broke off or sent almost nothing; the
            received bytes are kept for the next run.
        ModelError: the digest or size of the file is wrong. It is deleted.
        EnvironmentFault: no room, no permission.
        BusyError: another process downloads it.
    """
    require_http(url)
    task = _Download(url, file, sha256.lower() if sha256 else None, size=size, progress=progress)
    storage.make_folder(file.parent)
    lock = storage.FileLock(task.lock)
    if not lock.try_acquire():
        raise BusyError(
            f"another process downloads {url}; wait for it to end, then run the command again"
        )
    try:
        with storage.os_errors_at(file):
            task.run()
        yield file
    finally:
        with contextlib.suppress(OSError):
            task.lock.unlink()
        lock.release()


@dataclass(frozen=True, slots=True)
class _Note:
    """The server's version of the file that the bytes belong to."""

    validator: str = ""  # its strong ETag or its Last-Modified, if the server sends either
    total: int | None = None  # its number of bytes, if the server sends it


@dataclass
class _Download:
    """The download of one file: its required properties, its bytes so far, and its attempts."""

    url: str
    file: Path
    sha256: str | None
    size: int | None
    progress: StageProgress | None

    def __post_init__(self) -> None:
        stem = storage.TEMPORARY_PREFIX + hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.lock = self.file.with_name(f"{stem}.lock")
        self.part = self.file.with_name(f"{stem}.part")
        self.note_file = self.file.with_name(f"{stem}.json")

    def run(self) -> None:
        """Download the file, unless it exists with the right digest."""
        file = self.file
        if not (self.sha256 and file.is_file() and storage.sha256_file(file) == self.sha256):
            client = HttpClient(
                anywhere,
                headers={"User-Agent": f"sharpeye/{__version__}"},
                connect_seconds=TIMEOUT_SECONDS,
                silence_seconds=TIMEOUT_SECONDS,
                proxies=True,
                redirect_check=public_redirect,
            )
            self._complete(client)
            self.part.replace(file)
            storage.flush_folder(file.parent)
        self._discard()

    def _complete(self, client: HttpClient) -> None:
        """Get the missing bytes in several attempts, and verify the digest of the file."""
        resumed = self._resumable_bytes() > 0
        for pause in (*PAUSES_SECONDS, None):
            try:
                self._attempt(client)
                break
            except FetchError as error:
                if pause is None or not _is_passing(error) or error.retry_after > MAX_PAUSE_SECONDS:
                    raise self._network_error(error) from None
                if error.retry_after > pause:
                    log.info("the server wants to be asked again in %.0f s", error.retry_after)
                time.sleep(max(pause, error.retry_after))
        if self.sha256 and (sha256 := storage.sha256_file(self.part)) != self.sha256:
            rejection = self._reject(f"its SHA-256 is {sha256}, not {self.sha256}")
            if not resumed:
                raise rejection
            # A power cut can corrupt the bytes of an earlier run: then the download starts again.
            self._complete(client)

    def _resumable_bytes(self) -> int:
        """The number of received bytes to continue from."""
        # Without a validator, only a digest would reveal a mixture of two versions.
        safe = self.sha256 or self._note().validator
        return self.part.stat().st_size if safe and self.part.exists() else 0

    def _note(self) -> _Note:
        try:
            return _Note(**json.loads(self.note_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Note()

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note_file.unlink(missing_ok=True)

    def _reject(self, reason: str) -> ModelError:
        """Delete the received bytes; returns the error with the reason."""
        self._discard()
        return ModelError(
            f"what {self.url} gives is refused: {reason}; either the file on the server is "
            "another one by now, or something on the way changes it"
        )

    def _network_error(self, error: FetchError) -> NetworkError:
        have = self._resumable_bytes()
        resumes = f": it goes on at {have / 1e6:.1f} MB" if have else ""
        if not _is_passing(error):
            advice = "; check the address"
        elif error.retry_after > MAX_PAUSE_SECONDS:
            advice = (
                f", and wants to be asked again in {error.retry_after:,.0f} s; run the same "
                f"command again then{resumes}"
            )
        elif have:
            advice = f"; run the same command again{resumes}"
        else:
            advice = "; check the address and the network, then run the same command again"
        return NetworkError(f"cannot download {self.url}: {error.reason}{advice}")

    def _attempt(self, client: HttpClient) -> None:
        """Request the missing bytes and append the response, over one connection."""
        start, note = self._resumable_bytes(), self._note()
        if start and start == note.total and self.size in (None, start):
            return
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if note.validator:  # the server sends the whole file if it has changed
                headers["If-Range"] = note.validator
        with client.get(self.url, headers=headers) as response:
            if response.status_code == 206 and start:
                first_byte, total = _content_range(response)
                same_version = _validator(response) in ("", note.validator)
                if not same_version or first_byte != start or note.total not in (None, total):
                    self._discard()
                    reason = "the server sent another piece of the file than was asked for"
                    raise FetchError(reason, retryable=True)
                note = replace(note, total=total)
            elif response.status_code == 200:
                start, note = 0, _Note(_validator(response), body_length(response))
                self._discard()
                storage.write_text(self.note_file, json.dumps(asdict(note)))
            elif response.status_code == 416:  # the file on the server is shorter than the part
                self._discard()
                raise FetchError(status_error(response).reason, retryable=True)
            else:
                raise status_error(response)
            self._require_size_and_room(start, note.total)
            self._append(response, start, note.total)

    def _require_size_and_room(self, start: int, total: int | None) -> None:
        """Reject the announced size before the body arrives."""
        folder = self.file.parent
        if total is not None and self.size not in (None, total):
            raise self._reject(f"it has {total:,} bytes, not {self.size:,}")
        if total is not None and total > MAX_BYTES:
            raise self._reject(f"it has {total:,} bytes, more than {MAX_BYTES:,}")
        missing = (total or self.size or 0) - start
        free = shutil.disk_usage(folder).free
        if free < missing:
            raise EnvironmentFault(
                f"cannot download {self.url} to {folder}: {missing / 1e6:,.1f} MB are to come "
                f"and {free / 1e6:,.1f} MB are free; free some room, or set SHARPEYE_CACHE to "
                "another disk"
            )

    def _append(self, response: Response, have: int, total: int | None) -> None:
        """Append a body after `have` bytes of the file, up to `total` if that is known."""
        limit, expected = self.size or MAX_BYTES, total or self.size
        with self.part.open("ab") as file:
            for chunk in body_chunks(response, SLOW_SECONDS, SLOW_BYTES):
                piece = chunk if total is None else chunk[: total - have]
                have += len(piece)
                if have > limit:
                    break
                file.write(piece)
                file.flush()  # so that a kill loses no bytes
                if self.progress:
                    self.progress("download, MB", have // 10**6, max(have, expected or 0) // 10**6)
                if have == total:
                    break
            os.fsync(file.fileno())
        if have > limit:
            raise self._reject(f"it has more than {limit:,} bytes")
        if expected is not None and have < expected:
            reason = f"the connection closed after {have:,} of {expected:,} bytes"
            raise FetchError(reason, retryable=True)


def _is_passing(error: FetchError) -> bool:
    """Whether another attempt may succeed, even if no server could be reached."""
    return error.retryable or not error.reached


def _validator(response: Response) -> str:
    """The value of If-Range, never a weak ETag, which allows different bytes."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _content_range(response: Response) -> tuple[int, int]:
    """(first byte, size of the whole file) of a partial response; -1 for a missing value."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else (-1, -1)
