"""CSV files: UTF-8, lines end in a line feed, the first line names the columns."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from sharpeye.core.storage import atomic_open
from sharpeye.errors import UsageError

# Limit on a user's table. Ten million images have a table of about 1 GB.
_MAX_TABLE_BYTES = 256 * 2**20


def csv_writer(file: IO[str]) -> Any:
    """A `csv.writer` with the dialect of all tables."""
    return csv.writer(file, lineterminator="\n")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table completely or not at all; EnvironmentFault if that fails."""
    with atomic_open(path) as file:
        writer = csv_writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that SharpEye wrote, by column; OSError, ValueError or csv.Error."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_user_table(path: Path, required: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table that a user gives, by column; a cell that a row lacks is empty.

    A byte order mark, which spreadsheets write, is skipped.

    Raises:
        UsageError: the table cannot be read, is not CSV in UTF-8, is too large, or lacks a column.
    """
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise UsageError(f"{path} is larger than {_MAX_TABLE_BYTES // 2**20} MiB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            missing = [name for name in required if name not in columns]
            if missing:
                raise UsageError(f"{path} has no column {', '.join(missing)}")
            return [{name: row[name] or "" for name in columns} for row in reader]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: {error}") from None
