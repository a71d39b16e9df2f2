"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.errors import UsageError

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A run directory, or the model.onnx of one.", show_default=False
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
ProgressForm = Annotated[
    str,
    typer.Option(
        "--progress",
        metavar="FORM",
        help="auto: a bar on a terminal, else lines; jsonl: JSON lines on stderr, such as "
        '{"stage": "features", "done": 3, "total": 60, "seconds": 1.2}.',
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more.")]

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_seconds(text: str) -> float:
    """Parse a duration such as 90s, 10m or 1.5h; a number alone means seconds.

    Raises:
        UsageError: not a duration, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"a time limit is a number with s, m or h, such as 10m. Received: {text}")
    return float(match[1]) * _UNITS[match[2] or "s"]
