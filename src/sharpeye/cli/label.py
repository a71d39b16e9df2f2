"""`sharpeye label`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.cli.studio import PORT, Open, print_address
from sharpeye.errors import UsageError
from sharpeye.serve.server import ServerOptions
from sharpeye.studio.launch import run_studio

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def label(
    folder: Annotated[Path, Argument(metavar="DIR", help="Folder of images.")],
    suggest: Annotated[
        Path | None, Option(metavar="RUN", help="A run or a model that proposes boxes and classes.")
    ] = None,
    host: options.Host = "127.0.0.1",
    port: options.Port = PORT,
    token: options.Token = None,
    open_: Open = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw boxes around objects, or sort images into classes, in a browser."""
    console.start_logging(quiet=quiet, verbose=verbose)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give a folder of images")
    if suggest is not None and not suggest.exists():
        raise UsageError(f"{suggest} is not there; give a run directory, or leave --suggest out")
    run_studio(
        folder,
        ServerOptions(host, port, token or None),
        lambda url: print_address(folder, url, open_),
        start_at="/label",
        suggest=suggest,
    )
