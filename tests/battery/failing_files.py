"""Let the n-th operation that changes a file fail in this process, as a full or failing disk does.

Files that Python opens for writing count, and the functions of `os` that change or flush them.
Memory maps, SQLite, and other processes do not: those need a real disk.
"""

import builtins
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

# The operations that need space, of which all fail while the disk is full.
_GROWING = ("open", "write", "mkdir", "reserve")
_BY_PATH = {"replace": "rename", "rename": "rename", "mkdir": "mkdir", "link": "rename"}
_BY_DESCRIPTOR = {
    "fsync": "fsync",
    "write": "write",
    "sendfile": "write",
    "posix_fallocate": "reserve",
}


@dataclass
class FailingDisk:
    """A disk below `folder` that fails.

    Attributes:
        at: the number of the operation that fails, from 0; None for no failure.
        code: the error that it gives.
        stays_full: whether all later operations that need space fail, too.
        operations: each operation so far, for example `write model.onnx`.
    """

    folder: Path
    at: int | None = None
    code: int = 0
    stays_full: bool = False

    def __post_init__(self) -> None:
        self.operations: list[str] = []

    @property
    def has_failed(self) -> bool:
        return self.at is not None and len(self.operations) > self.at

    def contains(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return Path(os.fsdecode(path)).absolute().is_relative_to(self.folder)

    def operate(self, kind: str, path: Any) -> None:
        """Count an operation; OSError if it is the one that fails."""
        name = os.fsdecode(path)
        self.operations.append(f"{kind} {Path(name).name}")
        number = len(self.operations) - 1
        is_later = self.at is not None and number > self.at and self.stays_full
        if number == self.at or (is_later and kind in _GROWING):
            raise OSError(self.code, os.strerror(self.code), *([name] * (kind in _BY_NAME)))

    @contextlib.contextmanager
    def mounted(self) -> Iterator["FailingDisk"]:
        """Count the operations of this process, and let one fail."""
        opened = self._open(builtins.open)
        patches: dict[str, Callable[..., Any]] = {
            name: self._with_path(kind, getattr(os, name)) for name, kind in _BY_PATH.items()
        } | {
            name: self._with_descriptor(kind, getattr(os, name))
            for name, kind in _BY_DESCRIPTOR.items()
        }
        with contextlib.ExitStack() as stack:
            for module in (builtins, io):
                stack.enter_context(mock.patch.object(module, "open", opened))
            for name, function in patches.items():
                stack.enter_context(mock.patch.object(os, name, function))
            yield self

    def _open(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def open_file(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            **options: Any,
        ) -> Any:
            if not set(mode) & set("wax+") or options or not self.contains(file):
                return original(file, mode, buffering, encoding, errors, newline, **options)
            self.operate("open", file)
            raw = _File(self, file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(buffered, encoding, errors, newline)

        return open_file

    def _with_path(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def function(source: Any, *arguments: Any, **options: Any) -> Any:
            if self.contains(source):
                self.operate(kind, source)
            return original(source, *arguments, **options)

        return function

    def _with_descriptor(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def function(descriptor: int, *arguments: Any, **options: Any) -> Any:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if self.contains(path) and path.is_file():  # a folder's flush may fail unnoticed
                self.operate(kind, path)
            return original(descriptor, *arguments, **options)

        return function


_BY_NAME = ("open", "rename", "mkdir")  # The system names a path in errors of these.


class _File(io.FileIO):
    """A file whose writes and whose end are operations of a failing disk."""

    def __init__(self, disk: FailingDisk, path: Any, mode: str) -> None:
        self._disk, self._path = disk, path
        super().__init__(path, mode)

    def write(self, data: Any) -> int:
        self._disk.operate("write", self._path)
        return super().write(data) or 0

    def close(self) -> None:
        is_first = not self.closed
        super().close()
        if is_first:
            self._disk.operate("close", self._path)
