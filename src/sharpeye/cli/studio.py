"""`sharpeye studio`."""

import webbrowser
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.serve.server import ServerOptions
from sharpeye.studio.launch import run_studio

app = Typer(add_completion=False, rich_markup_mode=None)

Open = Annotated[bool, Option("--open", help="Open the page in this machine's browser.")]
PORT = 8080


@app.command()
def studio(
    folder: Annotated[
        Path, Argument(metavar="DIR", help="Images, one folder a class; created if missing.")
    ] = Path("pictures"),
    host: options.Host = "127.0.0.1",
    port: options.Port = PORT,
    token: options.Token = None,
    open_: Open = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Collect, label, train, understand and try in a browser, until Ctrl-C or SIGTERM."""
    console.start_logging(quiet=quiet, verbose=verbose)
    server = ServerOptions(host, port, token or None)
    run_studio(folder, server, lambda url: print_address(folder, url, open_))


def print_address(folder: Path, url: str, open_: bool) -> None:
    """Print the studio's URL, and open it in the browser if `open_`."""
    print(f"studio of {console.show(str(folder))} at {url}", flush=True)
    if open_:
        webbrowser.open(url)
