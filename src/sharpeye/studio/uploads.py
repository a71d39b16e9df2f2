"""Read the files of a multipart/form-data body (RFC 7578) and put them into class folders.

Files are read one by one, while they arrive. A file waits in memory up to 8 MiB, then in an
unnamed temporary file. Bytes over the limit of a file are read and dropped; `serve.body_limits`
refuses a body that is over the limit of a request, or too slow.
"""

import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sharpeye.collect.ingest import ClassFolder, Ingested
from sharpeye.collect.sources import DUPLICATE, REJECTED
from sharpeye.images.decode_limits import limits_in_force
from sharpeye.serve.forms import FormParser, form_boundary
from sharpeye.serve.limits import RequestRefused
from sharpeye.studio.workspace import Workspace

_MAX_FILES = 500  # Limit of one request.
_MAX_MEMORY_BYTES = 8 * 2**20  # Limit of one file.
# A folder stays open, since opening one with 5,000 files takes about 50 ms.
_MAX_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file.

    Attributes:
        name: the browser's name for it: a text to show, never a path.
        file: its bytes, positioned at the beginning; None if they exceed the limit.
    """

    name: str
    file: IO[bytes] | None


async def read_uploads(request: Request) -> AsyncIterator[Upload]:
    """The files of a request's body; each is closed when the next one is requested.

    Raises:
        RequestRefused: not a form, damaged, truncated, or too many files.
    """
    boundary = form_boundary(request.headers.get("content-type", ""))
    if not boundary:
        raise RequestRefused(415, "files are sent as multipart/form-data")
    parser = _UploadParser(boundary)
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            async for upload in parser.complete_uploads():
                yield upload
        parser.finish()
    finally:
        parser.close()


class _UploadParser(FormParser):
    """Queues the parsed parts, because the parser's handlers cannot await a write to disk.

    Fields without files are ignored.
    """

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary)
        # ("name", str) begins a file, ("data", bytes) continues it, ("end", None) ends it.
        self._queue: deque[tuple[str, Any]] = deque()
        self._count, self._is_file = 0, False
        self._file_name, self._size = "", 0
        self._file: IO[bytes] | None = None

    def begin_part(self, field: str, file_name: str | None) -> None:
        self._is_file = file_name is not None
        self._count += self._is_file
        if self._count > _MAX_FILES:
            raise RequestRefused(
                413, f"more than {_MAX_FILES} files a request; send them in several"
            )
        self._append("name", file_name or "a file")

    def add_data(self, data: bytes) -> None:
        self._append("data", data)

    def end_part(self) -> None:
        self._append("end", None)

    def _append(self, event: str, value: Any) -> None:
        if self._is_file:
            self._queue.append((event, value))

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
                yield Upload(self._file_name, self._file)
                self.close()

    async def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > limits_in_force().file_bytes:  # The decoder rejects larger files.
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


class UploadIngest:
    """Puts files into class folders, which stay open for seconds. Safe from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: dict[str, tuple[float, ClassFolder]] = {}
        self._lock = threading.Lock()

    def add(self, upload: Upload, label: str) -> dict[str, str | None]:
        """Put a file into an existing class, if it is a new image.

        Returns:
            the result, as the page's JSON: `name`; `status`, which is `added`, `duplicate`,
            `conflict` or `rejected`; the `path` if it was added, else the `reason`.

        Raises:
            EnvironmentFault: disk full, no permission.
        """
        if upload.file is None:
            max_file = limits_in_force().file_bytes // 2**20
            reason = f"it has more than the limit of {max_file} MiB a file"
            ingested = Ingested(None, REJECTED, reason)
        else:
            source = f"upload: {upload.name}"
            ingested = self._folder(label).ingest(upload.file.read(), source=source)
        is_copy = ingested.status == DUPLICATE
        return {
            "name": upload.name,
            "status": ingested.status,
            "reason": f"already in {label}: {ingested.reason}" if is_copy else ingested.reason,
            "path": self._workspace.relative(ingested.path) if ingested.path else None,
        }

    def close_folders(self) -> None:
        """Close the folders, because images were moved or the studio ends."""
        with self._lock:
            folders = [folder for _, folder in self._open.values()]
            self._open.clear()
        for folder in folders:
            folder.__exit__()

    def _folder(self, label: str) -> ClassFolder:
        with self._lock:
            opened, folder = self._open.get(label, (0.0, None))
            if folder is None or time.monotonic() - opened > _MAX_OPEN_SECONDS:
                if folder is not None:
                    folder.__exit__()
                folder = ClassFolder(self._workspace.resolve(label)).__enter__()
                self._open[label] = (time.monotonic(), folder)
            return folder
