"""Runs trials of a sweep, as a process of its own.

    python -m sharpeye.jobs.sweep.worker SWEEP_DIR INDEX

It takes one trial after the other from the sweep's queue, and ends when nothing waits, or when
the process that started it does. TensorFlow is loaded once for all of them.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sharpeye.core.config import Config
from sharpeye.core.processes import end_with_parent
from sharpeye.core.storage import make_folder, os_errors_at
from sharpeye.errors import EnvironmentFault, SharpEyeError
from sharpeye.jobs.sweep.plan import read_plan, short_key
from sharpeye.jobs.sweep.study import QueuedTrial, Study
from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter
from sharpeye.runs.rundir import RunFolder

if TYPE_CHECKING:
    from sharpeye.learn.nets.training_arrays import TrainingArrays

Row = dict[str, Any]
PLAN, TRIALS, WEIGHTS = "sweep.toml", "trials", "weights.npz"
_METRICS = ("validation_log_loss", "validation_accuracy")


class Fitted(Protocol):
    """What a fit returns; see `sharpeye.learn.nets.loop.FittedNetwork`."""

    def save(self, file: Path) -> None: ...


Fit = Callable[[Config, Callable[[Row], None]], Fitted]


class _Behind(Exception):
    """Ends a trial that falls behind the others."""


def run_trials(folder: Path, worker: int = 0, fit: Fit | None = None) -> None:
    """Run trials until none waits.

    Args:
        folder: of the sweep, with its `sweep.toml` and `study.db`.
        worker: a number of this worker's own among those of the sweep.
        fit: trains one network, given its configuration and whom to tell of each epoch; by
            default the whole network from random weights.

    Raises:
        EnvironmentFault: the disk is full, or something is missing. The trial stays in the study
            as running, for `Study.put_back`.
    """
    plan = read_plan(folder / PLAN)
    fit = fit or _Learner()
    with Study(folder, plan) as study:
        while ticket := study.ask(worker):
            _run(folder, study, ticket, fit)


def _run(folder: Path, study: Study, ticket: QueuedTrial, fit: Fit) -> None:
    own = RunFolder(_emptied(folder / TRIALS / ticket.name))
    events_at = _emptied(folder / layout.TENSORBOARD / ticket.name)
    with EventWriter(events_at) as events:
        record = _Record(study, ticket, own, events)
        try:
            net = fit(study.plan.config(ticket.params), record.epoch)
            net.save(own.file(WEIGHTS))
        except _Behind:
            record.end(success=True)
            study.pruned(ticket)
        except (EnvironmentFault, MemoryError):
            raise
        except Exception as error:  # the sweep goes on without this trial, whatever it was
            record.end(success=False)
            study.fail(ticket, _reason(error))
        else:
            record.end(success=True)
            study.complete(ticket, record.best)


class _Record:
    """Writes down the epochs of one trial."""

    def __init__(
        self, study: Study, ticket: QueuedTrial, folder: RunFolder, events: EventWriter
    ) -> None:
        self._study, self._ticket, self._folder, self._events = study, ticket, folder, events
        self._epochs = study.plan.config(ticket.params).train.epochs
        self._rows: list[Row] = []
        self.best: Row = {}
        values = {short_key(key): value for key, value in ticket.params.items()}
        events.hparams(values, [f"best/{name}" for name in _METRICS])

    def epoch(self, row: Row) -> None:
        """Take a row; raises `_Behind` if the trial is not worth another epoch."""
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
        behind = self._study.note(self._ticket, row, self.best)
        if behind and row["epoch"] < self._epochs:
            raise _Behind

    def end(self, *, success: bool) -> None:
        if self.best:
            found = {f"best/{name}": float(self.best[name]) for name in _METRICS}
            self._events.scalars(found, int(self.best["epoch"]))
        self._events.hparams_end(success=success)


class _Learner:
    """Trains whole networks; images that several trials share are loaded once."""

    def __init__(self) -> None:
        self._known: tuple[object, TrainingArrays] | None = None

    def __call__(self, config: Config, on_epoch: Callable[[Row], None]) -> Fitted:
        from sharpeye.jobs.train.scratch import fit_from_scratch
        from sharpeye.models.registry import get_spec

        spec = get_spec(config.model.name)
        return fit_from_scratch(spec, config, self._material(config), on_epoch=on_epoch)

    def _material(self, config: Config) -> "TrainingArrays":
        from sharpeye.jobs.sweep.arrays import prepare

        # What images a network sees, and as what. All else of the configuration is for the fit.
        key = (config.seed, config.data, config.split, config.model, config.net.color)
        if self._known is None or self._known[0] != key:
            self._known = key, prepare(config)[1]
        return self._known[1]


def _emptied(folder: Path) -> Path:
    """The folder, without what an earlier attempt left in it."""
    with os_errors_at(folder), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    return make_folder(folder)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, SharpEyeError) else f"{type(error).__name__}: {text}"


def main() -> int:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then stops this
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        run_trials(Path(sys.argv[1]), int(sys.argv[2]))
    except SharpEyeError as error:
        print(error, file=sys.stderr)  # noqa: T201  the parent reads the last line
        return error.exit_code
    except MemoryError:
        print("out of memory; use fewer --workers", file=sys.stderr)  # noqa: T201
        return EnvironmentFault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
