"""The trials of a sweep in Optuna's SQLite file, shared by the processes that run them.

Every trial is put into a queue first: those of a grid with their values, those of a search empty,
to be drawn when a worker takes them.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sharpeye.core.storage import FileLock
from sharpeye.errors import MissingExtra
from sharpeye.jobs.sweep.plan import Params, Plan
from sharpeye.report.sweep_charts import TRIAL_STATES, TrialRow

if TYPE_CHECKING:
    import optuna

STUDY, QUEUE_LOCK = "study.db", ".queue.lock"
_NAME = "sweep"
_ATTEMPTS = 2  # a worker that dies may have been the machine's fault
_REDUCTION = 3
# Seconds that a writer waits for the others; each of them needs milliseconds.
_PATIENCE = 120.0
# A search over few choices draws some again; it ends when so many times the trials were drawn.
_MAX_DRAWS = 10


@dataclass(frozen=True)
class QueuedTrial:
    """A trial that a worker has taken."""

    trial: "optuna.Trial"
    name: str
    params: Params


class Study:
    """The trials of one sweep. Use as a context manager, in one thread.

    Attributes:
        plan: what they try.

    Raises:
        MissingExtra: Optuna is not installed.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan, self._folder = plan, folder
        optuna = _optuna()
        self._states = optuna.trial.TrialState
        with _quiet():
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{(folder / STUDY).resolve()}",
                engine_kwargs={"connect_args": {"timeout": _PATIENCE}},
            )
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=_NAME,
                direction="minimize" if plan.rank_by == "loss" else "maximize",
                sampler=optuna.samplers.RandomSampler(seed=plan.base.seed),
                pruner=_pruner(plan),
                load_if_exists=True,
            )

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    # --- the queue -------------------------------------------------------------------------------

    def fill(self) -> None:
        """Queue every trial of the plan that is not there yet."""
        there = self._visible()
        if self.plan.trials:
            for _ in range(self.plan.trials - len(there)):
                self._study.enqueue_trial({})
            return
        known = {_key(_fixed(trial)) for trial in there}
        for params in self.plan.combinations():
            if _key(params) not in known:
                self._study.enqueue_trial(params)

    def put_back(self) -> int:
        """Queue again what was cut off; returns how many trials that are."""
        cut = [t for t in self._visible() if t.state.name == "RUNNING" or "stopped" in t.user_attrs]
        for trial in cut:
            self._again(trial, trial.user_attrs.get("attempt", 1))
        return len(cut)

    def ask(self, worker: int) -> QueuedTrial | None:
        """Take the next trial from the queue; None if nothing waits."""
        # SQLite has no row locks: without this one, two workers may take the same trial.
        with FileLock(self._folder / QUEUE_LOCK), _quiet():
            while self.waiting:
                trial = self._study.ask()
                trial.set_user_attr("worker", worker)
                params = self._draw(trial)
                others = [t for t in self._visible() if t.number != trial.number and t.params]
                if self.plan.trials and any(_key(t.params) == _key(params) for t in others):
                    self._drop(trial.number)
                    continue
                name = self.plan.name(params)
                if any(t.user_attrs.get("name") == name for t in others):
                    name = f"{name}-{trial.number}"
                trial.set_user_attr("name", name)
                return QueuedTrial(trial, name, params)
        return None

    def _draw(self, trial: "optuna.Trial") -> Params:
        optuna = _optuna()
        # Of its own seed: workers that share one would draw the same values.
        self._study.sampler = optuna.samplers.TPESampler(
            seed=(self.plan.base.seed * 1_000_003 + trial.number) % 2**32, constant_liar=True
        )
        params: Params = {}
        for key, values in self.plan.grid.items():
            chosen: Any = trial.suggest_categorical(key, values)
            params[key] = chosen
        for key, span in self.plan.ranges.items():
            low, high, step, log = span.low, span.high, span.step, span.log
            if isinstance(low, int):
                params[key] = trial.suggest_int(key, low, int(high), step=int(step) or 1, log=log)
            else:
                params[key] = trial.suggest_float(key, low, high, step=step or None, log=log)
        return params

    def _drop(self, number: int) -> None:
        """Draw another trial in the place of one that was there before."""
        self._mark(number, "hidden", True)
        self._study.tell(number, state=self._states.FAIL)
        if len(self._study.get_trials(deepcopy=False)) < _MAX_DRAWS * self.plan.trials:
            self._study.enqueue_trial({})

    @property
    def waiting(self) -> int:
        """How many trials are in the queue."""
        return len(self._study.get_trials(deepcopy=False, states=(self._states.WAITING,)))

    # --- how trials go ---------------------------------------------------------------------------

    def note(self, ticket: QueuedTrial, row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """Record an epoch, and the best one so far; returns whether the trial falls behind."""
        if best is row:
            names = ("epoch", "validation_log_loss", "validation_accuracy")
            ticket.trial.set_user_attr("best", {name: row[name] for name in names})
        column = "log_loss" if self.plan.rank_by == "loss" else "accuracy"
        ticket.trial.report(float(row[f"validation_{column}"]), int(row["epoch"]))
        return self.plan.prune and ticket.trial.should_prune()

    def complete(self, ticket: QueuedTrial, best: Mapping[str, Any]) -> None:
        column = "log_loss" if self.plan.rank_by == "loss" else "accuracy"
        self._study.tell(ticket.trial, float(best[f"validation_{column}"]))

    def pruned(self, ticket: QueuedTrial) -> None:
        ticket.trial.set_user_attr("reason", "fell behind the others")
        self._study.tell(ticket.trial, state=self._states.PRUNED)

    def fail(self, ticket: QueuedTrial, reason: str) -> None:
        ticket.trial.set_user_attr("reason", reason)
        self._study.tell(ticket.trial, state=self._states.FAIL)

    def crashed(self, worker: int | None, reason: str) -> int:
        """Queue the trial of a worker that died once more, or else give it up.

        Args:
            worker: None for every trial that is running.

        Returns:
            how many trials it had.
        """
        running = [t for t in self._visible() if t.state.name == "RUNNING"]
        hit = [t for t in running if worker is None or t.user_attrs.get("worker") == worker]
        for trial in hit:
            attempt = trial.user_attrs.get("attempt", 1)
            if attempt < _ATTEMPTS:
                self._again(trial, attempt + 1)
            else:
                self._mark(trial.number, "reason", reason)
                self._study.tell(trial.number, state=self._states.FAIL)
        return len(hit)

    def stop(self, reason: str) -> None:
        """End what is running; `put_back` queues it again."""
        for trial in self._visible():
            if trial.state.name == "RUNNING":
                self._mark(trial.number, "stopped", True)
                self._mark(trial.number, "reason", reason)
                self._study.tell(trial.number, state=self._states.FAIL)

    def _again(self, trial: "optuna.trial.FrozenTrial", attempt: int) -> None:
        self._study.enqueue_trial(_fixed(trial), user_attrs={"attempt": attempt})
        if trial.state.name == "RUNNING":
            self._mark(trial.number, "hidden", True)
            self._study.tell(trial.number, state=self._states.FAIL)
        else:  # a trial that has ended can take no mark any more
            hidden = self._study.user_attrs.get("hidden", [])
            self._study.set_user_attr("hidden", [*hidden, trial.number])

    def _mark(self, number: int, name: str, value: Any) -> None:
        study = self._storage.get_study_id_from_name(_NAME)
        trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        self._storage.set_trial_user_attr(trial, name, value)

    def _visible(self) -> list["optuna.trial.FrozenTrial"]:
        hidden = set(self._study.user_attrs.get("hidden", []))
        trials = self._study.get_trials(deepcopy=False)
        return [t for t in trials if t.number not in hidden and "hidden" not in t.user_attrs]

    # --- what came out ---------------------------------------------------------------------------

    def rows(self) -> list[TrialRow]:
        """Every trial, the best first; those that ended early follow those that did not."""
        found = [self._row(trial) for trial in self._visible()]
        sign = 1.0 if self.plan.rank_by == "loss" else -1.0

        def order(row: TrialRow) -> tuple[int, float, int]:
            value = row.log_loss if self.plan.rank_by == "loss" else row.accuracy
            return TRIAL_STATES.index(row.state), math.inf if math.isnan(value) else sign * value, 0

        return sorted(found, key=order)

    def _row(self, trial: "optuna.trial.FrozenTrial") -> TrialRow:
        about, params = trial.user_attrs, dict(_fixed(trial))
        best = about.get("best", {})
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running"}
        state = "stopped" if "stopped" in about else names.get(trial.state.name, "failed")
        state = "waiting" if trial.state.name == "WAITING" else state
        name = about.get("name") or (self.plan.name(params) if params else f"trial {trial.number}")
        return TrialRow(
            name=name,
            params=params,
            state=state,
            log_loss=float(best.get("validation_log_loss", math.nan)),
            accuracy=float(best.get("validation_accuracy", math.nan)),
            best_epoch=int(best.get("epoch", 0)),
            epochs=max(trial.intermediate_values, default=0),
            seconds=trial.duration.total_seconds() if trial.duration else math.nan,
            reason=str(about.get("reason", "")),
            curve=dict(sorted(trial.intermediate_values.items())),
        )


def _key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(params.items()))


def _fixed(trial: "optuna.trial.FrozenTrial") -> Params:
    """The trial's values: those that it has, or was queued with."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def _pruner(plan: Plan) -> "optuna.pruners.BasePruner":
    """Successive halving (Li et al. 2020, arXiv 1810.05934): of three, one goes on.

    The first rung is a ninth of the epochs, so that there are two of them before the last; but
    never less than two epochs, as the first one tells too little.
    """
    from optuna import pruners

    if not plan.prune:
        return pruners.NopPruner()
    first = max(2, math.ceil(plan.base.train.epochs / _REDUCTION**2))
    return pruners.SuccessiveHalvingPruner(first, _REDUCTION)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("Optuna", "train", "a sweep") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what is experimental in it, and of ranges that no step divides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
