"""`sharpeye train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sharpeye.cli import console, options
from sharpeye.core.config import Config, load_toml, parse_settings
from sharpeye.core.recipes import find_config, list_recipes
from sharpeye.errors import UsageError

_RECIPES = ", ".join(list_recipes())

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Pictures: one sub-folder a class, or train/ val/ test/ with these inside; "
            "to localize: with Pascal VOC files.",
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Add DIR to the pictures of an earlier run, and compare with it.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A name that `sharpeye models` lists.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classify: what a picture shows, or localize: also where.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet or a FILE: learn a head on a frozen network; none: learn all of it.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the pictures, training from scratch.", show_default=False),
    ] = None,
    fine_tune: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="After the head, train the pretrained network for N epochs; kept if it helps.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(help="weights, undersample, oversample or none.", show_default=False),
    ] = None,
    label_from: Annotated[
        str | None,
        typer.Option(
            help="What names the class: auto, xml, folder, or prefix (up to the first _).",
            show_default=False,
        ),
    ] = None,
    box_choice: Annotated[
        str | None,
        typer.Option(
            help="Of several objects in a picture: largest, or single-only to leave it out.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Run as many epochs as fit into it: 90s, 10m, 1.5h.",
            show_default=False,
        ),
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
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of known pictures that is not to be called unknown [0.95].",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Salts the split and the folds.", show_default=False)
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(help="End with exit code 9 below this test accuracy.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --output.")
    ] = False,
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
        Path | None, typer.Option(help=f"A TOML file, such as a run's, or a recipe: {_RECIPES}.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other knob, such as split.test=0.2."),
    ] = None,
    progress_form: options.ProgressForm = "auto",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a classifier or a localizer on a folder of pictures."""
    console.start_logging(quiet=quiet, verbose=verbose)
    flags: dict[str, Any] = {
        "task": task,
        "model.name": model,
        "model.weights": weights,
        "train.epochs": epochs,
        "train.time_limit": None if time_limit is None else options.seconds(time_limit),
        "finetune.epochs": fine_tune,
        "data.balance": balance,
        "data.label_from": label_from,
        "data.box_choice": box_choice,
        "head.views": views,
        "unknown.coverage": coverage,
        "seed": seed,
        "data.strict": strict or None,
        "data.drop_small": drop_small or None,
        "data.follow_links": follow_links or None,
    }
    given = parse_settings(settings or ()) | {k: v for k, v in flags.items() if v is not None}
    if add and not data:
        raise UsageError(
            f"which pictures are added? Give their folder: sharpeye train --add {add} DIR"
        )
    base = _earlier(add) if add else Config()
    resolved = (load_toml(find_config(config), base) if config else base).replace(given)
    if data and not add:
        resolved = resolved.on_folder(str(data))
    if resume and not config:
        resolved = _begun(output, resolved).replace(given)
    folder = str(data) if data else resolved.data.folder
    if not folder:
        raise UsageError("which pictures? Give their folder: sharpeye train DIR")

    from sharpeye.jobs.train import train as job

    with console.Progress(quiet=quiet, form=progress_form) as progress:
        run = job.train(
            folder,
            add=add,
            output=output,
            config=resolved,
            min_accuracy=min_accuracy,
            resume=resume,
            progress=progress,
        )
    for name, value in job.summary(run).items():
        print(f"{name + ':':10}{console.show(value)}")


def _earlier(run: Path) -> Config:
    """The configuration of the run that is added to."""
    from sharpeye.jobs.train.extend import run_config
    from sharpeye.runs.run_directory import Run

    return run_config(Run(run))


def _begun(output: Path | None, wanted: Config) -> Config:
    """The configuration of the run that is to be gone on with; `wanted` if there is none."""
    from sharpeye.jobs.train.train import run_folder
    from sharpeye.runs import layout

    file = run_folder(output, wanted) / layout.CONFIG
    return load_toml(file) if file.is_file() else wanted
