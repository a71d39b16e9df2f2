"""The files of a multipart/form-data body (RFC 7578), one after the other as they come.

A file waits in memory up to 8 MiB, then in a temporary file without a name. What is over the limit
of a file is read and dropped; what is over the limit of a request, `bodies` refuses.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sharpeye.images.decode import DECODE_LIMITS
from sharpeye.serve.forms import FormParser, form_boundary
from sharpeye.serve.limits import RequestRefused

FILE_BYTES = DECODE_LIMITS.file_bytes  # more is never decoded
MAX_FILES = 500  # of a request
_IN_MEMORY = 8 * 2**20
_PIECE_SECONDS = 60.0  # within which the next piece of a body must come


@dataclass
class Upload:
    """A file that came.

    Attributes:
        name: as the browser calls it: a text to show, never a path.
        size: in bytes, also of what was dropped.
        file: with its bytes, at their beginning; None if there are more than the limit.
    """

    name: str
    size: int
    file: IO[bytes] | None


async def uploads_of(request: Request) -> AsyncIterator[Upload]:
    """The files of a request's body; each is closed when the next one is asked for.

    Raises:
        Refusal: no form, damaged, cut off, too slow, or too many files.
    """
    boundary = form_boundary(request.headers.get("content-type", ""))
    if not boundary:
        raise RequestRefused(415, "files are sent as multipart/form-data")
    taker = _Taker(boundary)
    pieces = request.stream().__aiter__()
    try:
        while (piece := await _next(pieces)) is not None:
            taker.write(piece)
            async for upload in taker.done():
                yield upload
        taker.finish()
    finally:
        taker.close()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_PIECE_SECONDS):
            return await anext(pieces, None)
    except TimeoutError:
        raise RequestRefused(
            408, f"nothing came for {_PIECE_SECONDS:g} s", {"Connection": "close"}
        ) from None


class _Taker(FormParser):
    """Takes what the parser finds; the parser calls without waiting, so it is put in line."""

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary)
        self._line: deque[tuple[str | None, bytes | None]] = deque()  # (name | None, data | None)
        self._count, self._is_file = 0, False
        self._called: str | None = None
        self._file: IO[bytes] | None = None
        self._size = 0

    # --- called by the parser ---

    def begin_part(self, field: str, file_name: str | None) -> None:
        self._is_file = file_name is not None
        self._count += self._is_file  # fields say nothing here
        if self._count > MAX_FILES:
            raise RequestRefused(
                413, f"more than {MAX_FILES} files a request; send them in several"
            )
        if self._is_file:
            self._line.append((file_name or "a file", None))

    def add_data(self, data: bytes) -> None:
        if self._is_file:
            self._line.append((None, data))

    def end_part(self) -> None:
        if self._is_file:
            self._line.append((None, None))

    # --- called by `uploads_of` ---

    async def done(self) -> AsyncIterator[Upload]:
        """Work off what stands in line; gives each file that is complete."""
        while self._line:
            name, data = self._line.popleft()
            if name is not None:
                self._called, self._size = name, 0
                self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  see `close`
            elif data is not None:
                await self._take(data)
            else:
                if self._file is not None:
                    self._file.seek(0)
                yield Upload(self._called or "a file", self._size, self._file)
                self.close()

    async def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > FILE_BYTES:
            self.close()
        elif self._file is not None:
            if self._size > _IN_MEMORY:
                await run_in_threadpool(self._file.write, data)
            else:
                self._file.write(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
