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
            help="A folder of images with one sub-folder a class, or with train/ val/ test/ above "
            "these; to localize, with Pascal VOC files.",
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Extend an earlier run by DIR, and compare with it.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A name that `sharpeye models` lists.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classify: the class of an image, or localize: also its box.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet or a FILE: fit a head on a frozen network; none: train from scratch.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the images, from scratch.", show_default=False),
    ] = None,
    fine_tune: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Then train the pretrained network for N epochs; kept if it is better.",
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
            help="Where the class is read: auto, xml, folder, or prefix (up to the first _).",
            show_default=False,
        ),
    ] = None,
    box_choice: Annotated[
        str | None,
        typer.Option(
            help="With several objects in an image: largest, or single-only to leave it out.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Run as many epochs as fit: 90s, 10m, 1.5h.",
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
        typer.Option(help="Views of each training image: flips, crops.", show_default=False),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="In-distribution coverage of the unknown detector [0.95].",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The seed of the split and of every random choice.", show_default=False),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(help="End with exit code 9 below this test accuracy.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished run in --output.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End if a file cannot be read.")] = False,
    drop_small: Annotated[
        bool, typer.Option("--drop-small", help="Leave out classes with too few images.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that lead out of DIR.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help=f"A TOML file, such as a run's config.toml, or a recipe: {_RECIPES}."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other knob, such as split.test=0.2."),
    ] = None,
    progress_form: options.ProgressForm = "auto",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a classifier or a localizer on a folder of images."""
    console.start_logging(quiet=quiet, verbose=verbose)
    options_by_key: dict[str, Any] = {
        "task": task,
        "model.name": model,
        "model.weights": weights,
        "train.epochs": epochs,
        "train.time_limit": None if time_limit is None else options.parse_seconds(time_limit),
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
    changes = parse_settings(settings or ())
    changes |= {key: value for key, value in options_by_key.items() if value is not None}
    if add and not data:
        raise UsageError(
            f"which pictures are added? Give their folder: sharpeye train --add {add} DIR"
        )
    base = _extended_config(add) if add else Config()
    resolved = (load_toml(find_config(config), base) if config else base).replace(changes)
    if data and not add:
        resolved = resolved.on_folder(str(data))
    if resume and not config:
        resolved = _unfinished_config(output, resolved).replace(changes)
    folder = str(data) if data else resolved.data.folder
    if not folder:
        raise UsageError("which pictures? Give their folder: sharpeye train DIR")

    from sharpeye.jobs.train.results import summary
    from sharpeye.jobs.train.train import train as run_training

    with console.ProgressReporter(quiet=quiet, form=progress_form) as progress:
        run = run_training(
            folder,
            add=add,
            output=output,
            config=resolved,
            min_accuracy=min_accuracy,
            resume=resume,
            progress=progress,
        )
    for name, value in summary(run).items():
        print(f"{name + ':':10}{console.show(value)}")


def _extended_config(run: Path) -> Config:
    """The configuration of the run that is extended."""
    from sharpeye.jobs.train.extend import require_complete
    from sharpeye.runs.run_directory import Run

    require_complete(Run(run))
    return Run(run).config


def _unfinished_config(output: Path | None, requested: Config) -> Config:
    """The configuration of the run to resume; `requested` if there is none."""
    from sharpeye.jobs.train.train import run_folder
    from sharpeye.runs import layout

    file = run_folder(output, requested) / layout.CONFIG
    return load_toml(file) if file.is_file() else requested
