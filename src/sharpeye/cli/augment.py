"""`sharpeye augment`."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.core.formatting import counted
from sharpeye.errors import DataError
from sharpeye.jobs.augment_folder import augment_folder

app = Typer(add_completion=False, rich_markup_mode=None)

_MAX_LISTED = 20


@app.command()
def augment(
    source: Annotated[
        Path, Argument(metavar="DIR", help="Folder of images, all with a Pascal VOC file or none.")
    ],
    target: Annotated[Path, Argument(metavar="OUT", help="Write the copies here, outside of DIR.")],
    random: Annotated[
        int, Option(min=0, max=1000, metavar="N", help="N random copies of each instead of eight.")
    ] = 0,
    seed: Annotated[int, Option(help="Seed of the noise and the random copies.")] = 0,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Write augmented copies of images, with their boxes, into a new folder.

    Eight copies of each image: as it is, mirrored left to right (_y), upside down (_x), both
    (_y_x), and each of these with noise (_noised). The noise adds 0 to 2 standard deviations of the
    image's grey levels, so it makes the image brighter. Random copies are flipped, shifted, zoomed,
    rotated, recoloured and noisy; the image itself is not copied. A rotated box becomes the box
    around the ellipse that fills it, which cuts the corners of rectangular objects. The names are
    NAME_nohash_y_x.jpg: a split keeps all copies of one NAME together. DIR is not changed, and a
    second run changes nothing.
    """
    console.start_logging(quiet=quiet)
    with console.ProgressReporter(quiet=quiet) as progress:
        result = augment_folder(source, target, random=random, seed=seed, progress=progress)
    for rejected in result.failed[:_MAX_LISTED]:
        print(f"{console.show(rejected.path)}: {console.show(rejected.reason)}", file=sys.stderr)
    if len(result.failed) > _MAX_LISTED:
        print(f"... and {len(result.failed) - _MAX_LISTED} more", file=sys.stderr)
    images = counted(result.images, "image")
    annotated = " with their annotations" if result.annotated else ""
    output = console.show(str(target))
    console.print_result(
        f"{images}{annotated} of {result.sources} in {output}, {result.written} of them new"
    )
    if result.skipped:
        console.print_result(
            f"left out: {result.skipped} images whose names end as this command's do"
        )
    task = ("--task", "localize") if result.annotated else ()
    console.print_next("sharpeye", "train", target, *task)
    if result.failed:
        raise DataError(
            f"{counted(len(result.failed), 'file')} could not be used; the others are done"
        )
