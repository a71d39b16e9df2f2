"""The run directory holds all files of a training: `RunWriter` writes one, `Run` reads one.

A running training holds a lock on the directory. Each file in it appears complete or not at
all, and `bundle.json` comes last: a directory that has it is finished.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, load_toml
from sharpeye.core.numerics import finite_or_null
from sharpeye.core.paths import user_path
from sharpeye.core.regular_files import read_regular_file
from sharpeye.core.safe_parse import load_json
from sharpeye.core.storage import rename_in_error, write_text
from sharpeye.core.tables import read_table, write_table
from sharpeye.core.types import SPLITS, Rejected, SampleSet
from sharpeye.errors import ConfigError, DataError, one_line
from sharpeye.runs import layout
from sharpeye.runs.run_folder import IfExists, RunFolder

MAX_LABELS_BYTES = 16 * 2**20
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")
# The columns of tables that are read again.
_COLUMNS = {
    layout.SPLIT: ("path", "label", "part", "sha256", "group"),
    layout.QUARANTINE: ("path", "reason"),
    layout.PREDICTIONS: ("path", "label", "predicted", "score"),
}


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
        text = json.dumps(finite_or_null(value), indent=2, ensure_ascii=False, allow_nan=False)
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
        path, if_exists: see `RunFolder`, for the errors as well.

    Attributes:
        keep: whether the files stay if the run fails.
        unproven: how the model file differs from training, see `mark_unproven`; else empty.
        resumed: whether the directory holds the files of an unfinished run.
    """

    def __init__(self, path: Path, *, if_exists: IfExists = "error") -> None:
        self._folder = RunFolder(path, if_exists)
        super().__init__(self._folder.path)
        self.keep = self.resumed = if_exists == "resume"
        self.unproven = ""
        if self.resumed:
            self.file(layout.UNPROVEN).unlink(missing_ok=True)

    @property
    def final_path(self) -> Path:
        """The directory's name when the run is finished, for messages and commands."""
        return self._folder.final_path

    def mark_unproven(self, reason: str) -> None:
        """Keep all files of a run whose model file is not proven; the run is not finished."""
        self.write_text(layout.UNPROVEN, f"{reason}\n")
        self.keep, self.unproven = True, reason

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        hidden = self.path
        self._folder.release(success=kind is None and not self.unproven, keep=self.keep)
        self.path = self.final_path
        if hidden != self.path:
            rename_in_error(error, self.path, hidden)


class Run:
    """A finished run directory; DataError if there is none at `path`."""

    def __init__(self, path: Path | str) -> None:
        self.path = user_path(path)
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
        """The scores; DataError if `metrics.json` is missing or damaged."""
        file = self.require_file(layout.METRICS)
        with _damage_as_data_error(file):
            metrics = load_json(file)
            if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict):
                raise ValueError("it has no scores of the test images")
        return dict(metrics)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Class names; the index is the class index. DataError as `metrics`."""
        file = self.require_file(layout.LABELS)
        with _damage_as_data_error(file):
            text = read_regular_file(file, MAX_LABELS_BYTES).decode("utf-8")
        return tuple(text.split("\n")[:-1])

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of a table, such as `misclassified.csv`; DataError as `metrics`."""
        file = self.require_file(name)
        with _damage_as_data_error(file):
            rows = read_table(file)
            missing = [
                column for column in _COLUMNS.get(name, ()) if rows and column not in rows[0]
            ]
            if missing:
                raise ValueError(f"it has no column {', '.join(missing)}")
            if name == layout.SPLIT:
                _check_split(rows)
        return rows


def _check_split(rows: Sequence[Mapping[str, str]]) -> None:
    """Raise ValueError if rows of `split.csv` cannot be those of a run."""
    if not rows:
        raise ValueError("it lists no image")
    for row in rows:
        if row["part"] not in SPLITS:
            expected = ", ".join(SPLITS)
            raise ValueError(f"a part in it is none of {expected}. Received: {row['part']!r:.80}")
        if not _DIGEST.fullmatch(row["sha256"]):
            raise ValueError("a SHA-256 in it is none")
        if any("\0" in cell for cell in row.values()):
            raise ValueError("a null character is in it")


@contextlib.contextmanager
def _damage_as_data_error(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged: {one_line(error)}; train again") from None
