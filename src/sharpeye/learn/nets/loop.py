"""Train a network: run epochs, keep the best one, and resume a stopped training."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.metrics import log_loss
from sharpeye.core.numerics import softmax
from sharpeye.errors import DataError, DivergedError
from sharpeye.images.boxes import iou
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.backend import load_backend, make_engine, precision
from sharpeye.learn.nets.batches import BatchLoader, EpochBatches
from sharpeye.learn.nets.checkpoint import Checkpoint, CheckpointFolder, save_arrays
from sharpeye.learn.nets.engine import Engine, EpochTotals
from sharpeye.learn.nets.loss import Loss
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

EpochRow = dict[str, Any]
EpochCallback = Callable[[EpochRow], None]

# Safety factor on the measured epoch time: a schedule that is cut short would end at a high rate.
_TIME_MARGIN = 1.05


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, with the weights of its best epoch.

    Attributes:
        model: float32[N,H,W,C] 0..255 to `features` and `logits`.
        history: one row per epoch: stage, epoch, log_loss, accuracy, validation_log_loss,
            validation_accuracy, learning_rate, seconds; with boxes also mean_iou,
            validation_mean_iou, loss and validation_loss, which weigh both.
    """

    model: "keras.Model"
    engine: Engine
    history: tuple[EpochRow, ...]

    @property
    def best_row(self) -> EpochRow:
        """The history's row of the best epoch on validation; of equal epochs the earliest."""
        return min(self.history, key=monitored_loss)

    def save(self, file: Path) -> None:
        """Write the weights as plain arrays; raises EnvironmentFault if the disk is full."""
        weights = [np.asarray(variable) for variable in self.model.variables]
        save_arrays(file, {"best": self.best_row}, weights=weights)


def monitored_loss(row: Mapping[str, Any]) -> float:
    """The monitored value, lower is better: the validation log loss; with boxes, a weighted sum."""
    key = "validation_loss" if "validation_loss" in row else "validation_log_loss"
    return float(row[key])


@dataclass
class _TrainState:
    """The progress of a training, and its number of planned epochs."""

    planned_epochs: int
    history: list[EpochRow] = field(default_factory=list)
    best: list[Array] = field(default_factory=list)  # the engine's variables after that epoch
    seconds: float = 0.0  # including epochs before an interruption

    @property
    def epochs_since_best(self) -> int:
        losses = [monitored_loss(row) for row in self.history]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def is_over(self, patience: int) -> bool:
        if patience and self.epochs_since_best >= patience:
            log.info("no better epoch for %d epochs: training ends", self.epochs_since_best)
            return True
        return len(self.history) >= self.planned_epochs

    def plan(self, time_limit: float) -> None:
        """Plan as many epochs as the time limit allows, so that the schedule ends with them."""
        done = len(self.history)
        epoch_seconds = float(np.median([row["seconds"] for row in self.history]))
        left = time_limit - self.seconds
        if (self.planned_epochs - done) * epoch_seconds <= left:
            return
        self.planned_epochs = done + max(0, math.floor(left / (_TIME_MARGIN * epoch_seconds)))
        if done <= 2:
            log.info("%d epochs fit into %g s", self.planned_epochs, time_limit)

    def to_checkpoint(self, variables: list[Array]) -> Checkpoint:
        planned, seconds = self.planned_epochs, self.seconds
        metadata = {"history": self.history, "planned": planned, "seconds": seconds}
        return Checkpoint(len(self.history), metadata, variables, self.best)

    def resume(self, checkpoint: Checkpoint) -> None:
        metadata = checkpoint.metadata
        self.history, self.best = list(metadata["history"]), checkpoint.best
        self.planned_epochs, self.seconds = metadata["planned"], metadata["seconds"]


def fit_network(
    build: Callable[[], "keras.Model"],
    arrays: TrainingArrays,
    settings: FitSettings,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
) -> FittedNetwork:
    """Train a network, and return it with the weights of the best epoch on validation.

    Equal settings, images and numbers of cores give equal weights, even after an interruption: all
    random numbers of an epoch follow from the seed and the epoch's number.

    Args:
        build: makes the model; called after Keras is loaded and seeded.
        checkpoints: a folder; None writes none.
        resume: continue from the newest checkpoint, if there is one.
        on_epoch: called with each epoch's row of the history; if it raises, training ends.

    Raises:
        DivergedError: the loss is no longer finite.
        DataError: the checkpoint belongs to another network.
        MissingExtra: Keras or its backend is not installed.
    """
    model, engine, loader = _prepare(build, arrays, settings)
    state = _TrainState(settings.epochs)
    store = CheckpointFolder(checkpoints) if checkpoints else None
    if store and resume:
        _resume(store, engine, state)
    elif store:
        store.clear()
    if settings.time_limit:
        state.seconds += _warm_up(engine, loader, arrays)
    while not state.is_over(settings.patience):
        row = _run_epoch(engine, loader, arrays, state=state, settings=settings)
        state.history.append(row)
        state.seconds += row["seconds"]
        is_best = state.epochs_since_best == 0
        variables = engine.state() if is_best or store else []
        if is_best:
            state.best = variables
        if settings.time_limit:
            state.plan(settings.time_limit)
        if store:
            store.save(state.to_checkpoint(variables))
        if on_epoch:
            on_epoch(row)
    engine.restore(state.best)
    return FittedNetwork(model, engine, tuple(state.history))


def _prepare(
    build: Callable[[], "keras.Model"], arrays: TrainingArrays, settings: FitSettings
) -> tuple["keras.Model", Engine, BatchLoader]:
    load_backend()
    import keras

    keras.utils.set_random_seed(settings.seed)
    with precision(settings.precision):
        model = build()
    size = (arrays.input.height, arrays.input.width)
    indices = np.sort(arrays.indices["train"])
    grey_level = float(arrays.pixels[indices[:: max(1, len(indices) // 256)]].mean())
    augmentation = Augmentation(settings.augment, *size, fill=grey_level)
    batches = EpochBatches(
        arrays.targets["train"],
        len(arrays.class_names),
        batch_size=settings.batch_size,
        balance=settings.balance,
        seed=settings.seed,
    )
    engine = make_engine(model, settings, augmentation=augmentation, loss=Loss(settings, size))
    return model, engine, BatchLoader(arrays, batches, augmentation, settings=settings)


def _resume(store: CheckpointFolder, engine: Engine, state: _TrainState) -> None:
    checkpoint = store.latest()
    if checkpoint is None:
        log.info("there is no checkpoint yet: training begins")
        return
    try:
        engine.restore(checkpoint.state)
    except ValueError:
        raise DataError(
            "the checkpoint is of another network; give the flags that the run was begun with, "
            "or another --output"
        ) from None
    state.resume(checkpoint)
    log.info("going on after epoch %d", checkpoint.epoch)


def _warm_up(engine: Engine, loader: BatchLoader, arrays: TrainingArrays) -> float:
    """Build the graphs, so that the first epoch takes as long as later ones; return the seconds."""
    started = time.perf_counter()
    before = engine.state()
    engine.train(loader.first_step())
    engine.predict(arrays.pixels, arrays.indices["validation"])
    engine.restore(before)
    return time.perf_counter() - started


def _run_epoch(
    engine: Engine,
    loader: BatchLoader,
    arrays: TrainingArrays,
    *,
    state: _TrainState,
    settings: FitSettings,
) -> EpochRow:
    started = time.perf_counter()
    epoch, totals, rate = len(state.history), EpochTotals(), 0.0
    for batches in loader.epoch(epoch, state.planned_epochs):
        totals += engine.train(batches)
        rate = float(batches.learning_rates[-1])
        if not math.isfinite(totals.loss):
            raise _diverged(epoch, "the loss is not a number any more", settings)
    row: EpochRow = {"stage": settings.stage, "epoch": epoch + 1}
    row |= _metrics(totals, engine, arrays) | {"learning_rate": rate}
    if not math.isfinite(monitored_loss(row)):
        raise _diverged(epoch, "the network's answers are not numbers", settings)
    return row | {"seconds": time.perf_counter() - started}


def _diverged(epoch: int, reason: str, settings: FitSettings) -> DivergedError:
    return DivergedError(
        f"training diverged in epoch {epoch + 1}: {reason}; try a lower rate, such as "
        f"--set {settings.learning_rate_key}={settings.learning_rate / 5:.2g}, "
        "or --set train.clip_norm=1"
    )


def _metrics(totals: EpochTotals, engine: Engine, arrays: TrainingArrays) -> EpochRow:
    """The epoch's metrics on the training images and on the validation images."""
    outputs = engine.predict(arrays.pixels, arrays.indices["validation"])
    targets, count = arrays.targets["validation"], totals.images
    metrics = EpochRow()
    validation_log_loss, mean_iou = None, None
    if "logits" in outputs:
        logits = outputs["logits"]
        validation_log_loss = log_loss(targets, softmax(logits.astype(np.float64)))
        accuracy = float((logits.argmax(axis=1) == targets).mean())
        metrics |= {"log_loss": totals.log_loss / count, "accuracy": totals.correct / count}
        metrics |= {"validation_log_loss": validation_log_loss, "validation_accuracy": accuracy}
    if "box" in outputs:
        mean_iou = float(iou(outputs["box"], arrays.boxes["validation"]).mean())
        metrics |= {"mean_iou": totals.iou / count, "validation_mean_iou": mean_iou}
        both = engine.loss.validation_loss(validation_log_loss, mean_iou)
        metrics |= {"loss": totals.loss / count, "validation_loss": both}
    return metrics
