"""Train the trials of a sweep, in a process of its own.

    python -m sharpeye.jobs.sweep.worker SWEEP_DIR NUMBER

The process takes one trial after the other from the sweep's queue, and ends when the queue is empty
or its parent ends. TensorFlow is loaded once for all of them.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sharpeye.core.config import Config
from sharpeye.core.processes import run_child
from sharpeye.core.storage import make_folder, os_errors_at
from sharpeye.errors import EnvironmentFault, SharpEyeError, one_line
from sharpeye.jobs.sweep.load_arrays import load_arrays
from sharpeye.jobs.sweep.plan import short_key
from sharpeye.jobs.sweep.plan_text import read_plan
from sharpeye.jobs.sweep.study import RunningTrial, Study
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter
from sharpeye.runs.run_directory import ResultWriter

PLAN, TRIALS, WEIGHTS = "sweep.toml", "trials", "weights.npz"
_METRICS = ("validation_log_loss", "validation_accuracy")

EpochRow = dict[str, Any]
"""A row of `history.csv`."""


class TrainedNetwork(Protocol):
    """What training returns; see `sharpeye.learn.nets.loop.FittedNetwork`."""

    def save(self, file: Path) -> None: ...


TrainNetwork = Callable[[Config, Callable[[EpochRow], None]], TrainedNetwork]
"""Trains one network, given its configuration and a function to call after each epoch."""


class _TrialPruned(Exception):
    """Ends a trial that falls behind the others."""


def run_trials(folder: Path, worker: int = 0, train: TrainNetwork | None = None) -> None:
    """Run trials until the queue is empty.

    Args:
        folder: the sweep's folder, with `sweep.toml` and `study.db`.
        worker: a number that no other worker of the sweep has.
        train: trains one network; by default from random weights.

    Raises:
        EnvironmentFault: the disk is full, or something is missing. The trial stays in the study
            as running, for `Study.enqueue_interrupted`.
    """
    plan = read_plan(folder / PLAN)
    train = train or _NetworkTrainer()
    with Study(folder, plan) as study:
        while running := study.next_trial(worker):
            _run_trial(folder, study, running, train=train)


def _run_trial(folder: Path, study: Study, running: RunningTrial, *, train: TrainNetwork) -> None:
    trial_folder = ResultWriter(_empty_folder(folder / TRIALS / running.name))
    events_folder = _empty_folder(folder / layout.TENSORBOARD / running.name)
    with EventWriter(events_folder) as events:
        recorder = _TrialRecorder(study, running, trial_folder, events=events)
        try:
            network = train(study.plan.trial_config(running.params), recorder.record_epoch)
            network.save(trial_folder.file(WEIGHTS))
        except _TrialPruned:
            recorder.finish(success=True)
            study.prune(running)
        except (EnvironmentFault, MemoryError):
            raise
        except Exception as error:  # Whatever it was, the sweep continues without this trial.
            recorder.finish(success=False)
            study.fail(running, _describe(error))
        else:
            recorder.finish(success=True)
            study.complete(running, recorder.best)


class _TrialRecorder:
    """Writes the epochs of one trial to its table, its event file and the study."""

    def __init__(
        self, study: Study, running: RunningTrial, folder: ResultWriter, *, events: EventWriter
    ) -> None:
        self._study, self._running, self._folder, self._events = study, running, folder, events
        self._epochs = study.plan.trial_config(running.params).train.epochs
        self._rows: list[EpochRow] = []
        self.best: EpochRow = {}
        values = {short_key(key): value for key, value in running.params.items()}
        events.hparams(values, [f"best/{name}" for name in _METRICS])

    def record_epoch(self, row: EpochRow) -> None:
        """Record an epoch; raises `_TrialPruned` if another one is not worth while."""
        self._rows.append(row)
        self._folder.write_history(self._rows)
        scalars = {
            f"epoch/{name}": float(value)
            for name, value in row.items()
            if name not in ("stage", "epoch")
        }
        self._events.scalars(scalars, int(row["epoch"]))
        loss = float(row["validation_log_loss"])
        if not self.best or loss < float(self.best["validation_log_loss"]):
            self.best = row
        behind = self._study.report_epoch(self._running, row, self.best)
        if behind and row["epoch"] < self._epochs:
            raise _TrialPruned

    def finish(self, *, success: bool) -> None:
        if self.best:
            best = {f"best/{name}": float(self.best[name]) for name in _METRICS}
            self._events.scalars(best, int(self.best["epoch"]))
        self._events.hparams_end(success=success)


class _NetworkTrainer:
    """Trains networks from random weights; trials of the same images share the decoded arrays."""

    def __init__(self) -> None:
        self._key: object = None
        self._arrays: TrainingArrays | None = None

    def __call__(self, config: Config, on_epoch: Callable[[EpochRow], None]) -> TrainedNetwork:
        # The arrays depend on these settings; all others concern training alone.
        key = (config.seed, config.data, config.split, config.model, config.net.color)
        if self._arrays is None or self._key != key:
            self._key, self._arrays = key, load_arrays(config)[1]
        return fit_from_scratch(
            get_spec(config.model.name), config, self._arrays, on_epoch=on_epoch
        )


def _empty_folder(folder: Path) -> Path:
    """Make a folder, without what an earlier attempt left in it."""
    with os_errors_at(folder), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    return make_folder(folder)


def _describe(error: Exception) -> str:
    text = one_line(error, 300)
    return text if isinstance(error, SharpEyeError) else f"{type(error).__name__}: {text}"


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent handles Ctrl-C and ends this process.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def work() -> None:
        try:
            run_trials(Path(sys.argv[1]), int(sys.argv[2]))
        except MemoryError:
            raise EnvironmentFault("out of memory; use fewer --workers") from None

    return run_child(work, sys.argv[1], collect_garbage=True)


if __name__ == "__main__":
    sys.exit(main())
