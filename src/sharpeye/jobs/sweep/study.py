"""The trials of a sweep in Optuna's SQLite file, which the processes of the sweep share.

All trials are queued first: those of a grid with values; those of a search without, as values are
drawn when a worker takes the trial. The parent process notices at once that a worker has died, and
queues its trial again; Optuna's heartbeat takes 2.1 s at its shortest interval (n = 5).
"""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.storage import FileLock, library_errors_at
from sharpeye.errors import DataError, MissingExtra, one_line
from sharpeye.jobs.sweep.plan import Params, Plan
from sharpeye.report.sweep_charts import TRIAL_STATES, TrialRow

if TYPE_CHECKING:
    import optuna

STUDY, QUEUE_LOCK = "study.db", ".queue.lock"
_NAME = "sweep"  # of the study in the file
_MAX_ATTEMPTS = 2  # A second attempt, since the machine may have caused the first failure.
# Seconds that a writer waits for other writers, which need milliseconds each.
_SQLITE_TIMEOUT = 120.0
# A search over few choices repeats values. It ends after this many draws per trial.
_MAX_DRAWS = 10
_REDUCTION = 3  # Successive halving lets one in three trials continue.


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker has taken from the queue."""

    trial: "optuna.Trial"
    name: str
    params: Params


class Study:
    """The trials of one sweep. Use as a context manager, in one thread.

    A trial has these user attributes in the file: `name`, `worker`, `attempt` (from 1), `best` (an
    epoch and its metrics), `reason` (why it ended early), `stopped` (by the time limit), `replaces`
    (the number of the trial that it repeats), `hidden` (it was a duplicate), and `checksum`.

    Raises:
        MissingExtra: Optuna is not installed.
        EnvironmentFault: the file cannot be written, also at the end of the block.
        DataError: the file is damaged.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan, self._folder = plan, folder
        self._checked: set[int] = set()  # numbers of trials
        try:
            import optuna
        except ImportError:
            raise MissingExtra("Optuna", "train", "a sweep") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._states = optuna.trial.TrialState
        self._file = (folder / STUDY).resolve()
        # Optuna warns of experimental features, and of ranges that no step divides.
        with library_errors_at(self._file), warnings.catch_warnings(action="ignore"):
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{self._file}",
                engine_kwargs={"connect_args": {"timeout": _SQLITE_TIMEOUT}},
            )
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=_NAME,
                direction="minimize" if plan.rank_by == "loss" else "maximize",
                sampler=optuna.samplers.RandomSampler(seed=plan.base.seed),
                pruner=_make_pruner(plan),
                load_if_exists=True,
            )

    def __enter__(self) -> "Study":
        return self

    def __exit__(
        self, _: object = None, error: BaseException | None = None, __: object = None
    ) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()
        if isinstance(error, _storage_errors()):
            with library_errors_at(self._file):
                raise error

    @property
    def queue_length(self) -> int:
        return sum(trial.state is self._states.WAITING for trial in self._all_trials())

    def enqueue_plan(self) -> None:
        """Queue every trial of the plan that is not in the study yet."""
        trials = self._trials()
        if self.plan.trials:
            for _ in range(self.plan.trials - len(trials)):
                self._study.enqueue_trial({})
            return
        known = {frozenset(_params_of(trial).items()) for trial in trials}
        for params in self.plan.combinations():
            if frozenset(params.items()) not in known:
                self._study.enqueue_trial(params)

    def enqueue_interrupted(self) -> int:
        """Queue the unfinished trials of an earlier process again; returns their number."""
        running = self._states.RUNNING
        interrupted = [t for t in self._trials() if t.state is running or "stopped" in t.user_attrs]
        for trial in interrupted:
            self._enqueue_again(trial, trial.user_attrs.get("attempt", 1))
        return len(interrupted)

    def next_trial(self, worker: int) -> RunningTrial | None:
        """Take the next trial from the queue; None if the queue is empty."""
        # SQLite has no row locks: without this one, 3 workers took 5 of 60 trials twice.
        with FileLock(self._folder / QUEUE_LOCK), warnings.catch_warnings(action="ignore"):
            while self.queue_length:
                trial = self._study.ask()
                trial.set_user_attr("worker", worker)
                params = _draw_params(self._study, trial, self.plan)
                others = [t for t in self._trials() if t.number != trial.number and t.params]
                if self.plan.trials and any(other.params == params for other in others):
                    self._mark_failed(trial.number, hidden=True)
                    if len(self._all_trials()) < _MAX_DRAWS * self.plan.trials:
                        self._study.enqueue_trial({})  # Another trial is drawn in its place.
                    continue
                name = self.plan.trial_name(params)
                if any(other.user_attrs.get("name") == name for other in others):
                    name = f"{name}-{trial.number}"
                trial.set_user_attr("name", name)
                return RunningTrial(trial, name, params)
        return None

    def _enqueue_again(self, trial: "optuna.trial.FrozenTrial", attempt: int) -> None:
        attributes = {"attempt": attempt, "replaces": trial.number}
        self._study.enqueue_trial(_params_of(trial), user_attrs=attributes)
        if trial.state is self._states.RUNNING:
            self._mark_failed(trial.number)

    def report_epoch(
        self, running: RunningTrial, row: Mapping[str, Any], best: Mapping[str, Any]
    ) -> bool:
        """Record an epoch, and the best one so far; returns whether to end the trial early."""
        if best is row:
            names = ("epoch", "validation_log_loss", "validation_accuracy")
            running.trial.set_user_attr("best", {name: row[name] for name in names})
        running.trial.report(float(row[self.plan.metric]), int(row["epoch"]))
        return self.plan.prune and running.trial.should_prune()

    def complete(self, running: RunningTrial, best: Mapping[str, Any]) -> None:
        self._add_checksum(running)
        self._study.tell(running.trial, float(best[self.plan.metric]))

    def prune(self, running: RunningTrial) -> None:
        running.trial.set_user_attr("reason", "fell behind the others")
        self._add_checksum(running)
        self._study.tell(running.trial, state=self._states.PRUNED)

    def fail(self, running: RunningTrial, reason: str) -> None:
        self._mark_failed(running.trial.number, reason=reason)

    def worker_died(self, worker: int | None, reason: str) -> int:
        """Queue the trial of a dead worker again, or give it up after the second attempt.

        Args:
            worker: its number; None for all workers.
            reason: recorded with a trial that is given up.

        Returns:
            the number of trials that were running.
        """
        trials = self._running()
        if worker is not None:
            trials = [trial for trial in trials if trial.user_attrs.get("worker") == worker]
        for trial in trials:
            attempt = trial.user_attrs.get("attempt", 1)
            if attempt < _MAX_ATTEMPTS:
                self._enqueue_again(trial, attempt + 1)
            else:
                self._mark_failed(trial.number, reason=reason)
        return len(trials)

    def stop_running(self, reason: str) -> None:
        """End the running trials; `enqueue_interrupted` queues them again."""
        for trial in self._running():
            self._mark_failed(trial.number, stopped=True, reason=reason)

    def _mark_failed(self, number: int, **attributes: Any) -> None:
        """End a trial; its attributes are then final."""
        study = self._storage.get_study_id_from_name(_NAME)
        trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial, name, value)
        self._study.tell(number, state=self._states.FAIL)

    def rows(self) -> list[TrialRow]:
        """Every trial, the best first; trials that ended early follow those that did not."""

        def order(row: TrialRow) -> tuple[int, float]:
            value = row.log_loss if self.plan.rank_by == "loss" else -row.accuracy
            return TRIAL_STATES.index(row.state), math.inf if math.isnan(value) else value

        return sorted(map(self._row, self._trials()), key=order)

    def _row(self, trial: "optuna.trial.FrozenTrial") -> TrialRow:
        attributes, params = trial.user_attrs, _params_of(trial)
        best = attributes.get("best", {})
        failed = "stopped" if "stopped" in attributes else "failed"
        state = failed if trial.state is self._states.FAIL else trial.state.name.lower()
        unnamed = self.plan.trial_name(params) if params else f"trial {trial.number}"
        return TrialRow(
            name=attributes.get("name") or unnamed,
            params=params,
            state=state,
            log_loss=float(best.get("validation_log_loss", math.nan)),
            accuracy=float(best.get("validation_accuracy", math.nan)),
            best_epoch=int(best.get("epoch", 0)),
            epochs=max(trial.intermediate_values, default=0),
            seconds=trial.duration.total_seconds() if trial.duration else math.nan,
            reason=str(attributes.get("reason", "")),
            curve=dict(sorted(trial.intermediate_values.items())),
        )

    def _trials(self) -> list["optuna.trial.FrozenTrial"]:
        """The trials of the plan: neither hidden nor replaced by another trial."""
        trials = self._all_trials()
        # Version 0.1.0 listed replaced trials in an attribute of the study.
        replaced = {*self._study.user_attrs.get("hidden", ())}
        replaced |= {trial.user_attrs.get("replaces") for trial in trials}
        return [t for t in trials if t.number not in replaced and "hidden" not in t.user_attrs]

    def _all_trials(self) -> list["optuna.trial.FrozenTrial"]:
        """All trials in the file; DataError if it is damaged."""
        try:
            trials = self._study.get_trials(deepcopy=False)
        except (ValueError, LookupError, TypeError) as error:  # Optuna checks no value.
            raise self._damage(one_line(error)) from None
        for trial in trials:
            is_complete = trial.state in (self._states.COMPLETE, self._states.PRUNED)
            if is_complete and trial.number not in self._checked:
                expected = trial.user_attrs.get("checksum")  # Earlier versions wrote none.
                if expected not in (None, _checksum(trial)):
                    raise self._damage(f"trial {trial.number} is not as it was written")
                self._checked.add(trial.number)
        return trials

    def _damage(self, reason: str) -> DataError:
        return DataError(f"{self._file} is damaged: {reason}; --overwrite begins the sweep anew")

    def _add_checksum(self, running: RunningTrial) -> None:
        """Let damage of the results be noticed: the last change before a trial ends."""
        trial = self._study.get_trials(deepcopy=False)[running.trial.number]
        running.trial.set_user_attr("checksum", _checksum(trial))

    def _running(self) -> list["optuna.trial.FrozenTrial"]:
        return [trial for trial in self._trials() if trial.state is self._states.RUNNING]


def _storage_errors() -> tuple[type[Exception], ...]:
    """What Optuna raises if the file cannot be written."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError


def _checksum(trial: "optuna.trial.FrozenTrial") -> str:
    """A digest of what a trial was and how well it did; not of the times, which change nothing."""
    attributes = {name: trial.user_attrs[name] for name in trial.user_attrs if name != "checksum"}
    values = sorted(trial.intermediate_values.items())
    text = json.dumps([trial.params, values, attributes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _params_of(trial: "optuna.trial.FrozenTrial") -> Params:
    """The trial's values, or the values that it was queued with."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def _draw_params(study: "optuna.Study", trial: "optuna.Trial", plan: Plan) -> Params:
    """The values of a trial: the queued ones, else drawn by TPE.

    Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization".
    """
    from optuna.samplers import TPESampler

    # Each trial has its own seed: workers that share one would draw the same values.
    seed = (plan.base.seed * 1_000_003 + trial.number) % 2**32
    study.sampler = TPESampler(seed=seed, constant_liar=True)
    params: Params = {}
    for key, values in plan.grid.items():
        choice: Any = trial.suggest_categorical(key, values)
        params[key] = choice
    for key, limits in plan.ranges.items():
        low, high, step, log = limits.low, limits.high, limits.step, limits.log
        if isinstance(low, int):
            params[key] = trial.suggest_int(key, low, int(high), step=int(step) or 1, log=log)
        else:
            params[key] = trial.suggest_float(key, low, high, step=step or None, log=log)
    return params


def _make_pruner(plan: Plan) -> "optuna.pruners.BasePruner":
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934).

    The first rung is at a ninth of the epochs, so that two rungs lie before the end; but at least
    two epochs, since the first epoch predicts too little.
    """
    from optuna import pruners

    if not plan.prune:
        return pruners.NopPruner()
    first = max(2, math.ceil(plan.base.train.epochs / _REDUCTION**2))
    return pruners.SuccessiveHalvingPruner(first, _REDUCTION)
