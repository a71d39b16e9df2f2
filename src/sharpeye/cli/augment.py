"""`sharpeye augment`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.errors import DataError
from sharpeye.jobs.augment import augment_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MAX_TOLD = 20


@app.command()
def augment(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Pictures, with a Pascal VOC file each (1.xml beside 1.jpg), or with none at all.",
            show_default=False,
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Where to write, outside of DIR.", show_default=False),
    ],
    random: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            metavar="N",
            help="Instead of the eight, N random ones of each: flip, shift, zoom, rotation, "
            "colours and noise. The pictures as they are do not come along.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Another one gives other noise.")] = 0,
    quiet: options.Quiet = False,
) -> None:
    """Write changed copies of pictures, with their boxes, into a new folder.

    Of each picture eight: as it is, left to right (_y), upside down (_x) and both (_y_x), and each
    of these once more with noise (_noised), which adds 0 to 2 deviations of the picture's grey
    levels and so makes it brighter. They are called NAME_nohash_y_x.jpg: a split keeps all of one
    NAME together. DIR is not changed. A second run changes nothing.
    """
    with console.Progress(quiet=quiet) as progress:
        made = augment_folder(source, target, random=random, seed=seed, tell=progress)
    for one in made.failed[:_MAX_TOLD]:
        print(f"{console.show(one.path)}: {console.show(one.reason)}", file=sys.stderr)
    if len(made.failed) > _MAX_TOLD:
        print(f"... and {len(made.failed) - _MAX_TOLD} more", file=sys.stderr)
    kind = "pictures with their annotations" if made.annotated else "pictures"
    shown = console.show(str(target))
    print(f"{made.images} {kind} of {made.sources} in {shown}, {made.written} of them new")
    if made.skipped:
        print(f"left out: {made.skipped} pictures whose names end as this command's do")
    print(f"next: sharpeye train {shown}{' --task localize' if made.annotated else ''}")
    if made.failed:
        raise DataError(f"{len(made.failed)} files could not be used; the others are done")
