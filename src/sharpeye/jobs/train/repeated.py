"""Train several times: on folds of the images, or with several seeds on one split."""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.config import Config
from sharpeye.core.config_paths import on_folder
from sharpeye.core.formatting import plain_percent
from sharpeye.core.metrics import wilson_interval
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import TEMPORARY_PREFIX, make_folder, os_errors_at
from sharpeye.errors import UsageError
from sharpeye.jobs.train.extend import load_dataset
from sharpeye.jobs.train.resolve import resolve
from sharpeye.jobs.train.trackers import require_tracker
from sharpeye.jobs.train.train import require_outside_of_images, run_folder, train
from sharpeye.runs import layout
from sharpeye.runs.run_directory import ResultWriter, Run

log = logging.getLogger(__name__)

TABLE = "runs.csv"
_COLUMNS = ("run", "fold", "seed", "test_images", "accuracy", "log_loss")
MAX_RUNS = 100
# What may lie in the folder: the table, the runs, and what processes that were killed have left.
_OWN_NAME = re.compile(
    rf"{re.escape(TABLE)}|(fold-\d+)?-?(seed-\d+)?(-\d+)?|{re.escape(TEMPORARY_PREFIX)}.*"
)


@dataclass(frozen=True)
class RepeatedRuns:
    """The runs of a repeated training.

    Attributes:
        folds: whether each image is tested once in every repetition.
    """

    path: Path
    runs: tuple[Run, ...]
    folds: bool

    @property
    def accuracies(self) -> list[float]:
        return [float(run.metrics["test"]["accuracy"]) for run in self.runs]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float:
        """Sample standard deviation of the accuracies; NaN for one run."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.runs) > 1 else math.nan

    @property
    def pooled(self) -> tuple[int, int]:
        """Right ones among all tested images, each counted as often as it was tested."""
        tests = [run.metrics["test"] for run in self.runs]
        right = sum(round(test["accuracy"] * test["count"]) for test in tests)
        return right, sum(test["count"] for test in tests)


def train_repeatedly(
    data: str | Path,
    *,
    folds: int = 1,
    repeats: int = 1,
    output: str | Path | None = None,
    config: Config | None = None,
    progress: StageProgress | None = None,
    track: str | None = None,
) -> RepeatedRuns:
    """Train a run for each fold and each seed, one after the other.

    Runs that are complete with the same settings are not trained again, so that the same command
    continues after a stop.

    Args:
        data: the folder of images.
        folds: number of folds; 1 for the one split of the configuration. With k folds each image
            is a test image once.
        repeats: number of seeds, `seed`, `seed + 1`, ...; the split stays that of the first.
        output: the folder of the runs; by default `runs/<data>-<model>-repeated`. It is new, empty,
            or has such runs alone.
        track: see `sharpeye.train`; each run is one of the tracker's.

    Raises:
        UsageError: a number or the folder is wrong, or the images have a test split of their own.
        And all that `sharpeye.train` raises.
    """
    base = on_folder(config or Config(), str(data))
    _require_numbers(folds, repeats)
    if track:
        require_tracker(track)
    folder = run_folder(output, base, ending="-repeated")
    require_outside_of_images(folder, base)
    _require_usable(folder)
    if folds > 1:
        _require_no_test(base)
    make_folder(folder)
    runs = []
    for name, fold, changed in _configurations(base, folds, repeats):
        log.info("%s: fold %d of %d, seed %d", name, fold + 1, folds, changed.seed)
        run = _finished(folder / name, changed)
        resume = not run and (folder / name / layout.CHECKPOINTS).is_dir()
        options: dict[str, Any] = {"resume": True} if resume else {"overwrite": True}
        options |= {"config": changed, "progress": progress, "track": track}
        runs.append(run or train(data, output=folder / name, **options))
        result = RepeatedRuns(folder, tuple(runs), folds > 1)
        _write_table(result)
    return result


def summary(result: RepeatedRuns) -> Mapping[str, str]:
    """The lines of the command line, by heading."""
    right, count = result.pooled
    low, high = wilson_interval(right, count)
    accuracies = ", ".join(plain_percent(value) for value in result.accuracies)
    spread = "" if math.isnan(result.deviation) else f" ± {100 * result.deviation:.1f} points"
    lines = {"runs": accuracies, "mean": f"{plain_percent(result.mean)}{spread} (deviation)"}
    if result.folds:
        interval = f"95 % interval {plain_percent(low)} to {plain_percent(high)}"
        lines["pooled"] = f"{plain_percent(right / count)} of {count} tests, {interval}"
    return lines | {"table": str(result.path / TABLE)}


def _require_numbers(folds: int, repeats: int) -> None:
    if not (1 <= folds <= MAX_RUNS and 1 <= repeats <= MAX_RUNS and folds * repeats <= MAX_RUNS):
        raise UsageError(
            f"--folds and --repeats are 1 or more, and their product is {MAX_RUNS} at most. "
            f"Received: {folds} and {repeats}"
        )


def _require_usable(folder: Path) -> None:
    """Raise UsageError for a folder that holds something else than runs of a repeated training."""
    with os_errors_at(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; choose another --output")
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if layout.BUNDLE in names:
        raise UsageError(
            f"{folder} holds a finished run, and --folds and --repeats make a folder of runs; "
            "choose another --output"
        )
    foreign = [name for name in names if not _OWN_NAME.fullmatch(name)]
    if foreign:
        raise UsageError(
            f"{folder} holds {foreign[0]}, and --folds and --repeats write into a folder of their "
            "own; choose another --output"
        )


def _require_no_test(config: Config) -> None:
    """Raise UsageError if the images have a test split of their own, before anything is trained."""
    samples = load_dataset(resolve(config)).samples
    if config.split.rule != "content" or any(sample.split == "test" for sample in samples):
        raise UsageError(
            "--folds needs split.rule = content and images without a test split of their own, "
            "since each fold tests other images; --repeats goes with any split"
        )


def _configurations(base: Config, folds: int, repeats: int) -> Iterator[tuple[str, int, Config]]:
    """(name of the run, fold, configuration)."""
    for repeat in range(repeats):
        for fold in range(folds):
            changes: dict[str, Any] = {
                "seed": base.seed + repeat,
                "split.seed": base.split_seed,
                "split.fold": fold,
            }
            if folds > 1:
                changes["split.test"] = 1 / folds
            parts = [f"fold-{fold + 1}"] if folds > 1 else []
            parts += [f"seed-{base.seed + repeat}"] if repeats > 1 or folds == 1 else []
            yield "-".join(parts), fold, base.replace(changes)


def _finished(path: Path, config: Config) -> Run | None:
    """The run at `path`, if it is complete; UsageError if it has other settings."""
    if not (path / layout.BUNDLE).is_file():
        return None
    run = Run(path)
    if run.config != resolve(config):
        raise UsageError(
            f"{path} holds a run with other settings; choose another --output, or move it away"
        )
    return run


def _write_table(result: RepeatedRuns) -> None:
    rows = []
    for run in result.runs:
        test = run.metrics["test"]
        scores = (test["count"], test["accuracy"], test["log_loss"])
        rows.append((run.path.name, run.config.split.fold, run.config.seed, *scores))
    ResultWriter(result.path).write_csv(TABLE, _COLUMNS, rows)
