"""Count the calls of this process that change files, and end it by SIGKILL at a given one.

Counted are writes through Python's files, and fsync, rename, unlink, link, mkdir and rmdir, below
the given folders. What libraries in C write is not counted, nor what child processes do.

The report of a killed process holds what a power failure at that moment could undo, for
`power_failure`: the calls that changed names since the last fsync of a folder (file systems with a
journal keep their order), and the files whose bytes reached the disk.
"""

import atexit
import builtins
import contextlib
import io
import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_POSITIONS = {"rename": 2, "replace": 2, "link": 2}  # numbers of paths; other calls have one


class _Recorder:
    """The calls so far.

    Args:
        folders: where calls are counted.
        report: the JSON file to write at the end or before the kill.
        saved: a folder on the same disk for files that a call deletes.
        kill_at: the number of the call to be killed at, from 1; 0 for none. A write is cut.
    """

    def __init__(self, folders: Sequence[str], report: str, saved: str, kill_at: int) -> None:
        self.folders = [os.path.realpath(folder) for folder in folders]
        self._report, self._saved, self._kill_at = report, saved, kill_at
        self._names: list[str] = []
        self._undo: list[list[str]] = []
        self._synced: dict[str, list[int]] = {}
        self._lock = threading.RLock()
        self._process = os.getpid()
        self.all_synced()

    def counts(self, path: str) -> bool:
        is_inside = any(path == folder or path.startswith(f"{folder}/") for folder in self.folders)
        return is_inside and os.getpid() == self._process

    def before(self, name: str, cut: Callable[[], object] | None = None) -> None:
        """Count a call; ends the process if it is its turn."""
        with self._lock:
            self._names.append(name)
            if len(self._names) == self._kill_at:
                if cut:
                    cut()
                self.write_report()
                os.kill(os.getpid(), signal.SIGKILL)

    def keep(self, path: str) -> str:
        """Link a file that is about to be deleted into the folder of saved files."""
        copy = f"{self._saved}/{len(self._undo)}-{len(self._names)}"
        with contextlib.suppress(OSError):
            os_calls["link"](path, copy, follow_symlinks=False)
            return copy
        return ""

    def undo_with(self, *step: str) -> None:
        with self._lock:
            self._undo.append(list(step))

    def synced(self, status: os.stat_result) -> None:
        with self._lock:
            if stat.S_ISDIR(status.st_mode):
                self._undo.clear()  # The journal is on the disk up to here.
            else:
                self._set_synced(status)

    def all_synced(self) -> None:
        with self._lock:
            self._undo.clear()
            for folder in self.folders:
                for path in Path(folder).rglob("*"):
                    self._set_synced(path.lstat())

    def is_synced(self, status: os.stat_result) -> bool:
        return self._synced.get(str(status.st_ino)) == [status.st_size, status.st_mtime_ns]

    def _set_synced(self, status: os.stat_result) -> None:
        self._synced[str(status.st_ino)] = [status.st_size, status.st_mtime_ns]

    def write_report(self) -> None:
        if os.getpid() == self._process:
            report = {"calls": self._names, "undo": self._undo, "synced": self._synced}
            with original_open(self._report, "w") as file:
                json.dump(report, file)


original_open = io.open
os_calls: dict[str, Any] = {}


def count_calls(folders: Sequence[str], report: str, saved: str, kill_at: int) -> None:
    """Replace the functions of `os` and `open` in this process; see `_Recorder`."""
    recorder = _Recorder(folders, report, saved, kill_at)
    names = ("fsync", "rename", "replace", "unlink", "remove", "link", "mkdir", "rmdir", "utime")
    os_calls.update({name: getattr(os, name) for name in names})
    for name in names[1:-1]:
        _replace(name, recorder)
    _replace_fsync(recorder)
    _replace_system_calls(recorder)
    _replace_utime(recorder)
    builtins.open = io.open = _counted_open(recorder)  # type: ignore[assignment]
    atexit.register(recorder.write_report)


def _replace(name: str, recorder: _Recorder) -> None:
    original = os_calls[name]

    def call(*arguments: Any, **options: Any) -> Any:
        paths = _paths(arguments[: _POSITIONS.get(name, 1)], options)
        if not any(map(recorder.counts, paths)):
            return original(*arguments, **options)
        recorder.before(name)
        target = paths[-1]
        saved = ""
        if name in ("rename", "replace", "unlink", "remove") and os.path.lexists(target):
            saved = recorder.keep(target)
        result = original(*arguments, **options)
        recorder.undo_with(name, *paths, saved)
        return result

    for supported in (os.supports_dir_fd, os.supports_follow_symlinks):
        if original in supported:
            supported.add(call)
    setattr(os, name, call)


def _replace_fsync(recorder: _Recorder) -> None:
    def fsync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        is_counted = recorder.counts(_path_of(number))
        if is_counted:
            recorder.before("fsync")
        os_calls["fsync"](number)
        if is_counted:
            recorder.synced(os.fstat(number))

    os.fsync = fsync


def _replace_system_calls(recorder: _Recorder) -> None:
    """The two functions of SharpEye that call the system by themselves."""
    from sharpeye.core import atomic_folder, storage

    original, exchange = storage.flush_disk, atomic_folder.exchange_names

    def exchange_names(first: Path, second: Path) -> bool:
        recorder.before("exchange")
        done = exchange(first, second)
        if done:
            recorder.undo_with("exchange", str(first.absolute()), str(second.absolute()), "")
        return done

    def flush_disk(folder: Path) -> bool:
        recorder.before("syncfs")
        done = original(folder)
        if done:
            recorder.all_synced()
        return done

    storage.flush_disk = flush_disk
    atomic_folder.exchange_names = exchange_names


def _replace_utime(recorder: _Recorder) -> None:
    """A file that is on the disk stays so when its time is changed."""
    original = os_calls["utime"]

    def utime(path: Any, *arguments: Any, **options: Any) -> None:
        follow = {"follow_symlinks": options.get("follow_symlinks", True)}
        was_synced = recorder.is_synced(os.stat(path, **follow))
        original(path, *arguments, **options)
        if was_synced:
            recorder.synced(os.stat(path, **follow))

    for supported in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
        if original in supported:
            supported.add(utime)
    os.utime = utime


def _counted_open(recorder: _Recorder) -> Callable[..., Any]:
    class CountedFile(io.FileIO):
        def write(self, data: Any) -> int:
            content = memoryview(data).cast("B")
            half = content[: len(content) // 2]
            recorder.before("write", lambda: super(CountedFile, self).write(half))
            return super().write(data)

    def open_counted(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        path = "" if isinstance(file, int) else os.path.realpath(os.fsdecode(file))
        if not set(mode) & set("wax+") or not recorder.counts(path):
            return original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        is_new = not os.path.lexists(path)
        raw = CountedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if is_new:
            recorder.undo_with("create", path, "")
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    return open_counted


def _paths(arguments: Sequence[Any], options: dict[str, Any]) -> list[str]:
    """Absolute paths of a call; the last component is not resolved, as links are renamed."""
    handles = (options.get("src_dir_fd"), options.get("dst_dir_fd"))
    paths = []
    for number, argument in enumerate(arguments):
        handle = options.get("dir_fd", handles[number] if len(arguments) > 1 else None)
        folder = _path_of(handle) if handle is not None else os.getcwd()
        path = os.path.join(folder, os.fsdecode(argument))
        parent, name = os.path.split(os.path.normpath(path))
        paths.append(os.path.join(os.path.realpath(parent), name))
    return paths


def _path_of(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return ""
