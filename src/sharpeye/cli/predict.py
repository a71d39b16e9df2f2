"""`sharpeye predict`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import options
from sharpeye.errors import DataError
from sharpeye.predict.predictor import Unreadable, find_pictures, load
from sharpeye.predict.writers import WRITERS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Format(StrEnum):
    """How answers are written."""

    text = "text"
    jsonl = "jsonl"
    csv = "csv"


@app.command()
def predict(
    model: options.ModelArgument,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    form: Annotated[Format, typer.Option("--format", help="text, jsonl or csv.")] = Format.text,
) -> None:
    """Say what is in pictures."""
    opened = load(model)
    write = WRITERS[form.value](sys.stdout)
    answered, failed = 0, 0
    for answer in opened.predict_files(find_pictures(paths), top):
        write(answer)
        answered += 1
        failed += isinstance(answer, Unreadable)
    if not answered:
        raise DataError(f"no pictures in {', '.join(map(str, paths))}; give pictures, or folders")
    if failed:
        raise DataError(f"{failed} of {answered} files could not be read; the others are answered")
