"""The run directory holds all files of a training: `RunWriter` writes one, `Run` reads one.

A running training holds a lock on the directory. Each file in it appears complete or not at
all, and `bundle.json` comes last: a directory that has it is finished.
"""

import contextlib
import itertools
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sharpeye.core.atomic_folder import replace_folder
from sharpeye.core.config import CONFIG_MARK, Config, load_toml
from sharpeye.core.safe_parse import load_json
from sharpeye.core.storage import (
    TEMPORARY_PREFIX,
    FileLock,
    make_folder,
    os_errors_at,
    temporary_name,
    write_text,
)
from sharpeye.core.tables import read_table, write_table
from sharpeye.core.types import Rejected, SampleSet
from sharpeye.errors import BusyError, ConfigError, DataError, UsageError
from sharpeye.runs import layout

_FILES_OF_A_RUN = {value for key, value in vars(layout).items() if key.isupper()} - {layout.LOCK}


class ResultWriter:
    """Writes result files into an existing folder, each complete or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> Path:
        return self.path / name

    def write_text(self, name: str, text: str) -> None:
        write_text(self.path / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON; a number that is not finite becomes null, which any reader accepts."""
        text = json.dumps(_finite_or_null(value), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.path / name, text + "\n")

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table; numbers keep six significant digits."""
        cells = ([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
        write_table(self.path / name, header, cells)

    def write_samples(self, samples: SampleSet) -> None:
        """`labels.txt`, `split.csv` and `quarantine.csv`."""
        self.write_text(layout.LABELS, "".join(f"{label}\n" for label in samples.class_names))
        rows = ((s.path, s.label, s.split, s.sha256, s.group) for s in samples)
        self.write_csv(layout.SPLIT, ("path", "label", "part", "sha256", "group"), rows)
        self.write_quarantine(samples.rejected)

    def write_quarantine(self, rejected: Iterable[Rejected]) -> None:
        rows = ((r.path, r.reason) for r in rejected)
        self.write_csv(layout.QUARANTINE, ("path", "reason"), rows)

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """`history.csv`; a column that a row lacks stays empty."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        self.write_csv(layout.HISTORY, columns, ([row.get(c) for c in columns] for row in rows))


class RunWriter(ResultWriter):
    """Writes a run directory.

    Use it as a context manager: it holds the directory's lock. A run that fails removes its files
    and the folders that it created, unless `keep` is set.

    Args:
        path: the directory to use, if it is empty or an unfinished run, which is cleared; else the
            first such one of `path-2`, `path-3` and so on.
        resume: continue the unfinished run at `path` and keep its files.
        overwrite: replace the finished run at `path`. The new one is written into a hidden folder
            beside it and takes its name at the end, so a run that fails leaves the old one.

    Attributes:
        path: the directory to write into.
        final_path: the directory's name when the run is finished.
        keep: whether the files stay if the run fails.
        resumed: whether the directory holds the files of an unfinished run.

    Raises:
        BusyError: another process is writing there right now.
        UsageError: there is nothing to resume, or `path` holds other files than those of a run.
    """

    def __init__(self, path: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self._created: list[Path] = []
        self.final_path = path
        if resume:
            require_unfinished(path)
            self._lock = _acquire_lock(path)
        elif overwrite and is_finished_run(path):
            self._lock = _acquire_lock(path)
            path = make_folder(path.with_name(temporary_name()))
            self._created = [path]
        elif overwrite and path.exists() and not _is_free(path):
            raise UsageError(f"{path} is no run directory and is not replaced; choose another name")
        else:
            path, self._lock, self._created = _claim(path)
            self.final_path = path
        super().__init__(path)
        self.keep = self.resumed = resume

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self.keep:
            _clear_unfinished(self.path)
        with contextlib.suppress(OSError):
            (self.final_path / layout.LOCK).unlink()
        self._lock.release()
        if kind is not None and not self.keep:
            for folder in self._created:
                with contextlib.suppress(OSError):  # another run may already use it
                    folder.rmdir()
        elif self.path != self.final_path:
            try:
                replace_folder(self.path, self.final_path)
            finally:
                shutil.rmtree(self.path, ignore_errors=True)  # gone, unless it failed
            self.path = self.final_path


def _finite_or_null(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_null(item) for item in value]
    return value


def _claim(requested: Path) -> tuple[Path, FileLock, list[Path]]:
    """The first free path of `requested`, `requested-2`, ..., its lock, and the folders that were
    created for it, inner ones first.
    """
    path = requested
    for number in itertools.count(2):
        if not path.exists() or _is_free(path):
            created = [folder for folder in (path, *path.parents) if not folder.exists()]
            lock = _acquire_lock(make_folder(path), ", or choose another --output")
            if not (path / layout.BUNDLE).exists():
                break
            lock.release()  # another run has finished in the meantime
        path = requested.with_name(f"{requested.name}-{number}")
    _clear_unfinished(path)
    return path, lock, created


def _acquire_lock(path: Path, advice: str = "") -> FileLock:
    lock = FileLock(path / layout.LOCK)
    if not lock.try_acquire():
        raise BusyError(f"{path} is being written by another run; wait for it{advice}")
    return lock


def is_finished_run(path: Path) -> bool:
    """Whether a directory holds a finished run that may be replaced: nothing but files of a run."""
    if not (path / layout.BUNDLE).is_file():
        return False
    with os_errors_at(path):
        names = {e.name for e in path.iterdir() if not e.name.startswith(TEMPORARY_PREFIX)}
    return layout.CONFIG in names and names <= _FILES_OF_A_RUN | {layout.LOCK}


def require_unfinished(path: Path) -> None:
    """Raise UsageError unless `path` holds a stopped run, which can be resumed."""
    if (path / layout.BUNDLE).exists():
        raise UsageError(f"{path} is finished: there is nothing to resume")
    if not (path / layout.CONFIG).exists() or not _is_free(path):
        raise UsageError(
            f"there is no unfinished run at {path}; give the folder that the stopped run was "
            "writing with --output, or leave --resume out"
        )


def _is_free(path: Path) -> bool:
    """Whether a directory is empty, or holds only the files of a stopped run.

    The run that claims it deletes its files, so a user's folder that happens to hold a
    `config.toml` or a `README.md` must be rejected.
    """
    if not path.is_dir():
        return False
    with os_errors_at(path):
        names = {e.name for e in path.iterdir() if not e.name.startswith(TEMPORARY_PREFIX)}
        names -= {layout.LOCK}
        if not names:
            return True
        if layout.CONFIG not in names or layout.BUNDLE in names or not names <= _FILES_OF_A_RUN:
            return False
        return (path / layout.CONFIG).read_bytes().startswith(CONFIG_MARK.encode())


def _clear_unfinished(path: Path) -> None:
    with os_errors_at(path):
        for entry in path.iterdir():
            if entry.name in (layout.TENSORBOARD, layout.CHECKPOINTS):
                shutil.rmtree(entry)
            elif entry.name in _FILES_OF_A_RUN or entry.name.startswith(TEMPORARY_PREFIX):
                entry.unlink(missing_ok=True)


class Run:
    """A finished run directory; DataError if there is none at `path`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / layout.BUNDLE).is_file():
            raise DataError(
                f"{self.path} is no finished run directory: it has no {layout.BUNDLE}; "
                "give the folder that `sharpeye train` printed"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def require_file(self, name: str) -> Path:
        """The path of a file of the run, such as `split.csv`; DataError if the run lacks it."""
        file = self.path / name
        if not file.is_file():
            raise DataError(
                f"{self.path} is no whole run directory: it has no {name}; give the folder that "
                "`sharpeye train` printed"
            )
        return file

    @cached_property
    def config(self) -> Config:
        """The resolved configuration; DataError if `config.toml` is missing or not valid."""
        try:
            return load_toml(self.require_file(layout.CONFIG))
        except ConfigError as error:
            raise DataError(str(error)) from None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The scores; OSError, or ValueError if `metrics.json` is damaged."""
        return dict(load_json(self.path / layout.METRICS))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Class names; the index is the class index."""
        text = (self.path / layout.LABELS).read_text(encoding="utf-8")
        return tuple(text.split("\n")[:-1])

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file of the run, such as `misclassified.csv`."""
        return read_table(self.path / name)
