"""Hostile JSON and TOML end in one line, in little time and memory."""

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from sharpeye.core.config import Config, load_toml
from sharpeye.core.knobs import parse_value
from sharpeye.core.regular_files import read_regular_file
from sharpeye.core.safe_parse import load_json, parse_json, parse_toml
from sharpeye.errors import ConfigError

HOSTILE_TOML = {
    "keys joined by dots": ".".join(["a"] * 50_000) + " = 1",
    "quoted keys joined by dots": ".".join(['"a"'] * 20_000) + " = 1",
    "literal keys joined by dots": " . ".join(["'a'"] * 20_000) + " = 1",
    "a table's name": "[" + ".".join(["a"] * 50_000) + "]",
    "a list of tables": "[[" + ".".join(["a"] * 9) + "]]",
    "keys in an inline table": "a = {" + ".".join(["b"] * 50_000) + " = 1}",
    "brackets": "a = " + "[" * 100_000,
    "closed brackets": "a = " + "[" * 50_000 + "]" * 50_000,
    "inline tables": "a = {a=" * 50_000,
    "digits": "seed = " + "1" * 10_000,
    "digits with signs": "seed = -" + "1_1" * 5_000,
    "digits of base 16": "seed = 0x" + "f" * 10_000,
    "digits behind the point": "split.test = 0." + "1" * 10_000,
    "an exponent": "split.test = 1e" + "9" * 10_000,
    "a bare key": "a" * 500_000 + " = 1",
    "a large file": "# " + "a" * 2**20,
    "texts that are not closed": '"""' + '\\"""' * 100_000,
    "quotes": "a = " + "'" * 300_000,
    "backslashes": 'a = "' + "\\" * 300_001,
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_hostile_toml_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(HOSTILE_TOML[name])
    started = time.process_time()
    with pytest.raises(ConfigError) as error:
        load_toml(file)
    assert time.process_time() - started < 1
    message = str(error.value)
    assert str(file) in message and "\n" not in message and len(message) < 600


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_memory_is_bounded() -> None:
    script = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20,) * 2)\n"
        "from sharpeye.core.safe_parse import parse_toml\n"
        "try: parse_toml(sys.stdin.read())\n"
        "except ValueError as error: print(error)"
    )
    text = HOSTILE_TOML["keys joined by dots"]
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True
    )
    assert done.stdout == "more than 8 keys are joined by dots\n"


@pytest.mark.parametrize(
    "text",
    [
        'a = "1.2.3.4.5.6.7.8.9.10.11.12"  # 1.2.3.4.5.6.7.8.9.10.11',
        f"a = '{'x' * 5000}'",
        f'a = """\n{"[" * 500}\n"""',
        f"a = '''{'b.' * 500}'''",
        'a = "\\"[[[[[[[[[[[[[[[[[[[[[["',
        f"a = [{', '.join(['0.125'] * 1000)}]",
        'a."b.c.d.e.f.g.h.i.j.k.l" = 1',
        "a = 1979-05-27T07:32:00.999999-07:00",
        f"# {'a.' * 5000}\na = 0x{'f' * 60}",
    ],
)
def test_ordinary_toml_means_what_it_means(text: str) -> None:
    assert parse_toml(text) == tomllib.loads(text)


def test_a_configuration_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert load_toml(file).seed == 3


@pytest.mark.parametrize("name", ["brackets", "inline tables", "digits", "quotes"])
def test_a_hostile_setting_is_a_text(name: str) -> None:
    value = HOSTILE_TOML[name].partition(" = ")[2]
    assert parse_value(value) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('data.folder = "a\\u0000b"', "data.folder in .* must not hold a NUL|data.folder must not"),
        ('data.added = ["a\\u0000b"]', "data.added in .*c.toml must not hold a NUL"),
        (f'"{"a" * 500_000}" = 1', "unknown key a{190}"),
        ('"a\\nb" = 1', "unknown key a b"),
        (f"seed = [{'1, ' * 10_000}]", "seed in .* must be a whole number. Received: .1, 1"),
        (f'model.fit = "{"a" * 300_000}"', "model.fit in .* must be one of .* Received: 'a{190}"),
        ("split.test = inf", "split.test in .*c.toml must be from"),
        ("split.test = nan", "split.test in .*c.toml must be from"),
        (f"split.test = {'9' * 99}", "split.test in .*c.toml must be from"),
    ],
)
def test_a_hostile_value_is_named_in_a_short_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError, match=message) as error:
        load_toml(file)
    assert time.process_time() - started < 1
    assert "\n" not in str(error.value) and len(str(error.value)) < 3000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
        "NaN",
        "1e999",
        "9" * 301,
        '{"a": -' + "9" * 400 + "}",
        '{"a": 1, "a": 2}',
        "",
        "\xff",
        "{",
    ],
)
def test_hostile_json_is_a_value_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"\w"):
        load_json(file)
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text.encode("latin-1"))


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(bytes(2 * 2**20))
    assert len(read_regular_file(file, 2 * 2**20)) == 2 * 2**20
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_regular_file(file, 2**20)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular_file(tmp_path, 2**20)
    with pytest.raises(OSError, match="No such file"):
        read_regular_file(tmp_path / "none", 2**20)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):
            read_regular_file(tmp_path / "pipe", 2**20)
        with pytest.raises(ConfigError, match="not a regular file"):
            load_toml(tmp_path / "pipe", Config())
