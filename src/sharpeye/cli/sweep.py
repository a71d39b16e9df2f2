"""`sharpeye sweep`."""

import re
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.core.config import Config, parse_settings
from sharpeye.core.config_paths import with_typed_paths
from sharpeye.core.own_code import allow_own_code
from sharpeye.core.recipes import load_configs
from sharpeye.errors import UsageError

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def sweep(
    words: Annotated[
        list[str] | None,
        Argument(metavar="DIR", help="Folder of images. Further KEY=A,B belong to --grid."),
    ] = None,
    model: Annotated[str | None, Option(help="A name that `sharpeye models` lists [cnn].")] = None,
    grid: Annotated[
        list[str] | None,
        Option(metavar="KEY=A,B", help="Values to combine, such as layer_size=32,64."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        Option(
            "--range",
            metavar="KEY=LOW..HIGH",
            help="Range to search, such as learning_rate=1e-4..1e-2:log or layer_size=16..128:16.",
        ),
    ] = None,
    trials: Annotated[
        int, Option(help="Search with this many trials, not all combinations.", show_default=False)
    ] = 0,
    prune: Annotated[bool, Option("--prune/--no-prune", help="End bad trials early.")] = True,
    rank_by: Annotated[
        str, Option(help="loss or accuracy, of validation at the best epoch.")
    ] = "loss",
    workers: Annotated[int | None, Option(help="Number of processes [one a core].")] = None,
    keep: Annotated[int, Option(help="Number of best trials whose weights stay.")] = 3,
    retrain: Annotated[bool, Option("--retrain", help="Train and test the best as a run.")] = False,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="The sweep's folder [runs/<data>-<model>-sweep]."),
    ] = None,
    epochs: Annotated[int | None, Option(help="Most epochs of a trial.")] = None,
    seed: Annotated[int | None, Option(help="Seed of the split and the search.")] = None,
    time_limit: Annotated[
        str | None, Option(metavar="TIME", help="Stop all trials after 90s, 10m, 1.5h.")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the sweep in --output.")] = False,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Delete the sweep in --output and begin anew.")
    ] = False,
    config: options.Config = None,
    settings: options.Settings = None,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a network with many settings, and rank them."""
    console.start_logging(quiet=quiet, verbose=verbose)
    folder, more_grid, more_ranges = _split_words(words or [])

    from sharpeye.jobs.sweep import sweep as job
    from sharpeye.jobs.sweep.plan_text import parse_grid, parse_ranges

    base = load_configs(config, Config()) if config else None
    changes: dict[str, Any] = parse_settings(settings or ())
    changes |= {} if epochs is None else {"train.epochs": epochs}
    changes |= {} if seed is None else {"seed": seed}
    changes |= {} if max_megapixels is None else {"images.max_megapixels": max_megapixels}
    changes |= {} if max_decode_memory is None else {"images.max_decode_memory": max_decode_memory}
    changes |= {} if model is None else {"model.name": model}
    changes |= allow_own_code(changes)
    model = changes.get("model.name")
    if base is None and model is None:
        model = job.DEFAULT_MODEL
    with console.ProgressReporter(quiet=quiet) as progress:
        result = job.sweep(
            folder,
            model=model,
            grid=parse_grid([*(grid or ()), *more_grid]),
            ranges=parse_ranges([*(ranges or ()), *more_ranges]),
            trials=trials,
            prune=prune,
            rank_by=rank_by,
            workers=workers,
            keep=keep,
            retrain=retrain,
            output=output,
            config=with_typed_paths(base or Config(), changes),
            time_limit=None if time_limit is None else options.parse_seconds(time_limit),
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    for name, value in job.summary(result).items():
        console.print_result(f"{name + ':':10}{console.show(value)}")


def _split_words(words: list[str]) -> tuple[str | None, list[str], list[str]]:
    """The folder, and the remaining entries of `--grid` and of `--range`."""
    folders = [word for word in words if "=" not in word or Path(word).is_dir()]
    entries = [word for word in words if word not in folders]
    ranges = [entry for entry in entries if re.search(r"=[^,]*\.\.", entry)]
    if len(folders) > 1:
        raise UsageError(
            "a sweep takes one folder of images, and KEY=A,B for its grid. Received: "
            f"{' '.join(folders)}"
        )
    grid = [entry for entry in entries if entry not in ranges]
    return folders[0] if folders else None, grid, ranges
