"""Read the files of a multipart/form-data body (RFC 7578) one by one, while they arrive.

A file waits in memory up to 8 MiB, then in an unnamed temporary file. Bytes over the limit of a
file are read and dropped; a body over the limit of a request is refused by `body_limits`.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sharpeye.images.decode import DECODE_LIMITS
from sharpeye.serve.forms import FormParser, form_boundary
from sharpeye.serve.limits import RequestRefused

MAX_FILE_BYTES = DECODE_LIMITS.file_bytes  # A larger file is never decoded.
MAX_FILES = 500  # Of one request.
_MAX_MEMORY_BYTES = 8 * 2**20  # Of one file.
_MAX_WAIT_SECONDS = 60.0  # Until the next bytes of a body.


@dataclass
class Upload:
    """A file that has arrived.

    Attributes:
        name: as the browser calls it: a text to show, never a path.
        size: in bytes, also of what was dropped.
        file: its bytes, at their beginning; None if there are more than the limit.
    """

    name: str
    size: int
    file: IO[bytes] | None


async def read_uploads(request: Request) -> AsyncIterator[Upload]:
    """The files of a request's body; each is closed when the next one is asked for.

    Raises:
        RequestRefused: no form, damaged, cut off, too slow, or too many files.
    """
    boundary = form_boundary(request.headers.get("content-type", ""))
    if not boundary:
        raise RequestRefused(415, "files are sent as multipart/form-data")
    parser = _UploadParser(boundary)
    chunks = request.stream().__aiter__()
    try:
        while (chunk := await _next_chunk(chunks)) is not None:
            parser.write(chunk)
            async for upload in parser.complete_uploads():
                yield upload
        parser.finish()
    finally:
        parser.close()


async def _next_chunk(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_MAX_WAIT_SECONDS):
            return await anext(chunks, None)
    except TimeoutError:
        raise RequestRefused(
            408, f"nothing came for {_MAX_WAIT_SECONDS:g} s", {"Connection": "close"}
        ) from None


class _UploadParser(FormParser):
    """Queues what it parses: the handlers of parts cannot await a write to disk."""

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary)
        # ("name", str) begins a file, ("data", bytes) continues it, ("end", None) ends it.
        self._queue: deque[tuple[str, Any]] = deque()
        self._count, self._is_file = 0, False
        self._file_name, self._size = "", 0
        self._file: IO[bytes] | None = None

    # --- handlers of parts; fields that are no files are ignored ---

    def begin_part(self, field: str, file_name: str | None) -> None:
        self._is_file = file_name is not None
        self._count += self._is_file
        if self._count > MAX_FILES:
            raise RequestRefused(
                413, f"more than {MAX_FILES} files a request; send them in several"
            )
        self._append("name", file_name or "a file")

    def add_data(self, data: bytes) -> None:
        self._append("data", data)

    def end_part(self) -> None:
        self._append("end", None)

    def _append(self, event: str, value: Any) -> None:
        if self._is_file:
            self._queue.append((event, value))

    # --- called by `read_uploads` ---

    async def complete_uploads(self) -> AsyncIterator[Upload]:
        """Process the queue; yields each file that is complete."""
        while self._queue:
            event, value = self._queue.popleft()
            if event == "name":
                self._file_name, self._size = value, 0
                self._file = tempfile.SpooledTemporaryFile(_MAX_MEMORY_BYTES)  # noqa: SIM115
            elif event == "data":
                await self._write(value)
            else:
                if self._file is not None:
                    self._file.seek(0)
                yield Upload(self._file_name, self._size, self._file)
                self.close()

    async def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_FILE_BYTES:
            self.close()
        elif self._file is not None:
            if self._size > _MAX_MEMORY_BYTES:
                await run_in_threadpool(self._file.write, data)
            else:
                self._file.write(data)

    def close(self) -> None:
        """Delete the bytes of the current file."""
        if self._file is not None:
            self._file.close()
            self._file = None
