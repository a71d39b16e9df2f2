"""Tables come back as they were written, whatever a name holds, and as spreadsheets save them."""

import csv
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharpeye.core.tables import (
    format_row,
    parse_row,
    read_table,
    read_user_table,
    write_new_table,
    write_table,
)
from sharpeye.errors import UsageError

CONTROLS = [chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029)]
NAMES = [
    "Icon\r",
    "a\r\nb",
    "x.png,rose\ry.png,tulip",  # a name that would be a row of its own
    '"',
    '""a"',
    "a,b;c\td",
    "=1+1",
    "+a",
    "-a",
    "@a",
    "'a",
    " a ",
    "",
    "桜\U0001f339",
    "\ufeffa",
    "NULL",
    *(f"a{control}b" for control in CONTROLS),
    *CONTROLS,
]


def test_every_text_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    rows = [{"path": name, "n": str(number)} for number, name in enumerate(NAMES)]
    write_table(file, ("path", "n"), [(row["path"], row["n"]) for row in rows])
    assert read_table(file) == rows
    with file.open(encoding="utf-8", newline="") as opened:
        assert list(csv.DictReader(opened)) == rows  # other readers of CSV agree
    for row in rows:
        assert parse_row(format_row(row.values())) == list(row.values())
    without_nul = [row for row in rows if "\0" not in row["path"]]
    write_table(file, ("path", "n"), [(row["path"], row["n"]) for row in without_nul])
    assert read_user_table(file, ["path"]) == without_nul


def test_the_bytes_are_those_of_the_csv_module_but_for_control_characters() -> None:
    plain = [name for name in NAMES if not set(name) & set(CONTROLS)]
    for row in (*([name] for name in plain), *([name, 1.5, None, True] for name in plain)):
        expected = io.StringIO()
        csv.writer(expected, lineterminator="\n").writerow(row)
        assert format_row(row) == expected.getvalue()
    assert format_row(["Icon\r", "b"]) == '"Icon\r",b\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(
    tmp_path: Path, encoding: str, end: str, delimiter: str
) -> None:
    lines = [
        ("path", "label", "new_label"),
        ("rose/café 1,5;x.png", "rose", "tulip"),
        ("", "", ""),
        ("rose/2.png", "rose"),
    ]
    text = "".join(
        delimiter.join(f'"{cell}"' if set(cell) & set(",;\t") else cell for cell in row) + end
        for row in lines
    )
    file = tmp_path / "fixes.csv"
    file.write_bytes(text.encode(encoding))
    assert read_user_table(file, ["path", "label"]) == [
        {"path": "rose/café 1,5;x.png", "label": "rose", "new_label": "tulip"},
        {"path": "rose/2.png", "label": "rose", "new_label": ""},
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_quoted_headers_in_any_case_are_read(tmp_path: Path, end: str, delimiter: str) -> None:
    rows = [("Path", "LABEL", "New_Label"), ("a;b,c.png", "rose", "tulip")]
    text = "".join(delimiter.join(f'"{cell}"' for cell in row) + end for row in rows)
    file = tmp_path / "fixes.csv"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_user_table(file, ["path", "label", "new_label"]) == [
        {"path": "a;b,c.png", "label": "rose", "new_label": "tulip"}
    ]


def test_the_line_that_excel_puts_first_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "fixes.csv"
    file.write_bytes(b"\xef\xbb\xbfsep=;\r\npath;label\r\na;b\r\n")
    assert read_user_table(file, ["path"]) == [{"path": "a", "label": "b"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4\x14\0\6\0" + bytes(100), "is an Excel workbook; save it as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text file"),
        (b"path,label\n" + b"a/1.png,a\n" * 200 + b"a\0/2.png,a\n", "is no text file"),
        ("path,label\na\0,b\n".encode("utf-16"), "is no text file"),
        (
            "path,label\ncafé,b\n".encode("cp1252"),
            "is not in UTF-8: byte 14 cannot be decoded",
        ),
        (b"file,class\na,b\n", "has no column path; its first line must name the columns"),
        (b"", "has no column path"),
        (b'path\n"a\nb\n', "is no CSV file: "),
        (b"path\n" + b"a" * 200_000, "is no CSV file: "),
        (b"path\n1,2\n" + b"," * 2_000_000, "is no CSV file: line 3 has more than 1,048,576 char"),
        (b"a," * 2_000_000, "is no CSV file: line 1 has more than 1,048,576 characters"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "fixes.csv"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        read_user_table(file, ["path"])
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", 'a,b\n"1,2\n', 'a\n"1"2\n'])
def test_a_damaged_table_of_ours_is_a_value_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"\d"):
        read_table(file)


def test_a_program_reads_what_another_python_wrote() -> None:
    """The quoting is ours, so each Python writes the same bytes as this one."""
    script = "from sharpeye.core.tables import format_row; print(ascii(format_row(['Icon\\r'])))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "'\"Icon\\r\"\\n'\n"


def test_a_new_table_replaces_nothing_and_one_of_many_writers_makes_it(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"

    def write(number: int) -> bool:
        return write_new_table(file, ("n",), [(number,)] * 1000)

    with ThreadPoolExecutor(8) as pool:
        written = [*pool.map(write, range(8))]
    assert written.count(True) == 1
    (number,) = {row["n"] for row in read_table(file)}
    assert written[int(number)]
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
