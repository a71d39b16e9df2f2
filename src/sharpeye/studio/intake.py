"""Images from a browser into class folders, through the one door that `collect.ingest` is."""

import threading
import time
from dataclasses import dataclass
from typing import IO

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, DUPLICATE, REJECTED
from sharpeye.studio.uploads import FILE_BYTES
from sharpeye.studio.workspace import Workspace

# A folder that is open knows its files: with 5,000 of them, opening takes some 50 ms.
_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answered:
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


class Intake:
    """Takes files; used by several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: dict[str, tuple[float, ClassFolder]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, label: str, file: IO[bytes] | None) -> Answered:
        """Put a file into a class, if it is an image that is not there yet.

        Args:
            name: as the browser calls it.
            label: an existing class.
            file: its bytes; None if there are too many.

        Raises:
            EnvironmentFault: disk full, no permission.
        """
        if file is None:
            limit = f"it has more than the limit of {FILE_BYTES // 2**20} MiB a file"
            return Answered(name, REJECTED, limit)
        done = self._folder(label).ingest(file.read(), source=f"upload: {name}")
        if done.path is not None:
            return Answered(name, ADDED, path=self._workspace.relative(done.path))
        reason = done.reason
        if done.status == DUPLICATE:
            reason = f"already in {label}: {reason}"
        return Answered(name, done.status, reason)

    def forget(self) -> None:
        """Images have moved, or the studio ends: look at the folders again when one comes."""
        with self._lock:
            folders = [folder for _, folder in self._open.values()]
            self._open.clear()
        for folder in folders:
            folder.__exit__()

    def _folder(self, label: str) -> ClassFolder:
        with self._lock:
            opened, folder = self._open.get(label, (0.0, None))
            if folder is None or time.monotonic() - opened > _OPEN_SECONDS:
                if folder is not None:
                    folder.__exit__()
                folder = ClassFolder(self._workspace.resolve(label)).__enter__()
                self._open[label] = (time.monotonic(), folder)
            return folder
