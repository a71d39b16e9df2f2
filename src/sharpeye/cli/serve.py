"""`sharpeye serve`."""

import sys
from dataclasses import replace
from typing import Annotated

from typer import Option, Typer

from sharpeye.cli import console, options
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import ServerOptions
from sharpeye.serve.server import serve as run_server

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    model: options.ModelArgument,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    name: Annotated[str | None, Option(help="Name in URLs [the model's folder's].")] = None,
    token: options.Token = None,
    allow_origin: Annotated[
        list[str] | None, Option(metavar="URL", help="Allow requests from its pages; * is all.")
    ] = None,
    max_mb: Annotated[int, Option(min=1, max=1024, help="MiB a request.")] = 32,
    max_pictures: Annotated[int, Option(min=1, max=10_000, help="Images a request.")] = 64,
    timeout: Annotated[str, Option(metavar="TIME", help="Time a request: 30s, 2m.")] = "30s",
    workers: Annotated[
        int | None, Option(min=1, max=256, help="Concurrent images [one a core].")
    ] = None,
    max_megapixels: Annotated[float | None, options.max_megapixels("64")] = None,
    max_decode_memory: Annotated[int | None, options.max_decode_memory("250")] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve a model over HTTP until Ctrl-C or SIGTERM; running requests finish, exit code 0."""
    console.start_logging(quiet=quiet, verbose=verbose)
    limits = replace(
        REQUEST_LIMITS,
        body_bytes=max_mb * 2**20,
        images=max_pictures,
        seconds=options.parse_seconds(timeout),
    )

    def ready(model_name: str, address: str, generated_token: str | None) -> None:
        print(f"serving {model_name} at {address}", flush=True)
        if generated_token is not None:
            header = f"Authorization: Bearer {generated_token}"
            print(f"token made: {header}", file=sys.stderr, flush=True)

    origins = tuple(origin.rstrip("/").lower() for origin in allow_origin or ())
    server_options = ServerOptions(host, port, token or None, origins)
    run_server(model, server_options, ready, name=name, limits=limits, workers=workers or 0)
