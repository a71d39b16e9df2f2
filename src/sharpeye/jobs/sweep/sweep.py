"""Train a network with many settings in parallel, and rank them."""

import logging
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, load_toml
from sharpeye.core.formatting import plain_percent
from sharpeye.core.inference import available_cores
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import FileLock, make_folder, os_errors_at, write_text
from sharpeye.data.summary import dataset_name
from sharpeye.errors import BusyError, UsageError
from sharpeye.jobs.sweep.leaderboard import BEST, WINNER, Leaderboard, describe_trial
from sharpeye.jobs.sweep.plan import Plan, Range, Value, make_plan
from sharpeye.jobs.sweep.plan_text import differences, plan_to_toml, read_plan
from sharpeye.jobs.sweep.study import QUEUE_LOCK, Study
from sharpeye.jobs.sweep.worker import PLAN, load_arrays
from sharpeye.jobs.sweep.worker_pool import WorkerPool
from sharpeye.jobs.train.resolve import resolve
from sharpeye.models.registry import get_spec
from sharpeye.report.sweep_charts import TrialRow
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)

DEFAULT_MODEL = "cnn"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has ended.

    Attributes:
        leaderboard: all trials, the best first.
        best: the run of the winner, if it was trained again.
        unfinished: number of trials that the time limit stopped.
    """

    path: Path
    leaderboard: tuple[TrialRow, ...]
    winner: Config
    best: Run | None = None
    unfinished: int = 0


def sweep(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    grid: Mapping[str, Sequence[Value]] | None = None,
    ranges: Mapping[str, Range | str] | None = None,
    trials: int = 0,
    prune: bool = True,
    rank_by: str = "loss",
    workers: int | None = None,
    keep: int = 3,
    retrain: bool = False,
    output: str | Path | None = None,
    config: Config | None = None,
    time_limit: float | None = None,
    resume: bool = False,
    progress: StageProgress | None = None,
    **knobs: Any,
) -> SweepResult:
    """Train a network with many settings, and rank them by validation images.

    Only the run that `retrain` makes uses test images. An interrupted sweep continues when it is
    called again with the same settings.

    Args:
        data: the folder of images; by default the configuration's.
        model: a name that `sharpeye models` lists; by default the configuration's, or cnn.
        grid: values to try by knob, such as `{"layer_size": [32, 64]}`: every combination.
        ranges: `"1e-4..1e-2:log"` or a `Range` by knob; with `trials`.
        trials: number of trials of a TPE search (Bergstra et al. 2011), which draws from `ranges`
            and, as choices, from `grid`; 0 for every combination of the grid.
        prune: end trials with poor results early.
        rank_by: `loss` or `accuracy`.
        workers: number of processes, which share the cores; by default one per core.
        keep: number of best trials whose weights stay.
        retrain: train the best one again, as a run in `best/`, which is then tested.
        output: the sweep's folder; by default `runs/<data>-<model>-sweep`.
        time_limit: seconds after which trials are stopped.
        resume: continue the sweep in `output`; `grid` and `ranges` are not needed.
        config, progress, knobs: see `sharpeye.train`.

    Raises:
        UsageError: a setting is wrong, or differs from the sweep in the folder.
        DivergedError: no trial gave a result.
        And all that `sharpeye.train` raises.
    """
    started = time.monotonic()
    base = _base_config(data, model, config, knobs=knobs)
    folder = _output_folder(output, base)
    if resume and not grid and not ranges:
        plan = read_plan(folder / PLAN)
    else:
        _require_data(base)
        plan = make_plan(
            base, grid or {}, ranges or {}, trials=trials, prune=prune, rank_by=rank_by
        )
    _require_amounts(workers, keep, time_limit)
    _require_scratch(plan)
    _require_same_plan(folder, plan, resume)
    # Decode the images into the cache once, before several workers read them.
    samples = load_arrays(plan.base, progress)[0]
    log.info("%d images in %d classes", len(samples), len(samples.class_names))
    lock = _claim(folder, plan)
    try:
        deadline = None if time_limit is None else started + time_limit
        with Study(folder, plan) as study:
            interrupted = study.enqueue_interrupted()
            study.enqueue_plan()
            if interrupted:
                log.info("%d trials that were cut off are run again", interrupted)
            board = Leaderboard(folder, study, samples, keep=keep)
            unfinished = _run_trials(study, board, workers, deadline=deadline, progress=progress)
            winner = board.finish()
        best = _train_winner(folder, winner, progress) if retrain else None
        if best:
            board.write(tested=True)
        return SweepResult(folder, tuple(board.rows), winner, best, unfinished)
    finally:
        for name in (layout.LOCK, QUEUE_LOCK):
            (folder / name).unlink(missing_ok=True)
        lock.release()


def summary(result: SweepResult) -> Mapping[str, str]:
    """The command line's summary at the end of a sweep, by heading."""
    best = next(row for row in result.leaderboard if row.best_epoch)
    lines = {"best": f"{best.name}, {describe_trial(best)}"}
    lines["report"] = str(result.path / layout.REPORT)
    if result.unfinished:
        lines["left"] = f"{result.unfinished} trials; run the same command again to go on"
    if result.best:
        test = result.best.metrics["test"]
        lines["test"] = f"{plain_percent(test['accuracy'])} of {test['count']} test images"
        lines["next"] = shlex.join(["sharpeye", "predict", str(result.best.path), "PICTURE"])
    else:
        lines["next"] = shlex.join(["sharpeye", "train", "--config", str(result.path / WINNER)])
    return lines


def _base_config(
    data: str | Path | None, model: str | None, config: Config | None, *, knobs: Mapping[str, Any]
) -> Config:
    changes = {key.replace("__", "."): value for key, value in knobs.items()}
    if model is not None or config is None:
        changes["model.name"] = model or DEFAULT_MODEL
    base = config or Config()
    return (base if data is None else base.on_folder(str(data))).replace(changes)


def _require_data(base: Config) -> None:
    if not base.data.folder:
        raise UsageError("which images? Give their folder: sharpeye sweep DIR --grid ...")


def _output_folder(output: str | Path | None, base: Config) -> Path:
    if output is not None:
        return Path(output)
    _require_data(base)
    return Path("runs") / f"{dataset_name(base.data.folder)}-{base.model.name}-sweep"


def _require_amounts(workers: int | None, keep: int, time_limit: float | None) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1. Received: {workers}")
    if keep < 0:
        raise UsageError(f"--keep must be 0 or more. Received: {keep}")
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"--time-limit must be above 0 seconds. Received: {time_limit:g}")


def _require_scratch(plan: Plan) -> None:
    """Reject pretrained weights: a sweep does not train heads on frozen features."""
    names = plan.grid.get("model.name", (plan.base.model.name,))
    for weights in plan.grid.get("model.weights", (plan.base.model.weights,)):
        for name in names:
            pretrained = get_spec(str(name)).imagenet is not None
            if weights != "none" and (weights != "auto" or pretrained):
                raise UsageError(
                    f"a sweep trains networks from scratch, and {name} would begin with weights "
                    f"({weights}); add --set model.weights=none, or take --model {DEFAULT_MODEL}"
                )


def _require_same_plan(folder: Path, plan: Plan, resume: bool) -> None:
    if resume or (folder / PLAN).is_file():
        changed = differences(read_plan(folder / PLAN), plan)
        if changed:
            raise UsageError(
                f"{folder} holds a sweep with other settings: {'; '.join(changed)}. "
                "Choose another --output, or go on with that one: --resume without --grid"
            )
        return
    with os_errors_at(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and is no sweep; choose another --output")


def _claim(folder: Path, plan: Plan) -> FileLock:
    make_folder(folder)
    lock = FileLock(folder / layout.LOCK)
    if not lock.try_acquire():
        raise BusyError(f"{folder} is being written by another sweep; wait for it")
    if not (folder / PLAN).is_file():
        write_text(folder / PLAN, plan_to_toml(plan))
    return lock


def _run_trials(
    study: Study,
    board: Leaderboard,
    workers: int | None,
    *,
    deadline: float | None,
    progress: StageProgress | None,
) -> int:
    """Run all queued trials until the deadline; returns the number of unfinished ones."""
    count = min(workers or available_cores(), max(1, study.queue_length))
    with WorkerPool(board.folder, study, count) as pool:
        while pool.supervise():
            board.update(progress)
            if deadline is not None and time.monotonic() > deadline:
                log.warning("the time limit is over: the trials that are running are stopped")
                pool.stop()
                study.stop_running("the time limit was over")
                break
            time.sleep(_POLL_SECONDS)
    board.update(progress)
    return sum(1 for row in board.rows if row.state in ("stopped", "waiting"))


def _train_winner(folder: Path, winner: Config, progress: StageProgress | None) -> Run:
    from sharpeye.jobs.train.train import train

    path = folder / BEST
    with os_errors_at(path):
        if (path / layout.BUNDLE).is_file():
            if load_toml(path / layout.CONFIG) == resolve(winner):
                return Run(path)
            shutil.rmtree(path)  # The folder holds an earlier winner.
    return train(winner.data.folder, output=path, config=winner, progress=progress)
