"""Read JSON and TOML files that others wrote, in bounded time and memory.

Neither parser of Python is made for hostile text: nesting ends in a RecursionError, a number of
5,000 digits in an error of its own, and 50,000 keys in a row (`a.a.a...`) take gigabytes.
"""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from sharpeye.core.regular_files import read_regular_file

MAX_JSON_BYTES = 16 * 2**20
MAX_TOML_BYTES = 2**20

_MAX_DIGITS = 300  # of a whole number in JSON

# Of TOML. Our files have at most 3 keys in a row, 2 levels of brackets, and words of 20 characters.
_MAX_KEYS, _MAX_DEPTH, _MAX_WORD_CHARACTERS = 8, 16, 100

# Comments and texts of TOML, also texts that are not closed: every start ends somewhere, so that
# the search takes linear time.
_TEXT = re.compile(
    r'#[^\n]*|"""(?:[^\\]|\\.?)*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:[^"\\\n]|\\[^\n]?)*"?|\'[^\'\n]*\'?',
    re.DOTALL,
)
_WORD = re.compile(rf"[\w+-]{{{_MAX_WORD_CHARACTERS + 1}}}")
_KEYS = re.compile(rf"(?:[\w+-]+[ \t]*\.[ \t]*){{{_MAX_KEYS}}}")
_BRACKET = re.compile(r"[][{}]")


def load_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The content of a JSON file; OSError, or ValueError if it is damaged or too large."""
    try:
        return parse_json(read_regular_file(path, max_bytes))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path} is not JSON; it is damaged") from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON by its standard: without NaN and duplicate keys; numbers are finite.

    Raises:
        ValueError: it is not strict JSON, is nested too deeply, or has too large a number.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_make_object,
            parse_constant=_reject_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _parse_int(text: str) -> int:
    # A larger whole number is an OverflowError wherever it meets a float.
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(text)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is not TOML, is too long, has too long a word, too many keys in a row, or is
            nested too deeply.
    """
    if len(text) > MAX_TOML_BYTES:
        raise ValueError(f"it has more than {MAX_TOML_BYTES:,} characters")
    bare = _TEXT.sub("s", text)
    if _WORD.search(bare):
        raise ValueError(f"a word or number has more than {_MAX_WORD_CHARACTERS} characters")
    if _KEYS.search(bare):
        raise ValueError(f"more than {_MAX_KEYS} keys are joined by dots")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError(f"brackets are nested deeper than {_MAX_DEPTH} levels")
    try:
        return tomllib.loads(text)
    except RecursionError:  # not expected after these checks
        raise ValueError("nested too deeply") from None
