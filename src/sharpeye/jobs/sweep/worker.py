"""Train the trials of a sweep in a separate process.

    python -m sharpeye.jobs.sweep.worker SWEEP_DIR NUMBER

It takes trials from the sweep's queue until that is empty or its parent ends.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.own_code import is_any_allowed
from sharpeye.core.processes import run_child
from sharpeye.core.storage import make_folder, os_errors_at
from sharpeye.errors import EnvironmentFault, SharpEyeError, one_line
from sharpeye.jobs.sweep.plan import short_key
from sharpeye.jobs.sweep.plan_text import read_plan
from sharpeye.jobs.sweep.study import RunningTrial, Study
from sharpeye.jobs.train.earlier_weights import find_initial_weights
from sharpeye.jobs.train.load_arrays import load_arrays
from sharpeye.jobs.train.resolve import resolve
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.loop import EpochCallback, EpochRow, FittedNetwork
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter
from sharpeye.runs.run_directory import ResultWriter

PLAN, TRIALS = "sweep.toml", "trials"
_METRICS = ("validation_log_loss", "validation_accuracy")

TrainNetwork = Callable[[Config, EpochCallback], FittedNetwork]


class _TrialPruned(Exception):
    """Ends a trial whose results are poor compared with the others."""


def run_trials(folder: Path, worker: int = 0, train: TrainNetwork | None = None) -> None:
    """Run trials until the queue is empty.

    Args:
        worker: a number that is unique among the workers of the sweep.
        train: trains one network; by default from random weights.

    Raises:
        EnvironmentFault: the disk is full, or a component is missing. The trial stays in the study
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
            config = study.plan.base.replace(running.params)
            network = train(config, recorder.record_epoch)
            # The folder is that of a stopped run, which `train --resume` finishes.
            network.save_checkpoint(trial_folder.file(layout.CHECKPOINTS))
            trial_folder.write_text(layout.CONFIG, resolve(config).to_toml())
        except _TrialPruned:
            recorder.finish(success=True)
            study.prune(running)
        except (EnvironmentFault, MemoryError):
            raise
        except Exception as error:  # After any error, the sweep continues without this trial.
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
        self._epochs = study.plan.base.replace(running.params).train.epochs
        self._rows: list[EpochRow] = []
        self.best: EpochRow = {}
        values = {short_key(key): value for key, value in running.params.items()}
        events.hparams(values, [f"best/{name}" for name in _METRICS])

    def record_epoch(self, row: EpochRow) -> None:
        """Record an epoch; raises `_TrialPruned` to end the trial early."""
        self._rows.append(row)
        self._folder.write_history(self._rows)
        values = {name: row[name] for name in row if name not in ("stage", "epoch")}
        scalars = {f"epoch/{name}": float(value) for name, value in values.items()}
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

    def __call__(self, config: Config, on_epoch: EpochCallback) -> FittedNetwork:
        # The arrays depend on these settings; all others affect only training.
        config = resolve(config)
        split = (config.split_seed, config.data, config.split)
        key = (*split, config.task, config.model, config.net.color, config.distill)
        if self._arrays is None or self._key != key:
            self._key, self._arrays = key, load_arrays(config)[1]
        spec = get_spec(config.model.name)
        initial = find_initial_weights(config)
        return fit_from_scratch(spec, config, self._arrays, on_epoch=on_epoch, initial=initial)


def _empty_folder(folder: Path) -> Path:
    """Make an empty folder, and delete files of an earlier attempt."""
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

    return run_child(work, sys.argv[1], collect_garbage=True, any_module=is_any_allowed())


if __name__ == "__main__":
    sys.exit(main())
