"""`sharpeye train`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.cli.signals import Signalled
from sharpeye.core.config import Config, load_toml, parse_settings
from sharpeye.core.config_paths import locate, on_folder, with_typed_paths
from sharpeye.core.paths import command_line
from sharpeye.core.recipes import find_config
from sharpeye.errors import Stopped, UsageError

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    data: Annotated[
        Path | None,
        Argument(
            metavar="DIR",
            help="Folder with one sub-folder of images a class, or with train/ val/ test/ above "
            "these; to localize, with Pascal VOC files.",
        ),
    ] = None,
    add: Annotated[
        Path | None, Option(metavar="RUN", help="Extend a run by DIR, and compare with it.")
    ] = None,
    model: Annotated[str | None, Option(help="A name that `sharpeye models` lists.")] = None,
    task: Annotated[str | None, Option(help="classify, or localize: also find the box.")] = None,
    weights: Annotated[
        str | None, Option(help="imagenet or a FILE: fit a head on it; none: train from scratch.")
    ] = None,
    epochs: Annotated[int | None, Option(help="Passes over the images, from scratch.")] = None,
    fine_tune: Annotated[
        int | None, Option(metavar="N", help="Then N epochs of the whole network; kept if better.")
    ] = None,
    balance: Annotated[str | None, Option(help="weights, undersample, oversample or none.")] = None,
    label_from: Annotated[
        str | None, Option(help="Source of the class: auto, xml, folder or prefix (up to _).")
    ] = None,
    splits: options.Splits = None,
    box_choice: Annotated[
        str | None, Option(help="Of several objects: largest, or single-only: leave the image out.")
    ] = None,
    time_limit: Annotated[
        str | None, Option(metavar="TIME", help="Run as many epochs as fit: 90s, 10m, 1.5h.")
    ] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="The run directory [runs/<data>-<model>].")
    ] = None,
    views: Annotated[int | None, Option(help="Views of each training image: flips, crops.")] = None,
    coverage: Annotated[
        float | None, Option(help="In-distribution coverage of the unknown detector [0.95].")
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of the split and of all random choices.")] = None,
    min_accuracy: Annotated[float | None, Option(help="Exit code 9 below this accuracy.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the run in --output.")] = False,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the run in --output when this one is complete.")
    ] = False,
    strict: Annotated[bool, Option("--strict", help="End if a file cannot be read.")] = False,
    drop_small: Annotated[bool, Option("--drop-small", help="Leave out small classes.")] = False,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow links that lead out of DIR.")
    ] = False,
    config: options.Config = None,
    settings: options.Settings = None,
    progress_form: options.ProgressForm = "auto",
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
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
        "data.splits": options.parse_list(splits),
        "data.box_choice": box_choice,
        "head.views": views,
        "unknown.coverage": coverage,
        "seed": seed,
        "images.max_megapixels": max_megapixels,
        "images.max_decode_memory": max_decode_memory,
        "data.strict": strict or None,
        "data.drop_small": drop_small or None,
        "data.follow_links": follow_links or None,
    }
    changes = parse_settings(settings or ())
    changes |= {key: value for key, value in options_by_key.items() if value is not None}
    if add and not data:
        raise UsageError(
            "which images are added? Give their folder: "
            f"{command_line('sharpeye', 'train', '--add', add, 'DIR')}"
        )
    base = _extended_config(add) if add else Config()
    base = load_toml(find_config(config), base) if config else base
    resolved = with_typed_paths(base, changes)
    if data and not add:
        resolved = on_folder(resolved, str(data))
    if resume and not config:
        resolved = with_typed_paths(_unfinished_config(output, resolved), changes)
    if not data and not resolved.data.folder:
        raise UsageError("which images? Give their folder: sharpeye train DIR")
    folder = data or locate(resolved, resolved.data.folder)

    from sharpeye.jobs.train.results import summary
    from sharpeye.jobs.train.train import train as run_training

    with (
        _advice_when_stopped(output, resolved),
        console.ProgressReporter(quiet=quiet, form=progress_form) as progress,
    ):
        run = run_training(
            folder,
            add=add,
            output=output,
            config=resolved,
            min_accuracy=min_accuracy,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    for name, value in summary(run).items():
        print(f"{name + ':':10}{console.show(value)}")


@contextlib.contextmanager
def _advice_when_stopped(output: Path | None, config: Config) -> Iterator[None]:
    """After a signal, name the command that continues: --resume only if there is a checkpoint."""
    try:
        yield
    except Signalled as signalled:
        from sharpeye.jobs.train.train import run_folder
        from sharpeye.runs import layout

        folder = run_folder(output, config)
        if not (folder / layout.CHECKPOINTS).is_dir():
            raise
        command = command_line("sharpeye", "train", "--resume", "--output", folder)
        raise Stopped(signalled.number, f"its checkpoint is kept; go on with: {command}") from None


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
