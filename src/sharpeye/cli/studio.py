"""`sharpeye studio`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.serve.server import ServerOptions
from sharpeye.studio.server import run_studio

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Host = Annotated[str, typer.Option(help="Beyond this machine, such as 0.0.0.0, a token is needed.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="SHARPEYE_TOKEN",
        show_envvar=False,
        help="The address to open has it [$SHARPEYE_TOKEN; else one is made where it is needed].",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")]
PORT = 8080


@app.command()
def studio(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Of pictures, a folder a class; made if need be."),
    ] = Path("pictures"),
    host: Host = "127.0.0.1",
    port: Port = PORT,
    token: Token = None,
    open_: Open = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Collect, label, train, understand and try in a browser, until Ctrl-C or SIGTERM."""
    console.start_logging(quiet=quiet, verbose=verbose)
    place = ServerOptions(host, port, token or None)
    run_studio(folder, place, lambda address: greet(folder, address, open_))


def greet(folder: Path, address: str, open_: bool) -> None:
    """Say where the studio is."""
    print(f"studio of {console.show(str(folder))} at {address}", flush=True)
    if open_:
        webbrowser.open(address)
