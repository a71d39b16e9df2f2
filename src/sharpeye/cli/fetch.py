"""`sharpeye fetch`."""

import re
from pathlib import Path
from typing import Annotated

import typer

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

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_NAMES = "; ".join(
    f"{dataset.name}: {dataset.description}, {dataset.images:,} in {dataset.classes} classes, "
    f"{dataset.size / 1e6:.0f} MB, {dataset.licence}"
    for dataset in list_datasets()
)


@app.command()
def fetch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|URL", help=f"{_NAMES}; or the URL of a zip or tar.", show_default=False
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to put it.", show_default=False)
    ],
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="The digest that the archive at URL must have.", show_default=False
        ),
    ] = None,
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
    with console.ProgressReporter(quiet=quiet) as progress:
        if dataset and dataset.class_names:
            fetch_files(dataset.files, dataset.class_names, folder, progress=progress)
        else:
            (archive,) = dataset.files if dataset else (RemoteFile(source, sha256),)
            fetch_archive(archive, folder, progress)
    shown = console.show(str(folder))
    samples = scan_folder(folder)
    print(f"{len(samples)} pictures in {len(samples.class_names)} classes in {shown}")
    if dataset:
        print(f"licence: {dataset.licence}")
    print(f"next: sharpeye train {shown}")
