"""The files of a multipart/form-data body (RFC 7578), one after the other as they come.

A file waits in memory up to 8 MiB, then in a temporary file without a name. What is over the limit
of a file is read and dropped; what is over the limit of a request, `bodies` refuses.
"""

import asyncio
import contextlib
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sharpeye.imaging.decode import LIMITS
from sharpeye.serve.limits import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_BYTES = LIMITS.file_bytes  # more is never decoded
MOST_FILES = 500  # of a request
_IN_MEMORY = 8 * 2**20
_MAX_HEADER_BYTES = 8 * 2**10  # of one part
_MAX_NAME = 255  # characters: what file systems allow
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
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if not (boundary := options.get(b"boundary")):
        raise Refusal(415, "files are sent as multipart/form-data")
    taker = _Taker()
    pieces = request.stream().__aiter__()
    with _form_errors():
        parser = MultipartParser(boundary, taker.callbacks())
    try:
        while (piece := await _next(pieces)) is not None:
            with _form_errors():
                parser.write(piece)
            async for upload in taker.done():
                yield upload
        with _form_errors():
            parser.finalize()
        if not taker.ended:
            raise Refusal(400, "the form is cut off: its last boundary is missing")
    finally:
        taker.close()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_PIECE_SECONDS):
            return await anext(pieces, None)
    except TimeoutError:
        raise Refusal(
            408, f"nothing came for {_PIECE_SECONDS:g} s", {"Connection": "close"}
        ) from None


@contextlib.contextmanager
def _form_errors() -> Iterator[None]:
    try:
        yield
    except FormParserError:
        raise Refusal(400, "the body is not the form that its Content-Type announces") from None


class _Taker:
    """Takes what the parser finds; the parser calls without waiting, so it is put in line."""

    def __init__(self) -> None:
        self.ended = False
        self._line: deque[tuple[str | None, bytes | None]] = deque()  # (name | None, data | None)
        self._count = 0
        self._begin()
        self._name: str | None = None
        self._file: IO[bytes] | None = None
        self._size = 0

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_end,
            "on_end": self._on_all,
        }

    # --- called by the parser ---

    def _begin(self) -> None:
        self._field, self._value, self._disposition = b"", b"", b""
        self._header_bytes, self._is_file = 0, False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._count_header(end - start)

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise Refusal(431, f"a part's headers are over the limit of {_MAX_HEADER_BYTES} bytes")

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Refusal(400, "a part of the form has no `Content-Disposition: form-data; name=`")
        self._is_file = b"filename" in options
        if not self._is_file:
            return  # fields say nothing here
        self._count += 1
        if self._count > MOST_FILES:
            raise Refusal(413, f"more than {MOST_FILES} files a request; send them in several")
        name = options[b"filename"].decode("utf-8", "replace")[:_MAX_NAME]
        self._line.append((name or "a file", None))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._line.append((None, data[start:end]))

    def _on_end(self) -> None:
        if self._is_file:
            self._line.append((None, None))

    def _on_all(self) -> None:
        self.ended = True

    # --- called by `uploads_of` ---

    async def done(self) -> AsyncIterator[Upload]:
        """Work off what stands in line; gives each file that is complete."""
        while self._line:
            name, data = self._line.popleft()
            if name is not None:
                self._name, self._size = name, 0
                self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  see `close`
            elif data is not None:
                await self._take(data)
            else:
                if self._file is not None:
                    self._file.seek(0)
                yield Upload(self._name or "a file", self._size, self._file)
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
