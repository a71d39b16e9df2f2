"""`sharpeye sample`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console
from sharpeye.collect.samples import list_samples, write_sample

app = Typer(add_completion=False, rich_markup_mode=None)

_NAMES = "; ".join(f"{name}: {text}" for name, text in list_samples().items())


@app.command()
def sample(
    name: Annotated[str, Argument(metavar="NAME", help=_NAMES)],
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to write it.")],
    seed: Annotated[int, Option(help="For drawn samples.")] = 0,
) -> None:
    """Write a sample data set as a folder of images; nothing is downloaded."""
    count = write_sample(name, folder, seed=seed)
    print(f"{count} images in {console.show(str(folder))}")
    console.print_next("sharpeye", "train", folder)
