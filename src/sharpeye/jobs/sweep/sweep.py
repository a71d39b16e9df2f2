"""Train a network with many settings in parallel, and rank them."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, changed_knobs, load_toml
from sharpeye.core.config_paths import (
    locate,
    on_folder,
    remember_current_folder,
    with_typed_paths,
)
from sharpeye.core.formatting import plain_percent
from sharpeye.core.inference import available_cores
from sharpeye.core.own_code import allow_own_code
from sharpeye.core.paths import command_line, require_outside
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import FileLock, make_folder, os_errors_at, write_text
from sharpeye.errors import BusyError, UsageError
from sharpeye.jobs.sweep.leaderboard import (
    BEST,
    LEADERBOARD,
    WINNER,
    Leaderboard,
    describe_trial,
)
from sharpeye.jobs.sweep.plan import Plan, Range, Value, make_plan
from sharpeye.jobs.sweep.plan_text import differences, plan_to_toml, read_plan
from sharpeye.jobs.sweep.study import QUEUE_LOCK, STUDY, Study
from sharpeye.jobs.sweep.worker import PLAN, TRIALS
from sharpeye.jobs.sweep.worker_pool import WorkerPool
from sharpeye.jobs.train.load_arrays import load_arrays
from sharpeye.jobs.train.resolve import resolve, with_code_digests
from sharpeye.jobs.train.unused_knobs import explain_unused
from sharpeye.models.registry import get_spec
from sharpeye.report.sweep_charts import TrialRow
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run
from sharpeye.runs.run_folder import numbered

log = logging.getLogger(__name__)

DEFAULT_MODEL = "cnn"
_POLL_SECONDS = 0.5
_FILES = {BEST, WINNER, LEADERBOARD, PLAN, QUEUE_LOCK, TRIALS} | {
    layout.LOCK,
    layout.REPORT,
    layout.TENSORBOARD,
}


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
    overwrite: bool = False,
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
        output: the sweep's folder; by default `runs/<data>-<model>-sweep`, numbered if that holds
            a sweep with other settings.
        time_limit: seconds after which trials are stopped.
        resume: continue the sweep in `output`; `grid` and `ranges` are not needed.
        overwrite: delete the sweep in `output` before the first trial.
        config, progress, knobs: see `sharpeye.train`.

    Raises:
        UsageError: a setting is wrong, or differs from the sweep in the folder; or the time limit
            came before the first epoch of any trial.
        DivergedError: no trial gave a result.
        And all that `sharpeye.train` raises.
    """
    started = time.monotonic()
    base = _base_config(data, model, config, knobs=knobs)
    if resume and overwrite:
        raise UsageError("--resume goes on with a sweep and --overwrite begins anew; give one")
    folder = _output_folder(output, base)
    if resume and not grid and not ranges:
        plan = read_plan(folder / PLAN)
    else:
        _require_data(base)
        plan = make_plan(
            base, grid or {}, ranges or {}, trials=trials, prune=prune, rank_by=rank_by
        )
    _require_amounts(workers, keep, time_limit)
    code = with_code_digests(plan.base, swept=plan.keys, to_change="begin anew with --overwrite")
    plan = replace(plan, base=code)
    _require_scratch(plan)
    _require_net_knobs(plan)
    _warn_of_unused(plan)
    if output is None and not (resume or overwrite):
        folder = _first_usable(folder, plan)
    _require_usable(folder, plan, resume=resume, overwrite=overwrite)
    # Decode the images into the cache once, before several workers read them.
    samples = load_arrays(resolve(plan.base), progress)[0]
    log.info("%d images in %d classes", len(samples), len(samples.class_names))
    lock = _claim(folder, plan, overwrite=overwrite)
    try:
        deadline = None if time_limit is None else started + time_limit
        with Study(folder, plan) as study:
            interrupted = study.enqueue_interrupted()
            study.enqueue_plan()
            if interrupted:
                log.info("%d trials that were cut off are run again", interrupted)
            board = Leaderboard(folder, study, samples, keep=keep)
            unfinished = _run_trials(study, board, workers, deadline=deadline, progress=progress)
            winner = board.finish(time_limit=time_limit)
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
        lines["next"] = command_line("sharpeye", "predict", result.best.path, "PICTURE")
    else:
        lines["next"] = command_line("sharpeye", "train", "--config", result.path / WINNER)
    return lines


def _base_config(
    data: str | Path | None, model: str | None, config: Config | None, *, knobs: Mapping[str, Any]
) -> Config:
    changes = {key.replace("__", "."): value for key, value in knobs.items()}
    if model is not None or (config is None and "model.name" not in changes):
        changes["model.name"] = model or DEFAULT_MODEL
    changes |= allow_own_code(changes)
    base = config or Config()
    base = base if data is None else on_folder(base, str(data))
    return remember_current_folder(with_typed_paths(base, changes))


def _require_data(base: Config) -> None:
    if not base.data.folder:
        raise UsageError("which images? Give their folder: sharpeye sweep DIR --grid ...")


def _output_folder(output: str | Path | None, base: Config) -> Path:
    from sharpeye.jobs.train.train import run_folder

    if output is None:
        _require_data(base)
    return run_folder(output, base, ending="-sweep")


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


def _require_net_knobs(plan: Plan) -> None:
    """Reject knobs of `[net]`, swept or fixed, that none of the networks has."""
    names = plan.grid.get("model.name", (plan.base.model.name,))
    specs = [get_spec(str(name)) for name in names]
    known = {f"net.{knob}" for spec in specs for knob in spec.net_knobs}
    missing = [key for key in (*plan.keys, *changed_knobs(plan.base)) if key not in known]
    for spec in specs:
        spec.require_net_knobs(missing)


def _warn_of_unused(plan: Plan) -> None:
    """Warn of swept knobs that make no difference."""
    base = plan.base.replace({"model.weights": "none"})
    choices = {"model.name", "task", "train.optimizer", "train.schedule"}
    choices |= {"augment.policy", "distill.teacher"}
    if not choices & {*plan.keys}:
        for sentence in explain_unused(base, plan.keys):
            log.warning("%s", sentence)


def _first_usable(requested: Path, plan: Plan) -> Path:
    """The first of `requested`, `requested-2`, ... that is free or holds a sweep of this plan."""
    for folder in numbered(requested):
        try:
            _require_usable(folder, plan)
        except UsageError as error:
            log.info("%s; trying the next name", str(error).partition(". ")[0])
        else:
            return folder
    return requested


def _require_usable(
    folder: Path, plan: Plan, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Raise UsageError unless the folder is free, or its sweep may go on or be deleted."""
    if overwrite and (folder / PLAN).is_file():
        _require_own_files(folder)
    elif resume or (folder / PLAN).is_file():
        changed = differences(read_plan(folder / PLAN), plan)
        if changed:
            raise UsageError(
                f"{folder} holds a sweep with other settings: {'; '.join(changed)}. Go on with "
                "that one: --resume without --grid; --overwrite deletes it; or choose another "
                "--output"
            )
    else:
        with os_errors_at(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise UsageError(f"{folder} is there and is no sweep; choose another --output")
        require_outside(folder, locate(plan.base, plan.base.data.folder), "--output")


def _require_own_files(folder: Path) -> None:
    with os_errors_at(folder):
        names = sorted(entry.name for entry in folder.iterdir())
    foreign = [name for name in names if name not in _FILES and not name.startswith(STUDY)]
    if foreign:
        raise UsageError(
            f"--overwrite deletes only sweeps, and {folder} holds {foreign[0]}; move that away, "
            "or choose another --output"
        )


def _claim(folder: Path, plan: Plan, *, overwrite: bool) -> FileLock:
    make_folder(folder)
    lock = FileLock(folder / layout.LOCK)
    if not lock.try_acquire():
        raise BusyError(f"{folder} is being written by another sweep; wait for it")
    if overwrite:
        _delete_sweep(folder)
    if not (folder / PLAN).is_file():
        write_text(folder / PLAN, plan_to_toml(plan))
    return lock


def _delete_sweep(folder: Path) -> None:
    with os_errors_at(folder):
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != layout.LOCK:
                entry.unlink()


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
        is_complete = (path / layout.BUNDLE).is_file()
    if is_complete and load_toml(path / layout.CONFIG) == resolve(winner):
        return Run(path)
    # The folder may hold an earlier winner, or what a killed sweep left.
    images = locate(winner, winner.data.folder)
    return train(images, output=path, config=winner, overwrite=True, progress=progress)
