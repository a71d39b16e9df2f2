"""Options that several commands have, in one spelling."""

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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings and errors.")]
ProgressForm = Annotated[
    str,
    typer.Option(
        "--progress",
        metavar="FORM",
        help="auto: a bar on a terminal, else lines; jsonl: on stderr, for programs, lines such as "
        '{"stage": "features", "done": 3, "total": 60, "seconds": 1.2}.',
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A span of time such as 90s, 10m or 1.5h in seconds; a number alone means seconds.

    Raises:
        UsageError: it is none, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or float(found[1]) <= 0:
        raise UsageError(f"a time limit is a number with s, m or h, such as 10m. Received: {text}")
    return float(found[1]) * _UNITS[found[2] or "s"]
