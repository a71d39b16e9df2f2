"""Read our TOML files, configurations and plans of sweeps, whoever has changed them."""

import re
from pathlib import Path
from typing import Any

from sharpeye.core import safe_parse
from sharpeye.core.regular_files import read_regular_file
from sharpeye.errors import ConfigError, one_line

_FORMAT = 1  # a file without a format number has format 1
FORMAT_LINE = f"# format: {_FORMAT}"


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Parse one of our TOML files, whoever changed it.

    Raises:
        ConfigError: it is not TOML, exceeds a limit of `safe_parse.parse_toml`, or a newer SharpEye
            wrote it in another format.
    """
    line = re.search(r"^# format: (\d+)$", text, re.MULTILINE)
    if line and int(line[1][:9]) > _FORMAT:
        raise ConfigError(
            f"{path} was written in format {line[1][:9]}, this SharpEye reads up to {_FORMAT}; "
            "update SharpEye"
        )
    try:
        return safe_parse.parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {one_line(error)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read and parse one of our TOML files; OSError, or ConfigError as `parse_toml`."""
    try:
        data = read_regular_file(path, safe_parse.MAX_TOML_BYTES)
    except ValueError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    try:
        return parse_toml(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
