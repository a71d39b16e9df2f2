"""`sharpeye serve`."""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import ServerOptions
from sharpeye.serve.server import serve as run_server

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    model: options.ModelArgument,
    host: Annotated[
        str, typer.Option(help="Beyond this machine, such as 0.0.0.0, a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="The model's, in addresses [its folder's].")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SHARPEYE_TOKEN",
            show_envvar=False,
            help="Requests must carry it [$SHARPEYE_TOKEN; else one is made where it is needed].",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Web pages from there may ask, too; * is all."),
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=1024, help="MiB a request.")] = 32,
    max_pictures: Annotated[int, typer.Option(min=1, max=10_000, help="In a request.")] = 64,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="For a request: 30s, 2m.")] = "30s",
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Pictures at once [one a core].")
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve a model over HTTP until Ctrl-C or SIGTERM; what runs is finished, exit code 0."""
    console.start_logging(quiet=quiet, verbose=verbose)
    limits = replace(
        REQUEST_LIMITS,
        body_bytes=max_mb * 2**20,
        images=max_pictures,
        seconds=options.seconds(timeout),
    )

    def ready(served: str, address: str, made: str | None) -> None:
        print(f"serving {served} at {address}", flush=True)
        if made is not None:
            print(f"token made: Authorization: Bearer {made}", file=sys.stderr, flush=True)

    origins = tuple(origin.rstrip("/").lower() for origin in allow_origin or ())
    place = ServerOptions(host, port, token or None, origins)
    run_server(model, place, ready, name=name, limits=limits, workers=workers or 0)
