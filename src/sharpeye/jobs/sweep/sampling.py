"""How Optuna draws the values of a search, and when it ends a trial early."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sharpeye.errors import MissingExtra
from sharpeye.jobs.sweep.plan import Params, Plan

if TYPE_CHECKING:
    import optuna

_REDUCTION = 3


def import_optuna() -> ModuleType:
    """Optuna, which logs nothing but errors.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra("Optuna", "train", "a sweep") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silence what Optuna says of experimental features and of ranges that no step divides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def draw_params(study: "optuna.Study", trial: "optuna.Trial", plan: Plan) -> Params:
    """The values of a trial: those that it was queued with, else drawn by TPE.

    Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization".
    """
    # Each trial has its own seed: workers that share one would draw the same values.
    study.sampler = import_optuna().samplers.TPESampler(
        seed=(plan.base.seed * 1_000_003 + trial.number) % 2**32, constant_liar=True
    )
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


def make_pruner(plan: Plan) -> "optuna.pruners.BasePruner":
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934): one in three continues.

    The first rung is at a ninth of the epochs, so that two rungs lie before the end; but not below
    two epochs, since the first epoch predicts too little.
    """
    from optuna import pruners

    if not plan.prune:
        return pruners.NopPruner()
    first = max(2, math.ceil(plan.base.train.epochs / _REDUCTION**2))
    return pruners.SuccessiveHalvingPruner(first, _REDUCTION)
