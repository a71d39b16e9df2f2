"""Choose and lock the directory of a new run. What is there is never lost unasked."""

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sharpeye.core.atomic_folder import replace_folder
from sharpeye.core.config import CONFIG_MARK
from sharpeye.core.paths import lies_inside
from sharpeye.core.storage import FileLock, make_folder, os_errors_at
from sharpeye.core.temporaries import (
    TEMPORARY_PREFIX,
    remove_stale_temporaries,
    temporary_name,
)
from sharpeye.errors import BusyError, UsageError
from sharpeye.runs import layout

log = logging.getLogger(__name__)

# What to do if the directory exists: raise an error, take the next free name with a number, replace
# the run that is in it, or resume that run.
IfExists = Literal["error", "number", "replace", "resume"]

_FILES_OF_A_RUN = {value for key, value in vars(layout).items() if key.isupper()} - {layout.LOCK}
# The studio takes a lock for a moment to see whether a run is being written.
_PROBE_SECONDS = 0.3
_FOLDERS_OF_A_RUN = (layout.TENSORBOARD, layout.CHECKPOINTS)


def folder_of_runs(images: Path) -> Path:
    """The folder of runs that have no given name: `runs` in the current folder, or beside the
    images if it would lie among them.
    """
    folder = Path("runs")
    if not lies_inside(folder, images):
        return folder
    beside = images.resolve()
    beside = Path(os.path.relpath(beside.with_name(f"{beside.name}-runs")))
    log.info("runs are written to %s, since the current folder is among the images", beside)
    return beside


class RunFolder:
    """A directory that this process alone writes a run into.

    Args:
        path: the requested directory. An empty one is free, and so is a stopped run without a
            checkpoint, which is cleared.
        if_exists: see `IfExists`; only runs of SharpEye are replaced. A finished run stays until
            the new one is complete, which is written into a hidden folder beside it.

    Attributes:
        path: the directory to write into.
        final_path: its name when the run is finished. Its lock is held until `release`.

    Raises:
        BusyError: another process is writing there right now.
        UsageError: the directory is not free, or there is nothing to resume.
    """

    def __init__(self, path: Path, if_exists: IfExists) -> None:
        self._created: list[Path] = []
        if if_exists == "resume":
            require_unfinished(path)
            self._lock = _acquire(path)
        elif if_exists == "number":
            path = self._claim_numbered(path)
        elif if_exists == "replace":
            self._claim_replaceable(path)
        else:
            self._claim(path)
        self.path = self.final_path = path
        try:
            if if_exists == "replace" and _state(path) == "complete":
                self._make_hidden()
            elif if_exists != "resume":
                _clear(path)
        except BaseException:
            self._release_lock()
            raise

    def _make_hidden(self) -> None:
        """Write to a hidden folder, which replaces the earlier run at the end."""
        remove_stale_temporaries(self.final_path.parent)
        hidden = self.final_path.with_name(temporary_name())
        with os_errors_at(self.final_path):
            hidden.mkdir()
        self.path, self._created = hidden, [hidden]

    def release(self, *, success: bool, keep: bool) -> None:
        """Release the lock, after the new run has replaced the old one.

        After a failure the files are removed unless `keep` is set. Kept files of a run that should
        have replaced another become a run beside it.
        """
        if not (success or keep):
            _clear(self.path)
        elif not success:
            _remove_temporaries(self.path)
        self._release_lock()
        if not (success or keep):
            for folder in self._created:
                with contextlib.suppress(OSError):  # another run may already use it
                    folder.rmdir()
        elif self.path != self.final_path:
            self._rename(success)

    def _release_lock(self) -> None:
        """Release the lock and leave no file of it; it is deleted while it is held."""
        with contextlib.suppress(OSError):
            self._lock.path.unlink()
        self._lock.release()

    def _rename(self, success: bool) -> None:
        if success:
            try:
                replace_folder(self.path, self.final_path)
            finally:
                shutil.rmtree(self.path, ignore_errors=True)  # gone, unless it failed
        else:
            paths = (path for path in numbered(self.final_path) if not path.exists())
            with os_errors_at(self.final_path):
                self.final_path = self.path.rename(next(paths))
            log.warning("%s", _describe(self.final_path, ""))
        self.path = self.final_path

    def _claim(self, path: Path) -> None:
        if path.exists() and _state(path) != "free":
            if _state(path) == "unfinished":
                _acquire(path).release()  # BusyError comes before the advice to resume it
            raise UsageError(_describe(path))
        self._lock_new(path)
        if _state(path) != "free":  # another run has finished in the meantime
            self._release_lock()
            raise UsageError(_describe(path))

    def _claim_replaceable(self, path: Path) -> None:
        problem = _replace_problem(path) if path.exists() else None
        if problem:
            raise UsageError(problem)
        self._lock_new(path)

    def _claim_numbered(self, requested: Path) -> Path:
        for path in numbered(requested):
            if path.exists() and _state(path) != "free":
                continue
            with contextlib.suppress(BusyError):
                self._lock_new(path)
                if _state(path) == "free":
                    if path != requested:
                        log.info("%s; this one is written to %s", _describe(requested, ""), path)
                    return path
                self._release_lock()
        raise UsageError(f"no name is free for {requested}")

    def _lock_new(self, path: Path) -> None:
        created = [folder for folder in (path, *path.parents) if not folder.exists()]
        self._lock = _acquire(make_folder(path), ", or choose another --output")
        self._created = created


def is_replaceable(path: Path) -> bool:
    """Whether `replace` accepts a path: nothing is there, or a folder with files of a run alone."""
    if not path.exists():
        return not path.is_symlink()
    return _replace_problem(path) is None


def require_unfinished(path: Path) -> None:
    """Raise UsageError unless `path` holds a stopped run, which can be resumed."""
    if (path / layout.BUNDLE).exists():
        raise UsageError(f"{path} is finished: there is nothing to resume")
    if not (path / layout.CONFIG).exists() or _foreign_files(path):
        raise UsageError(
            f"there is no unfinished run at {path}; give the folder that the stopped run was "
            "writing with --output, or leave --resume out"
        )


def numbered(path: Path) -> Iterator[Path]:
    """The path, `path-2`, `path-3`, and so on."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def _acquire(path: Path, advice: str = "") -> FileLock:
    lock = FileLock(path / layout.LOCK)
    if not lock.try_acquire(wait_seconds=_PROBE_SECONDS):
        raise BusyError(f"{path} is being written by another run; wait for it{advice}")
    return lock


def _state(path: Path) -> Literal["free", "unfinished", "complete", "foreign"]:
    """What is at an existing path."""
    if not path.is_dir():
        return "foreign"
    names = _names_in(path)
    if not names:
        return "free"
    if not _is_run(path):
        return "foreign"
    if layout.BUNDLE in names:
        return "complete"
    if _foreign_files(path):
        return "foreign"
    if layout.UNPROVEN in names:
        return "unfinished"
    checkpoints = path / layout.CHECKPOINTS
    return "unfinished" if checkpoints.is_dir() and any(checkpoints.iterdir()) else "free"


def _names_in(path: Path) -> set[str]:
    with os_errors_at(path):
        names = {entry.name for entry in path.iterdir()}
    return {name for name in names if not name.startswith(TEMPORARY_PREFIX)} - {layout.LOCK}


def _is_run(path: Path) -> bool:
    """Whether a folder has a configuration of ours: any folder may hold a `config.toml`."""
    file = path / layout.CONFIG
    with os_errors_at(path):
        return file.is_file() and file.read_bytes().startswith(CONFIG_MARK.encode())


def _foreign_files(path: Path) -> list[str]:
    """The names of files that no run writes; all of them in a folder that is no run."""
    names = _names_in(path)
    return sorted(names - _FILES_OF_A_RUN if _is_run(path) else names)


def _describe(path: Path, advice: str = "; choose another --output") -> str:
    state = _state(path)
    if state == "complete":
        replace = "; --overwrite replaces it, or choose another --output"
        return f"{path} holds a finished run{advice and replace}"
    if state == "unfinished":
        return (
            f"{path} holds an unfinished run: --resume --output {path} goes on with it"
            f"{advice and ', --overwrite begins anew, or choose another --output'}"
        )
    if state == "foreign":
        return f"{path} exists and holds no run{advice}"
    return f"{path} is being written by another run{advice}"


def _replace_problem(path: Path) -> str | None:
    """Why an existing path cannot be replaced: that would delete what is not a run's."""
    foreign = _foreign_files(path) if path.is_dir() else [path.name]
    if foreign:
        return (
            f"--overwrite replaces only runs of SharpEye, and {path} holds {foreign[0]}; "
            "move that away, or choose another --output"
        )
    if path.resolve() == Path.cwd() or path.is_symlink():
        return (
            f"--overwrite cannot replace {path}, the current folder or a link; "
            "give the path of the run from elsewhere"
        )
    return None


def _remove_temporaries(path: Path) -> None:
    """Delete what an unfinished run cannot go on with."""
    with contextlib.suppress(OSError):
        for entry in path.iterdir():
            if entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file():
                entry.unlink()


def _clear(path: Path) -> None:
    """Delete the files of an unfinished run."""
    with os_errors_at(path):
        for entry in path.iterdir():
            if entry.name in _FOLDERS_OF_A_RUN:
                shutil.rmtree(entry)
            elif entry.name in _FILES_OF_A_RUN or entry.name.startswith(TEMPORARY_PREFIX):
                entry.unlink(missing_ok=True)
