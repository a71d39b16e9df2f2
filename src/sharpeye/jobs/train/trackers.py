"""Report a training to an experiment tracker: MLflow, Weights & Biases, or Trackio.

None is ever used unless it is named in the call. Each library finds its server by its own settings,
such as MLFLOW_TRACKING_URI. A tracker that fails is left out with a warning: it never ends a
training.
"""

import contextlib
import importlib.util
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpeye.core.config import Config, changed_knobs
from sharpeye.core.knobs import iter_knobs
from sharpeye.errors import MissingExtra, UsageError, near_match, one_line

log = logging.getLogger(__name__)

PROJECT = "sharpeye"
_TEXT_COLUMNS = ("stage", "epoch")


class Tracker(ABC):
    """A run of a tracker; the epochs are reported to it as to any observer."""

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        self.name = name
        self._works = True
        self._guarded(lambda: self.start(name, params))

    def on_epoch_end(self, metrics: Mapping[str, Any]) -> None:
        values = {
            f"{metrics['stage']}/{key}": float(value)
            for key, value in metrics.items()
            if key not in _TEXT_COLUMNS and value is not None
        }
        self._guarded(lambda: self.log(values, int(metrics["epoch"])))

    def end(self, scores: Mapping[str, float] | None) -> None:
        """End with the scores of the test images; None after a failure."""
        self._guarded(lambda: self.finish(scores))

    def _guarded(self, call: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            # Standard output holds the results of the command; Trackio prints its advice there.
            with contextlib.redirect_stdout(sys.stderr):
                call()
        except Exception as error:  # Servers and libraries fail in many ways.
            self._works = False
            kind = type(self).__name__
            log.warning("%s is left out from here on: %s", kind, one_line(error, 300))

    @abstractmethod
    def start(self, name: str, params: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None: ...

    @abstractmethod
    def finish(self, scores: Mapping[str, float] | None) -> None: ...


class MLflow(Tracker):
    def start(self, name: str, params: Mapping[str, Any]) -> None:
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # It tells of its own tables.
        self._library = mlflow
        mlflow.set_experiment(PROJECT)
        mlflow.start_run(run_name=name)
        mlflow.log_params({key: str(value) for key, value in params.items()})

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._library.log_metrics(dict(values), step=step)

    def finish(self, scores: Mapping[str, float] | None) -> None:
        if scores:
            self._library.log_metrics(dict(scores))
        self._library.end_run("FINISHED" if scores else "FAILED")


class WeightsAndBiases(Tracker):
    def start(self, name: str, params: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project=PROJECT, name=name, config=dict(params))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, scores: Mapping[str, float] | None) -> None:
        self._run.summary.update(dict(scores or {}))
        self._run.finish(exit_code=0 if scores else 1)


class Trackio(Tracker):
    def start(self, name: str, params: Mapping[str, Any]) -> None:
        import trackio

        self._library = trackio
        trackio.init(project=PROJECT, name=name, config=dict(params), embed=False)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._library.log(dict(values), step=step)

    def finish(self, scores: Mapping[str, float] | None) -> None:
        if scores:
            self._library.log(dict(scores))
        self._library.finish()


# By the name that the user types, which is that of the extra, too: the package and the class.
TRACKERS: dict[str, tuple[str, type[Tracker]]] = {
    "mlflow": ("mlflow", MLflow),
    "wandb": ("wandb", WeightsAndBiases),
    "trackio": ("trackio", Trackio),
}


def require_tracker(name: str) -> None:
    """Raise UsageError for an unknown tracker, and MissingExtra if its package is missing."""
    if name not in TRACKERS:
        raise UsageError(
            f"--track takes {', '.join(TRACKERS)}. Received: {name}. {near_match(name, TRACKERS)}"
        )
    package = TRACKERS[name][0]
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, name, f"--track {name}")


@contextlib.contextmanager
def tracking(name: str, title: str, config: Config) -> Iterator[Tracker]:
    """A run of the tracker of that name, for the time of a training.

    Args:
        title: the name of the run.
    """
    values = {key: value for key, _, value in iter_knobs(config)}
    tracker = TRACKERS[name][1](title, {key: values[key] for key in changed_knobs(config)})
    try:
        yield tracker
    except BaseException:
        tracker.end(None)
        raise


def report_scores(tracker: Tracker, metrics: Mapping[str, Any]) -> None:
    """End with the scores of the test images in `metrics.json`."""
    test = metrics["test"]
    names = ("accuracy", "log_loss", "ece", "mean_iou")
    tracker.end({f"test/{name}": float(test[name]) for name in names if name in test})
