"""Standard streams may be closed, full, read by `head`, or in an encoding of long ago."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner import command, environment, one_line
from sharpeye.cli.app import COMMANDS, run
from sharpeye.cli.console import show

posix = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")
ENCODINGS = [
    "cp1252",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascii", "cp437", "utf-16")),
]


@pytest.fixture(scope="module")
def japanese(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose names no old encoding has."""
    folder = tmp_path_factory.mktemp("桜")
    for name in ("桜.png", "café.png", "a,b.png"):
        shutil.copy(trained.parent / "hard" / "ash" / "ash1.png", folder / name)
    return folder


def run_in(
    encoding: str, *arguments: str | Path, cache: Path
) -> "subprocess.CompletedProcess[bytes]":
    variables = environment(cache, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    return subprocess.run(command(*arguments), env=variables, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_and_json_lines_are_utf8_in_any_encoding(
    encoding: str, trained: Path, japanese: Path, cache: Path
) -> None:
    expected = sorted(str(path) for path in japanese.iterdir())
    done = run_in(encoding, "predict", trained, japanese, "--format", "csv", cache=cache)
    assert done.returncode == 0, done.stderr
    rows = csv.DictReader(io.StringIO(done.stdout.decode(), newline=""))
    assert sorted(row["path"] for row in rows) == expected
    done = run_in(encoding, "predict", trained, japanese, "--format", "jsonl", cache=cache)
    lines = done.stdout.decode().splitlines()
    assert sorted(json.loads(line)["path"] for line in lines) == expected
    assert b"\r" not in done.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_escapes_what_an_encoding_lacks(
    encoding: str, trained: Path, japanese: Path, cache: Path
) -> None:
    done = run_in(encoding, "predict", trained, japanese, cache=cache)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert len(text.splitlines()) == 3
    assert ("桜.png" if encoding == "utf-16" else r"\u685c.png") in text
    done = run_in(encoding, "predict", trained, japanese / "桜2.png", cache=cache)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr.decode(encoding)


@posix
@pytest.mark.parametrize(
    "closed",
    [
        "<&- >&- 2>&-",
        *(pytest.param(text, marks=pytest.mark.slow) for text in ("<&-", ">&-", "2>&-")),
    ],
)
def test_a_closed_stream_is_no_error(
    closed: str, trained: Path, cache: Path, tmp_path: Path
) -> None:
    image = trained.parent / "hard" / "ash" / "ash1.png"
    arguments = command("predict", trained, image, "--draw", tmp_path / "drawn")
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", *arguments]
    done = subprocess.run(line, env=environment(cache), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["ash1.png"]
    assert (tmp_path / "drawn" / "ash1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "name",
    [
        "models",
        *(pytest.param(text, marks=pytest.mark.slow) for text in ("--help", "train -h")),
    ],
)
def test_a_full_output_ends_with_5_in_one_line(name: str, cache: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*name.split()),
            env=environment(cache),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 5
    assert "cannot write to the standard output: No space left on device" in one_line(done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(cache: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("nosuch"), env=environment(cache), stdout=full, stderr=full)
    assert done.returncode == 2


def test_progress_that_cannot_be_shown_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sharpeye.cli.console import ProgressReporter

    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    with ProgressReporter(form="jsonl") as progress:
        progress("features", 0, 2)
        progress("features", 2, 2)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_h_is_help_for_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "-h"]) == 0
    text = capsys.readouterr().out
    assert f"sharpeye {name}" in text
    assert "--help" in text


def test_h_is_help_for_commands_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["collect", "urls"], ["cache", "info"]):
        assert run([*words, "-h"]) == 0
        assert " ".join(words) in capsys.readouterr().out


INVISIBLE: list[Any] = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x61C,
    0x180E,
    0x200B,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
]


@pytest.mark.parametrize("code", INVISIBLE, ids=hex)
def test_control_characters_and_invisible_marks_are_escaped(code: int) -> None:
    shown = show(f"a{chr(code)}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape") == f"a{chr(code)}b"


@pytest.mark.parametrize("name", ["桜", "می‌خواهم", "क्‍ष", "👩‍🔬", "naïve", "شاهد"])
def test_names_of_any_script_are_shown_as_they_are(name: str) -> None:
    assert show(name) == name
