"""Train a network: run epochs, keep the best one, and resume a stopped training."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.metrics import log_loss
from sharpeye.core.numerics import softmax
from sharpeye.core.progress import Progress
from sharpeye.errors import DataError, DivergedError, UsageError
from sharpeye.images.boxes import iou
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.backend import load_backend, make_engine, set_seed
from sharpeye.learn.nets.batches import BatchLoader, EpochBatches
from sharpeye.learn.nets.checkpoint import (
    MIN_CHECKPOINTS,
    Checkpoint,
    CheckpointFolder,
)
from sharpeye.learn.nets.engine import Engine, EpochTotals
from sharpeye.learn.nets.loss import Loss
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

EpochRow = dict[str, Any]
EpochCallback = Callable[[EpochRow], None]

# Safety factor on the measured times: a schedule that is cut short would end at a high rate.
_TIME_MARGIN = 1.05


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, with the weights of its best epoch.

    Attributes:
        model: float32[N,H,W,C] 0..255 to `features` and `logits`.
        history: one row per epoch: stage, epoch, log_loss, accuracy, validation_log_loss,
            validation_accuracy, learning_rate, seconds; with boxes also mean_iou,
            validation_mean_iou, loss and validation_loss, which weigh both.
        last_state: `Engine.state` after the last epoch; empty without `keep_checkpoints`.
    """

    model: "keras.Model"
    engine: Engine
    history: tuple[EpochRow, ...]
    last_state: list[Array] = field(default_factory=list)

    @property
    def best_row(self) -> EpochRow:
        """The history's row of the best epoch on validation; of equal epochs the earliest."""
        return min(self.history, key=monitored_loss)

    def save_checkpoint(self, folder: Path) -> None:
        """Write the best epoch as a checkpoint, after which no epoch is left: a run that resumes
        it predicts and writes its model; raises EnvironmentFault if the disk is full.
        """
        state = _TrainState(len(self.history), [*self.history])
        CheckpointFolder(folder).save(state.to_checkpoint(self.engine.state()))


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
    prediction_seconds: float = 0.0  # the most that an image of the validation split took
    earlier_epochs: int = 0  # of a finished training that goes on, perhaps on another machine

    @property
    def epochs_since_best(self) -> int:
        losses = [monitored_loss(row) for row in self.history]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def is_over(self, patience: int) -> bool:
        if patience and self.epochs_since_best >= patience:
            log.info("no better epoch for %d epochs: training ends", self.epochs_since_best)
            return True
        return len(self.history) >= self.planned_epochs

    def seconds_left(self, settings: FitSettings) -> float:
        """Seconds until the predictions after the training have to begin."""
        after = _TIME_MARGIN * self.prediction_seconds * settings.predictions_after
        return settings.time_limit - self.seconds - after

    def plan(self, settings: FitSettings) -> None:
        """Plan as many epochs as the time limit allows, so that the schedule ends with them."""
        done = len(self.history)
        timed = self.history[self.earlier_epochs :]
        epoch_seconds = float(np.median([row["seconds"] for row in timed]))
        left = self.seconds_left(settings)
        if (self.planned_epochs - done) * epoch_seconds <= left:
            return
        self.planned_epochs = done + max(0, math.floor(left / (_TIME_MARGIN * epoch_seconds)))
        if done <= self.earlier_epochs + 2:
            log.info("%d epochs fit into %g s", self.planned_epochs, settings.time_limit)

    def to_checkpoint(self, variables: list[Array]) -> Checkpoint:
        planned, seconds = self.planned_epochs, self.seconds
        metadata = {"history": self.history, "planned": planned, "seconds": seconds}
        return Checkpoint(len(self.history), metadata, variables, self.best)

    def resume(self, checkpoint: Checkpoint) -> None:
        metadata = checkpoint.metadata
        self.history = list(metadata["history"])
        self.best = checkpoint.best or checkpoint.state
        self.planned_epochs, self.seconds = metadata["planned"], metadata["seconds"]


def fit_network(
    build: Callable[[], "keras.Model"],
    arrays: TrainingArrays,
    settings: FitSettings,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
    on_images: Progress | None = None,
    earlier: Sequence[EpochRow] = (),
) -> FittedNetwork:
    """Train a network, and return it with the weights of the best epoch on validation.

    Equal settings, images and numbers of cores give equal weights, even after an interruption: all
    random numbers of an epoch follow from the seed and the epoch's number.

    Args:
        build: makes the model; called after Keras is loaded and seeded.
        checkpoints: a folder; None writes none.
        resume: continue from the newest checkpoint, if there is one.
        on_epoch: called with each epoch's row of the history; if it raises, training ends.
        on_images: called some times an epoch, with the number of images that were trained on since
            the beginning, and of those that all planned epochs have.
        earlier: the epochs of a finished training that goes on, if `build` returns the network with
            the weights of the best of them; the schedule goes on in them, too.

    Raises:
        DivergedError: the loss is no longer finite.
        DataError: the checkpoint belongs to another network.
        MissingExtra: Keras or its backend is not installed.
    """
    engine, loader = prepare_training(build, arrays, settings)
    state = _TrainState(settings.epochs, earlier_epochs=len(earlier))
    count = max(MIN_CHECKPOINTS, settings.keep_checkpoints)
    store = CheckpointFolder(checkpoints, count) if checkpoints else None
    if store and resume:
        _resume(store, engine, state)
    elif store:
        store.clear()
    if earlier and not state.history:
        state.history, state.best = [*earlier], engine.state()
    if settings.time_limit:
        state.seconds += _warm_up(engine, loader, arrays)
    while not state.is_over(settings.patience):
        row = _run_epoch(
            engine, loader, arrays, state=state, settings=settings, on_images=on_images
        )
        state.history.append(row)
        state.seconds += row["seconds"]
        is_best = state.epochs_since_best == 0
        variables = engine.state() if is_best or store else []
        if is_best:
            state.best = variables
        if settings.time_limit:
            state.plan(settings)
        if store:
            store.save(state.to_checkpoint(variables))
        if on_epoch:
            on_epoch(row)
    last_state = engine.state() if settings.keep_checkpoints else []
    if store and last_state:
        store.finish(state.to_checkpoint(last_state), settings.keep_checkpoints)
    engine.restore(state.best)
    return FittedNetwork(engine.inference_model, engine, tuple(state.history), last_state)


def prepare_training(
    build: Callable[[], "keras.Model"], arrays: TrainingArrays, settings: FitSettings
) -> tuple[Engine, BatchLoader]:
    """Load the backend; an engine for the network that `build` makes, and its batches.

    Raises:
        UsageError: more steps are accumulated than there are.
    """
    load_backend()
    set_seed(settings.seed)
    size = (arrays.input.height, arrays.input.width)
    augmentation = Augmentation(settings.augment, *size, fill=blank_level(arrays))
    batches = EpochBatches(
        arrays.targets["train"],
        len(arrays.class_names),
        batch_size=settings.batch_size,
        balance=settings.balance,
        seed=settings.seed,
    )
    steps = batches.steps_per_epoch * settings.epochs
    if settings.accumulate > steps:
        raise UsageError(
            f"train.accumulate must be at most {steps}, the steps of this training, or no weight "
            f"ever moves. Received: {settings.accumulate}"
        )
    engine = make_engine(build, settings, augmentation=augmentation, loss=Loss(settings, size))
    return engine, BatchLoader(arrays, batches, augmentation, settings=settings)


def blank_level(arrays: TrainingArrays) -> float:
    """The grey level of blanked areas: the mean of some training images."""
    indices = np.sort(arrays.indices["train"])
    return float(arrays.pixels[indices[:: max(1, len(indices) // 256)]].mean())


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
    for batches in loader.warm_up(each_length=engine.compiles_each_length):
        engine.train(batches)
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
    on_images: Progress | None,
) -> EpochRow:
    started = time.perf_counter()
    epoch, totals, rate = len(state.history), EpochTotals(), 0.0
    before, planned = (number * loader.images_per_epoch for number in (epoch, state.planned_epochs))
    for batches in loader.epoch(epoch, state.planned_epochs):
        totals += engine.train(batches)
        rate = float(batches.learning_rates[-1])
        if not math.isfinite(totals.loss):
            raise _diverged(epoch, "the loss is not a number any more", settings)
        if on_images:
            on_images(before + totals.images, planned)
        if settings.time_limit and time.perf_counter() - started > state.seconds_left(settings):
            log.warning("the time limit ends epoch %d before all of its images", epoch + 1)
            break
    row: EpochRow = {"stage": settings.stage, "epoch": epoch + 1}
    trained = time.perf_counter()
    row |= _metrics(totals, engine, arrays) | {"learning_rate": rate}
    seconds = (time.perf_counter() - trained) / max(1, len(arrays.indices["validation"]))
    state.prediction_seconds = max(state.prediction_seconds, seconds)
    if not math.isfinite(monitored_loss(row)):
        raise _diverged(epoch, "the network's answers are not numbers", settings)
    return row | {"seconds": time.perf_counter() - started}


def _diverged(epoch: int, reason: str, settings: FitSettings) -> DivergedError:
    return DivergedError(
        f"training diverged in epoch {epoch + 1}: {reason}; try a lower rate, such as half of it: "
        f"--set {settings.learning_rate_key}={settings.learning_rate / 2:.2g}, "
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
        # The same sum for both splits: what is minimized also has smoothed labels and distances.
        trained = totals.log_loss / count if "logits" in outputs else None
        metrics["loss"] = engine.loss.monitored(trained, totals.iou / count)
        metrics["validation_loss"] = engine.loss.monitored(validation_log_loss, mean_iou)
    return metrics
