"""`sharpeye augment`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.errors import DataError
from sharpeye.jobs.augment_folder import augment_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MAX_LISTED = 20


@app.command()
def augment(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of pictures, all with a Pascal VOC file (1.xml beside 1.jpg) or none.",
        ),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="Write the copies here, outside of DIR.")
    ],
    random: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            metavar="N",
            help="Write N random copies of each picture instead of the eight: flip, shift, zoom, "
            "rotation, colours and noise. The picture itself is not copied.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the noise and the random copies.")] = 0,
    quiet: options.Quiet = False,
) -> None:
    """Write augmented copies of pictures, with their boxes, into a new folder.

    Eight copies of each picture: as it is, mirrored left to right (_y), upside down (_x), both
    (_y_x), and each of these with noise (_noised). The noise adds 0 to 2 standard deviations of the
    picture's grey levels, so it makes the picture brighter. The names are NAME_nohash_y_x.jpg: a
    split keeps all copies of one NAME together. DIR is not changed, and a second run changes
    nothing.
    """
    with console.ProgressReporter(quiet=quiet) as progress:
        result = augment_folder(source, target, random=random, seed=seed, progress=progress)
    for rejected in result.failed[:_MAX_LISTED]:
        print(f"{console.show(rejected.path)}: {console.show(rejected.reason)}", file=sys.stderr)
    if len(result.failed) > _MAX_LISTED:
        print(f"... and {len(result.failed) - _MAX_LISTED} more", file=sys.stderr)
    noun = "pictures with their annotations" if result.annotated else "pictures"
    output = console.show(str(target))
    print(f"{result.images} {noun} of {result.sources} in {output}, {result.written} of them new")
    if result.skipped:
        print(f"left out: {result.skipped} pictures whose names end as this command's do")
    print(f"next: sharpeye train {output}{' --task localize' if result.annotated else ''}")
    if result.failed:
        raise DataError(f"{len(result.failed)} files could not be used; the others are done")
