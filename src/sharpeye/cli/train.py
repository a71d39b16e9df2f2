"""`sharpeye train`."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.cli.signals import Signalled
from sharpeye.core.config import Config, load_toml, parse_settings
from sharpeye.core.config_paths import locate, on_folder, with_typed_paths
from sharpeye.core.own_code import allow_own_code
from sharpeye.core.paths import command_line
from sharpeye.core.progress import StageProgress
from sharpeye.core.recipes import load_configs
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
    model: Annotated[
        str | None,
        Option(metavar="MODEL", help="A name that `sharpeye models` lists, or FILE.py:FUNCTION."),
    ] = None,
    augment: Annotated[
        str | None,
        Option(metavar="FILE.py:FUNCTION", help="Own code that changes training images."),
    ] = None,
    task: Annotated[str | None, Option(help="classify, or localize: also find the box.")] = None,
    weights: Annotated[
        str | None,
        Option(
            metavar="WEIGHTS",
            help="imagenet or a FILE: fit a head on it; none: train from scratch; a RUN, or its "
            "model.keras: train on from its weights.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        Option(metavar="RUN", help="From scratch: learn the answers of a run (distillation)."),
    ] = None,
    epochs: Annotated[int | None, Option(help="Passes over the images, from scratch.")] = None,
    batch_size: Annotated[
        int | None, Option(metavar="N", help="Images a step, from scratch or of --fine-tune.")
    ] = None,
    learning_rate: Annotated[
        float | None, Option(metavar="RATE", help="The peak, from scratch or of --fine-tune.")
    ] = None,
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
    keep_checkpoints: Annotated[
        int | None, Option(metavar="N", help="Keep N checkpoints, and the last epoch's model.")
    ] = None,
    folds: Annotated[
        int, Option(metavar="K", help="Cross-validation: K runs, each image is tested once.")
    ] = 1,
    repeats: Annotated[
        int, Option(metavar="N", help="N runs with other seeds on the same split.")
    ] = 1,
    find_lr: Annotated[
        Path | None,
        Option(metavar="FILE.svg", help="Train nothing: test learning rates, draw their losses."),
    ] = None,
    preview_augmentation: Annotated[
        Path | None,
        Option(metavar="FILE.png", help="Train nothing: draw images as [augment] changes them."),
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
    track: Annotated[
        str | None,
        Option(metavar="NAME", help="Tell mlflow, wandb or trackio of the epochs and scores."),
    ] = None,
    resume: Annotated[
        bool,
        Option("--resume", help="Continue the run in --output; a finished one by more --epochs."),
    ] = False,
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
    section = "train" if fine_tune is None else "finetune"
    options_by_key: dict[str, Any] = {
        "task": task,
        "model.name": model,
        "augment.function": augment,
        "model.weights": weights,
        "distill.teacher": teacher,
        "train.epochs": epochs,
        "train.time_limit": None if time_limit is None else options.parse_seconds(time_limit),
        f"{section}.batch_size": batch_size,
        f"{section}.learning_rate": learning_rate,
        "train.keep_checkpoints": keep_checkpoints,
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
    changes |= allow_own_code(changes)
    if add and not data:
        raise UsageError(
            "which images are added? Give their folder: "
            f"{command_line('sharpeye', 'train', '--add', add, 'DIR')}"
        )
    base = _extended_config(add) if add else Config()
    base = load_configs(config or (), base)
    resolved = with_typed_paths(base, changes)
    if data and not add:
        resolved = on_folder(resolved, str(data))
    if resume and not config:
        resolved = with_typed_paths(_unfinished_config(output, resolved), changes)
    if not data and not resolved.data.folder:
        raise UsageError("which images? Give their folder: sharpeye train DIR")
    folder = data or locate(resolved, resolved.data.folder)
    if find_lr or preview_augmentation:
        with console.ProgressReporter(quiet=quiet, form=progress_form) as progress:
            if find_lr:
                _find_learning_rate(resolved, find_lr, progress)
            if preview_augmentation:
                _preview_augmentation(resolved, preview_augmentation, progress)
        return

    if folds != 1 or repeats != 1:
        if add or resume or overwrite or min_accuracy is not None:
            raise UsageError(
                "--folds and --repeats make runs of their own, and go on with them when they are "
                "called again: leave --add, --resume, --overwrite and --min-accuracy out"
            )
        with console.ProgressReporter(quiet=quiet, form=progress_form) as progress:
            _train_repeatedly(
                folder,
                folds,
                repeats,
                output=output,
                config=resolved,
                progress=progress,
                track=track,
            )
        return

    from sharpeye.jobs.train.results import summary
    from sharpeye.jobs.train.train import train as run_training

    with (
        _advice_when_stopped(),
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
            track=track,
        )
    _print_summary(summary(run))


def _print_summary(lines: Mapping[str, str]) -> None:
    for name, value in lines.items():
        console.print_result(f"{name + ':':10}{console.show(value)}")


def _train_repeatedly(data: Path, folds: int, repeats: int, **options: Any) -> None:
    from sharpeye.jobs.train.repeated import summary, train_repeatedly

    result = train_repeatedly(data, folds=folds, repeats=repeats, **options)
    _print_summary(summary(result))


def _find_learning_rate(config: Config, file: Path, progress: StageProgress) -> None:
    from sharpeye.jobs.train.find_learning_rate import find_learning_rate

    result = find_learning_rate(config, file, progress=progress)
    console.print_result(f"suggested: --learning-rate {result.suggested:.2g}")
    console.print_result(f"picture:   {console.show(str(file))}")


def _preview_augmentation(config: Config, file: Path, progress: StageProgress) -> None:
    from sharpeye.jobs.train.preview_augmentation import preview_augmentation

    preview_augmentation(config, file, progress=progress)
    console.print_result(f"picture:   {console.show(str(file))}")


@contextlib.contextmanager
def _advice_when_stopped() -> Iterator[None]:
    """After a signal, name the command that continues, if the training has noted one."""
    try:
        yield
    except Signalled as signalled:
        advice = getattr(signalled, "__notes__", [])
        raise (Stopped(signalled.number, advice[-1]) if advice else signalled) from None


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
