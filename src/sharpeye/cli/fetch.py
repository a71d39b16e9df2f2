"""`sharpeye fetch`."""

import re
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.collect.datasets import (
    RemoteFile,
    fetch_archive,
    fetch_files,
    get_dataset,
    list_datasets,
)
from sharpeye.data.image_folder import scan_folder
from sharpeye.errors import UsageError

app = Typer(add_completion=False, rich_markup_mode=None)

_NAMES = "; ".join(
    f"{dataset.name}: {dataset.description}, {dataset.images:,} in {dataset.classes} classes, "
    f"{dataset.size / 1e6:.0f} MB, {dataset.licence}"
    for dataset in list_datasets()
)


@app.command()
def fetch(
    source: Annotated[
        str, Argument(metavar="NAME|URL", help=f"{_NAMES}; or the URL of a zip or tar.")
    ],
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to put it.")],
    sha256: Annotated[str | None, Option(metavar="HEX", help="Digest of URL's archive.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Download a data set as a folder to train on.

    What breaks off goes on when the same command is run again. What was downloaded is kept in the
    cache only until the folder is there.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", sha256):
        raise UsageError(f"--sha256 takes 64 hexadecimal digits. Received: {sha256}")
    dataset = get_dataset(source) if "://" not in source else None
    if dataset and sha256 is not None:
        raise UsageError(f"--sha256 goes with a URL; the digest of {source} is known")
    console.start_logging(quiet=quiet)
    with console.ProgressReporter(quiet=quiet) as progress:
        if dataset and dataset.class_names:
            fetch_files(dataset.files, dataset.class_names, folder, progress=progress)
        else:
            (archive,) = dataset.files if dataset else (RemoteFile(source, sha256),)
            fetch_archive(archive, folder, progress)
    shown = console.show(str(folder))
    samples = scan_folder(folder)
    console.print_result(f"{len(samples)} images in {len(samples.class_names)} classes in {shown}")
    if dataset:
        console.print_result(f"licence: {dataset.licence}")
    console.print_next("sharpeye", "train", folder)
