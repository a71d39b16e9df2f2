"""CSV files: UTF-8, lines end in a line feed, the first line names the columns.

This is the only module that reads or writes CSV. A cell is quoted if it has a comma, a quote or any
control character: the `csv` module of Python 3.11 leaves a carriage return bare, which then ends
the line. Every text comes back as it was written, whatever it begins with: nothing is put before
`=`, `+`, `-` or `@`, which spreadsheets take for a formula.
"""

import contextlib
import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sharpeye.core.regular_files import read_regular_file
from sharpeye.core.storage import (
    atomic_open,
    errors_name,
    flush_folder,
    os_errors_at,
    temporary_name,
)
from sharpeye.core.user_text import decode_user_text
from sharpeye.errors import UsageError

# Limit on a table. Ten million images have a table of about 1 GB.
MAX_TABLE_BYTES = 256 * 2**20
# A line of 1 MB with nothing but commas already has a million cells.
_MAX_LINE_CHARACTERS = 2**20
_LINE = re.compile(rf"[^\r\n]{{1,{_MAX_LINE_CHARACTERS + 1}}}+(?:\r\n|[\r\n])?|\r\n|[\r\n]")
_DELIMITERS = ",;\t"  # of spreadsheets, by the language of the system
_QUOTED = re.compile('[,"\x00-\x1f\x7f-\x9f\u2028\u2029]').search


class TableWriter:
    """Writes rows to an open text file, in the format of all tables."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def writerow(self, row: Iterable[Any]) -> None:
        self._file.write(format_row(row))

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        self._file.writelines(map(format_row, rows))


def format_row(row: Iterable[Any]) -> str:
    """One line of a table; None is an empty cell."""
    cells = ["" if cell is None else str(cell) for cell in row]
    if cells == [""]:
        return '""\n'  # an empty line would be no row
    return ",".join([_quote(cell) if _QUOTED(cell) else cell for cell in cells]) + "\n"


def _quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def parse_row(line: str) -> list[str]:
    """The cells of one line of a table; ValueError if a quote is not closed."""
    return next(_parse_rows(line), [])


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table completely or not at all; EnvironmentFault if that fails."""
    with atomic_open(path) as file:
        writer = TableWriter(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_new_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """Like `write_table`, unless something has that name already; returns whether it was written.

    Of several processes, one writes it.
    """
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        with errors_name(path, temporary), os_errors_at(path):
            write_table(temporary, columns, rows)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # the file system does not support hard links
                if os.path.lexists(path):
                    return False
                temporary.rename(path)
            flush_folder(path.parent)
            return True
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that SharpEye wrote, by column.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a table, or is too large.
    """
    rows = _parse_rows(read_regular_file(path, MAX_TABLE_BYTES).decode("utf-8"))
    columns = next(rows, [])
    records = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(columns):
            raise ValueError(
                f"row {number} of {path} has {len(row)} cells, the first one has {len(columns)}"
            )
        records.append(dict(zip(columns, row, strict=True)))
    return records


def read_user_table(path: Path, required: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table that a user gives, by column; a cell that a row lacks is empty.

    Spreadsheets separate cells by commas, semicolons or tabs, end lines in one of three ways, and
    write UTF-8 with a byte order mark or UTF-16; all of these are read. Empty rows are left out.

    Raises:
        UsageError: the table cannot be read, is not CSV, is too large, or lacks a column.
    """
    try:
        text = decode_user_text(read_regular_file(path, MAX_TABLE_BYTES), path)
        text = re.sub(r"\Asep=.(\r\n?|\n)", "", text)  # which Excel writes for itself
        delimiter = _find_delimiter(text, required)
        rows = _parse_rows(text, delimiter)
        columns = [_column_name(name, required) for name in next(rows, [])]
        if missing := [name for name in required if name not in columns]:
            raise UsageError(
                f"{path} has no column {', '.join(missing)}; its first line must name the columns, "
                f"separated by commas, semicolons or tabs. Received: {_shown(columns)}"
            )
        return [
            dict(zip(columns, [*row, *[""] * (len(columns) - len(row))], strict=False))
            for row in rows
            if any(row)
        ]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is no CSV file: {error}") from None


def _parse_rows(text: str, delimiter: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV text, without empty lines; ValueError if it is not one."""
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise ValueError(f"{error} (line {reader.line_num})") from None


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends; ValueError at one that is too long."""
    for number, line in enumerate(_LINE.finditer(text), 1):
        if len(line[0]) > _MAX_LINE_CHARACTERS:
            raise ValueError(f"line {number} has more than {_MAX_LINE_CHARACTERS:,} characters")
        yield line[0]


def _find_delimiter(text: str, required: Sequence[str]) -> str:
    """The delimiter with which the first line has the required columns, or else the most."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            first = next(_parse_rows(text[:10_000], delimiter), [])
        except ValueError:  # a quoted cell is followed by another delimiter
            return 0, 0
        columns = [_column_name(name, required) for name in first]
        return sum(name in columns for name in required), len(columns)

    return max(_DELIMITERS, key=fit)


def _column_name(name: str, required: Sequence[str]) -> str:
    """A column's name, as the code spells it: people write `Path` for `path`."""
    name = name.strip()
    return next((known for known in required if known == name.casefold()), name)


def _shown(columns: Sequence[str]) -> str:
    return repr(", ".join(columns)[:80])
