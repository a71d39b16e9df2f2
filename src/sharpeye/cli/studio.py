"""`sharpeye studio`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.serve.server import ServerOptions
from sharpeye.studio.launch import run_studio

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Host = Annotated[
    str, typer.Option(help="A host beyond this machine, such as 0.0.0.0, needs a token.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="SHARPEYE_TOKEN",
        show_envvar=False,
        help="Part of the address to open [$SHARPEYE_TOKEN; else generated if it is needed].",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")]
PORT = 8080


@app.command()
def studio(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Pictures, one folder per class; created if missing."),
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
    server = ServerOptions(host, port, token or None)
    run_studio(folder, server, lambda url: print_address(folder, url, open_))


def print_address(folder: Path, url: str, open_: bool) -> None:
    """Print where the studio is, and open it if that was asked."""
    print(f"studio of {console.show(str(folder))} at {url}", flush=True)
    if open_:
        webbrowser.open(url)
