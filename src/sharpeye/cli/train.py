"""`sharpeye train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sharpeye.cli import console, options
from sharpeye.config import Config, load_toml, parse_settings
from sharpeye.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Pictures: one sub-folder a class, or train/ val/ test/ with these inside.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A name that `sharpeye models` lists.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="imagenet, or none for random ones.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The run directory [runs/<data>-<model>].", show_default=False
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Views of each training picture: flips, crops.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Salts the split and the folds.", show_default=False)
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(help="End with exit code 9 below this test accuracy.", show_default=False),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A file that cannot be read ends the run.")
    ] = False,
    drop_small: Annotated[
        bool, typer.Option("--drop-small", help="Leave out classes that are too small.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that lead out of DIR.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file, such as a run's config.toml.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other knob, such as split.test=0.2."),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a classifier on a folder of pictures."""
    console.start_logging(quiet=quiet, verbose=verbose)
    flags: dict[str, Any] = {
        "model.name": model,
        "model.weights": weights,
        "head.views": views,
        "seed": seed,
        "data.strict": strict or None,
        "data.drop_small": drop_small or None,
        "data.follow_links": follow_links or None,
    }
    resolved = load_toml(config) if config else Config()
    resolved = resolved.replace(parse_settings(settings or ()))
    resolved = resolved.replace({k: v for k, v in flags.items() if v is not None})
    folder = str(data) if data else resolved.data.folder
    if not folder:
        raise UsageError("which pictures? Give their folder: sharpeye train DIR")

    from sharpeye.jobs import train as job

    with console.Progress(quiet=quiet) as progress:
        run = job.train(
            folder,
            output=output,
            config=resolved,
            min_accuracy=min_accuracy,
            progress=progress,
        )
    for name, value in job.summary(run).items():
        print(f"{name + ':':10}{console.show(value)}")
