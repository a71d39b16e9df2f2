"""Downloads that go on where they broke off, are checked, and appear whole or not at all.

The bytes gather in a hidden file beside the final one, under a name that follows from the URL, so
that a later run finds them. A note beside them says which version of the file on the server they
belong to: it is written after the bytes of another version are gone and before the first new one
comes. So whoever is killed at any moment leaves bytes that fit their note.
"""

import contextlib
import hashlib
import http.client
import json
import logging
import os
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sharpeye.core import storage
from sharpeye.errors import BusyError, EnvironmentFault, ModelError, NetworkError
from sharpeye.web import connection
from sharpeye.web.connection import Broken

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (stage, done, total), in MB

MAX_BYTES = 20 * 10**9  # of a file whose size is not known beforehand
PAUSES_SECONDS = (1.0, 3.0, 9.0)  # between attempts
MAX_PAUSE_SECONDS = 60.0  # if the server names another one
# A connection that brings less in so long a time is given up: the next one may be better.
SLOW_SECONDS, SLOW_BYTES = 60.0, 60_000
_CHUNK = 1 << 18


def download(
    url: str,
    file: Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring a file here, unless it is there already with the right digest.

    Args:
        url: of http or https.
        file: the final name; its folder is created.
        sha256: the hexadecimal digest it must have.
        size: the number of bytes it must have.
        progress: told again and again how far it is.

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
    progress: Progress | None = None,
) -> Iterator[Path]:
    """`download`, and no other process takes up the same one until the block ends."""
    connection.require_http(url)
    part = _Part(url, file, sha256.lower() if sha256 else None, size)
    storage.make_folder(file.parent)
    lock = storage.FileLock(part.lock)
    if not lock.try_acquire():
        raise BusyError(
            f"another process downloads {url}; wait for it to end, then run the command again"
        )
    try:
        with storage.os_errors_at(file):
            if not part.is_done():
                _complete(part, progress)
                part.bytes.replace(file)
                storage.flush_folder(file.parent)
            part.discard()
        yield file
    finally:
        with contextlib.suppress(OSError):
            part.lock.unlink()
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


class _Part:
    """What is wanted, and what is there of it: bytes and their note."""

    def __init__(self, url: str, file: Path, sha256: str | None, size: int | None) -> None:
        self.url, self.file, self.sha256, self.size = url, file, sha256, size
        stem = storage.TEMPORARY_PREFIX + hashlib.sha256(url.encode()).hexdigest()[:16]
        self.bytes = file.with_name(f"{stem}.part")
        self.lock = file.with_name(f"{stem}.lock")
        self._note = file.with_name(f"{stem}.json")
        self.wanted_pause = 0.0  # seconds that the server wants to be left alone

    @property
    def have(self) -> int:
        """Number of bytes that are there and can be added to."""
        # Without a validator, only a digest would tell a mixture of two versions.
        safe = self.sha256 or self.note().validator
        return self.bytes.stat().st_size if safe and self.bytes.exists() else 0

    def note(self) -> _Note:
        try:
            return _Note(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Note()

    def begin(self, note: _Note) -> None:
        """Start from nothing with a version of the file."""
        self.discard()
        storage.write_text(self._note, json.dumps(asdict(note)))

    def discard(self) -> None:
        self.bytes.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def is_done(self) -> bool:
        """Whether this very file is in its place; without a digest nobody can say."""
        return bool(
            self.sha256 and self.file.is_file() and storage.sha256_file(self.file) == self.sha256
        )

    def reject(self, reason: str) -> ModelError:
        self.discard()
        return ModelError(
            f"what {self.url} gives is refused: {reason}; either the file on the server is another "
            "one by now, or something on the way changes it"
        )


def _complete(part: _Part, progress: Progress | None) -> None:
    """Fill the part in several attempts, and check it."""
    resumed = part.have > 0
    for pause in (*PAUSES_SECONDS, None):
        try:
            _attempt(part, progress)
            break
        except Broken as error:
            if pause is None:
                raise _gave_up(part, str(error)) from None
            if part.wanted_pause > MAX_PAUSE_SECONDS:
                raise _asked_to_wait(part, str(error)) from None
            if part.wanted_pause > pause:
                log.info("the server wants to be asked again in %.0f s", part.wanted_pause)
            time.sleep(max(pause, part.wanted_pause))
    if part.sha256 is None:
        return
    found = storage.sha256_file(part.bytes)
    if found == part.sha256:
        return
    rejection = part.reject(f"its SHA-256 is {found}, not {part.sha256}")
    if not resumed:
        raise rejection
    # A power cut can spoil what an earlier run had received: that deserves a fresh start.
    _complete(part, progress)


def _gave_up(part: _Part, reason: str) -> NetworkError:
    advice = (
        f"run the same command again: it goes on at {part.have / 1e6:.1f} MB"
        if part.have
        else "check the address and the network, then run the same command again"
    )
    return NetworkError(f"cannot download {part.url}: {reason}; {advice}")


def _asked_to_wait(part: _Part, reason: str) -> NetworkError:
    goes_on = f": it goes on at {part.have / 1e6:.1f} MB" if part.have else ""
    return NetworkError(
        f"cannot download {part.url}: {reason}, and wants to be asked again in "
        f"{part.wanted_pause:,.0f} s; run the same command again then{goes_on}"
    )


def _attempt(part: _Part, progress: Progress | None) -> None:
    """Ask for what is missing and append what comes, over one connection."""
    start, note = part.have, part.note()
    if start and start == note.total and part.size in (None, start):
        return
    with contextlib.closing(_request(part, start, note)) as response:
        if response.status == 206 and start:
            begin, total = connection.content_range(response)
            same = connection.validator_of(response) in ("", note.validator)
            if not same or begin != start or note.total not in (None, total):
                part.discard()
                raise Broken("the server sent another piece of the file than was asked for")
            note = replace(note, total=total)
        elif response.status == 200:
            start, note = 0, _Note(connection.validator_of(response), response.length)
            part.begin(note)
        else:
            raise connection.unexpected(part.url, response)
        _require_size_and_room(part, start, note.total)
        _append(response, part, start, note.total, progress)


def _request(part: _Part, start: int, note: _Note) -> http.client.HTTPResponse:
    headers = {}
    part.wanted_pause = 0.0
    if start:
        headers["Range"] = f"bytes={start}-"
        if note.validator:  # the whole file comes if it is another one by now
            headers["If-Range"] = note.validator
    with connection.network_errors(part.url):
        try:
            return connection.open_url(part.url, headers)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the file on the server is shorter than what is here
                part.discard()
            if error.code in (429, 503):
                part.wanted_pause = connection.seconds_of(error.headers.get("Retry-After", ""))
            raise


class _Pace:
    """Sees a server that sends a byte now and then, which no limit on a single wait does."""

    def __init__(self) -> None:
        self._since, self._come = time.monotonic(), 0

    def count(self, size: int) -> None:
        """Take in that so many bytes came.

        Raises:
            Broken: too few did in the last while.
        """
        self._come += size
        seconds = time.monotonic() - self._since
        if seconds < SLOW_SECONDS:
            return
        if self._come < SLOW_BYTES * seconds / SLOW_SECONDS:
            raise Broken(f"the server sent no more than {self._come:,} bytes in {seconds:.0f} s")
        self._since, self._come = time.monotonic(), 0


def _require_size_and_room(part: _Part, start: int, total: int | None) -> None:
    """Refuse what the server announces, before any of it comes."""
    if total is not None and part.size not in (None, total):
        raise part.reject(f"it has {total:,} bytes, not {part.size:,}")
    if total is not None and total > MAX_BYTES:
        raise part.reject(f"it has {total:,} bytes, more than {MAX_BYTES:,}")
    missing = (total or part.size or 0) - start
    folder = part.file.parent
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise EnvironmentFault(
            f"cannot download {part.url} to {folder}: {missing / 1e6:,.1f} MB are to come and "
            f"{free / 1e6:,.1f} MB are free; free some room, or set SHARPEYE_CACHE to another disk"
        )


def _append(
    response: http.client.HTTPResponse,
    part: _Part,
    have: int,
    total: int | None,
    progress: Progress | None,
) -> None:
    limit = part.size or MAX_BYTES
    expected = total or part.size
    pace = _Pace()
    with part.bytes.open("ab") as file:
        while have != total:
            with connection.network_errors(part.url):
                # Not `read`: it would hold back, and lose, what came before a break.
                chunk = response.read1(_CHUNK if total is None else min(_CHUNK, total - have))
            if not chunk:
                break
            have += len(chunk)
            if have > limit:
                break
            file.write(chunk)
            file.flush()  # so that a kill loses nothing
            if progress:
                progress("download, MB", have // 10**6, max(have, expected or 0) // 10**6)
            pace.count(len(chunk))
        os.fsync(file.fileno())
    if have > limit:
        raise part.reject(f"it has more than {limit:,} bytes")
    if expected is not None and have < expected:
        raise Broken(f"the connection closed after {have:,} of {expected:,} bytes")
