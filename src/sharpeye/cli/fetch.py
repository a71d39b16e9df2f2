"""`sharpeye fetch`."""

import hashlib
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from sharpeye.cli import console, options
from sharpeye.collect.archives import extract_archive
from sharpeye.collect.datasets import get_dataset, list_datasets
from sharpeye.collect.download import downloaded
from sharpeye.collect.new_folder import require_free
from sharpeye.data.image_folder import scan_folder
from sharpeye.errors import ModelError, UsageError
from sharpeye.storage import cache_root

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_NAMES = "; ".join(
    f"{known.name}: {known.about}, {known.pictures:,} in {known.classes} classes, "
    f"{known.bytes / 1e6:.0f} MB, {known.licence}"
    for known in list_datasets()
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
        Path, typer.Argument(metavar="DIR", help="Where to unpack it.", show_default=False)
    ],
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="The digest that the archive at URL must have.", show_default=False
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Download a data set and unpack it as a folder of pictures.

    What breaks off goes on when the same command is run again. The archive itself is kept in the
    cache only until it is unpacked.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", sha256):
        raise UsageError(f"--sha256 takes 64 hexadecimal digits. Received: {sha256}")
    url, size, licence = source, None, None
    if "://" not in source:
        known = get_dataset(source)
        if sha256 is not None:
            raise UsageError(f"--sha256 goes with a URL; the digest of {source} is known")
        url, sha256, size, licence = known.url, known.sha256, known.bytes, known.licence
    require_free(folder)  # before anything comes
    with (
        console.Progress(quiet=quiet) as progress,
        downloaded(url, _place_in_cache(url), sha256, size, progress) as archive,
    ):
        try:
            extract_archive(archive, folder)
        except ModelError:
            archive.unlink()
            raise
        archive.unlink()
    shown = console.show(str(folder))
    found = scan_folder(folder)
    print(f"{len(found)} pictures in {len(found.labels)} classes in {shown}")
    if licence:
        print(f"licence: {licence}")
    print(f"next: sharpeye train {shown}")


def _place_in_cache(url: str) -> Path:
    """Where the archive of a URL lies until it is unpacked; no two share a place."""
    name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-80:]
    return cache_root() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
