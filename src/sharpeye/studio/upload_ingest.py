"""Put uploaded images into class folders, by the rules of `collect.ingest`."""

import threading
import time
from dataclasses import dataclass
from typing import IO

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, DUPLICATE, REJECTED
from sharpeye.studio.uploads import MAX_FILE_BYTES
from sharpeye.studio.workspace import Workspace

# An open folder knows its files: with 5,000 of them, opening takes some 50 ms.
_MAX_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What became of one file.

    Attributes:
        name: as the browser calls it.
        status: `added`, `duplicate`, `conflict` or `rejected`.
        reason: why it was not added.
        path: of the image, relative to the folder; None unless it was added.
    """

    name: str
    status: str
    reason: str = ""
    path: str | None = None


class UploadIngest:
    """Puts files into class folders, which stay open for seconds. Safe from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: dict[str, tuple[float, ClassFolder]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, label: str, file: IO[bytes] | None) -> UploadResult:
        """Put a file into a class, if it is an image that is not there yet.

        Args:
            name: as the browser calls it.
            label: an existing class.
            file: its bytes; None if there are too many.

        Raises:
            EnvironmentFault: disk full, no permission.
        """
        if file is None:
            limit = f"it has more than the limit of {MAX_FILE_BYTES // 2**20} MiB a file"
            return UploadResult(name, REJECTED, limit)
        ingested = self._folder(label).ingest(file.read(), source=f"upload: {name}")
        if ingested.path is not None:
            return UploadResult(name, ADDED, path=self._workspace.relative(ingested.path))
        reason = ingested.reason
        if ingested.status == DUPLICATE:
            reason = f"already in {label}: {reason}"
        return UploadResult(name, ingested.status, reason)

    def close_folders(self) -> None:
        """Forget which files the folders hold: images have moved, or the studio ends."""
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
