"""The loop that learns a network: epochs, the best of them, and how to go on after a stop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config, TrainConfig
from sharpeye.core.metrics import log_loss
from sharpeye.errors import DataError, DivergedError
from sharpeye.images.boxes import iou
from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.nets.augment import Augment
from sharpeye.learn.nets.backend import load_backend, make_engine, precision
from sharpeye.learn.nets.batches import EpochBatches
from sharpeye.learn.nets.checkpoint import Checkpoint, Checkpoints, save_arrays
from sharpeye.learn.nets.engine import Engine, EpochTotals, StepBatches
from sharpeye.learn.nets.learning_rates import learning_rates
from sharpeye.learn.nets.loss import Loss, make_loss
from sharpeye.learn.nets.training_arrays import TrainingArrays

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Row = dict[str, Any]
OnEpoch = Callable[[Row], None]

# What sets the learning rate of a stage.
_RATE_KEYS = {
    "train": "train.learning_rate",
    "fine-tune": "finetune.learning_rate",
    "box": "localize.learning_rate",
}

# A stretch is drawn and gathered while the one before it is learned from.
_STRETCH_BYTES, _STRETCH_STEPS = 16 * 2**20, 128
# What an epoch is thought to take, by what it took: no two take the same.
_IN_HAND = 1.05


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, with the weights of its best epoch.

    Attributes:
        model: float32[N,H,W,C] 0..255 to `features` and `logits`.
        engine: answers with it.
        history: a row an epoch: stage, epoch, log_loss, accuracy, validation_log_loss,
            validation_accuracy, learning_rate, seconds; with boxes also mean_iou,
            validation_mean_iou and validation_loss, which weighs both.
    """

    model: "keras.Model"
    engine: Engine
    history: tuple[Row, ...]

    @property
    def best(self) -> Row:
        """The epoch that did best on validation, the earliest of equals."""
        return min(self.history, key=validation_score)

    def save(self, file: Path) -> None:
        """Write the weights as plain arrays.

        Raises:
            EnvironmentFault: the disk is full.
        """
        save_arrays(
            file, {"best": self.best}, weights=[np.asarray(v) for v in self.model.variables]
        )


def validation_score(row: Mapping[str, Any]) -> float:
    """What an epoch is judged by, less is better: validation log loss; with boxes, both losses."""
    key = "validation_loss" if "validation_loss" in row else "validation_log_loss"
    return float(row[key])


@dataclass
class _TrainState:
    """How far training has come."""

    planned: int  # epochs
    history: list[Row] = field(default_factory=list)
    best: list[npt.NDArray[Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def since_best(self) -> int:
        """Epochs since the best one; 0 right after it."""
        losses = [validation_score(row) for row in self.history]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def fit_network(
    build: Callable[[], "keras.Model"],
    config: Config,
    material: TrainingArrays,
    *,
    peak: float,
    stage: str = "train",
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> FittedNetwork:
    """Train a network, and keep the epoch that does best on validation; see `judged`.

    The same configuration, images and number of cores give the same weights, stopped and
    resumed or not: whatever is random in an epoch is drawn from the seed and its number.

    Args:
        build: makes the model, called with Keras loaded and seeded.
        config: `train`, `augment`, `data.balance` and `seed` are followed.
        peak: the highest learning rate.
        stage: what rows of the history are called, `train` or `fine-tune`.
        checkpoints: a folder for them; None writes none.
        resume: go on from the newest that is there.
        on_epoch: told of each epoch; what it raises ends training.

    Raises:
        DivergedError: the loss is not finite any more.
        DataError: the checkpoint is of another run.
        MissingExtra: Keras or its backend is not installed.
    """
    load_backend()
    import keras

    keras.utils.set_random_seed(config.seed)
    with precision(config.train.precision):
        model = build()
    augment = Augment(config.augment, material.input.height, material.input.width, _fill(material))
    order = EpochBatches(
        material.targets["train"],
        len(material.class_names),
        config.train.batch_size,
        config.data.balance,
        config.seed,
    )
    objective = make_loss(config, material.input.height, material.input.width)
    engine = make_engine(model, config.train, augment, objective, order.batch_size)
    course = _TrainState(config.train.epochs)
    store = Checkpoints(checkpoints) if checkpoints else None
    if resume and store:
        _resume(store, engine, course)
    elif store:
        store.clear()
    feed = _BatchLoader(material, order, augment, config, peak)
    if config.train.time_limit:
        course.seconds += _warm_up(engine, feed, material)
    while not _is_over(course, config.train):
        started = time.perf_counter()
        tally, rate = _learn(engine, feed, len(course.history), course, stage)
        row: Row = {"stage": stage, "epoch": len(course.history) + 1}
        row |= _row(tally, engine, material, objective) | {"learning_rate": rate}
        if not math.isfinite(validation_score(row)):
            raise _diverged(row["epoch"], "the network's answers are not numbers", feed, stage)
        row["seconds"] = time.perf_counter() - started
        course.seconds += row["seconds"]
        course.history.append(row)
        if course.since_best == 0 or store:
            state = engine.state()
        if course.since_best == 0:
            course.best = state
        _plan(course, config.train)
        if store:
            about = {
                "history": course.history,
                "planned": course.planned,
                "seconds": course.seconds,
            }
            store.save(Checkpoint(len(course.history), about, state, course.best))
        if on_epoch:
            on_epoch(row)
    engine.restore(course.best)
    return FittedNetwork(model, engine, tuple(course.history))


def _fill(material: TrainingArrays) -> float:
    """The mean grey level of some training images: what blanked squares are filled with."""
    rows = np.sort(material.indices["train"])
    return float(material.pixels[rows[:: max(1, len(rows) // 256)]].mean())


def _resume(store: Checkpoints, engine: Engine, course: _TrainState) -> None:
    found = store.latest()
    if found is None:
        log.info("there is no checkpoint yet: training begins")
        return
    try:
        engine.restore(found.state)
    except ValueError:
        raise DataError(
            "the checkpoint is of another network; give the flags that the run was begun with, "
            "or another --output"
        ) from None
    course.history = list(found.about["history"])
    course.planned, course.seconds = found.about["planned"], found.about["seconds"]
    course.best = found.best
    log.info("going on after epoch %d", found.epoch)


def _is_over(course: _TrainState, config: TrainConfig) -> bool:
    if config.patience and course.since_best >= config.patience:
        log.info("no better epoch for %d epochs: training ends", course.since_best)
        return True
    return len(course.history) >= course.planned


def _warm_up(engine: Engine, feed: "_BatchLoader", material: TrainingArrays) -> float:
    """Have the graphs made, so that the first epoch tells how long the others take; its seconds."""
    started = time.perf_counter()
    before = engine.state()
    engine.train(feed.sample())
    engine.predict(material.pixels, material.indices["validation"])
    engine.restore(before)
    return time.perf_counter() - started


def _plan(course: _TrainState, config: TrainConfig) -> None:
    """Plan as many epochs as the time limit allows, so that the schedule ends with them."""
    if not config.time_limit:
        return
    done = len(course.history)
    typical = float(np.median([row["seconds"] for row in course.history]))
    left = config.time_limit - course.seconds
    if (course.planned - done) * typical <= left:
        return
    # Some time is kept in hand: a plan cut in its last epochs would end at a high rate.
    course.planned = done + max(0, math.floor(left / (_IN_HAND * typical)))
    if done <= 2:
        log.info("%d epochs fit into %g s", course.planned, config.time_limit)


def _learn(
    engine: Engine, feed: "_BatchLoader", number: int, course: _TrainState, stage: str
) -> tuple[EpochTotals, float]:
    """Take the steps of an epoch; returns what they came to, and the last learning rate."""
    tally, rate = EpochTotals(), 0.0
    for stretch in feed.epoch(number, course.planned):
        tally += engine.train(stretch)
        rate = float(stretch.learning_rates[-1])
        if not math.isfinite(tally.loss):
            raise _diverged(number + 1, "the loss is not a number any more", feed, stage)
    return tally, rate


def _diverged(epoch: int, what: str, feed: "_BatchLoader", stage: str) -> DivergedError:
    return DivergedError(
        f"training diverged in epoch {epoch}: {what}; "
        f"try a lower rate, such as --set {_RATE_KEYS[stage]}={feed.peak / 5:.2g}, "
        "or --set train.clip_norm=1"
    )


def _row(tally: EpochTotals, engine: Engine, material: TrainingArrays, objective: Loss) -> Row:
    """What an epoch came to, in training and on the validation images."""
    answers = engine.predict(material.pixels, material.indices["validation"])
    truth, row, count = material.targets["validation"], Row(), tally.images
    loss = mean_iou = None
    if "logits" in answers:
        logits = answers["logits"]
        loss = log_loss(truth, softmax(logits.astype(np.float64)))
        right = float((logits.argmax(axis=1) == truth).mean())
        row |= {"log_loss": tally.log_loss / count, "accuracy": tally.hits / count}
        row |= {"validation_log_loss": loss, "validation_accuracy": right}
    if "box" in answers:
        mean_iou = float(iou(answers["box"], material.boxes["validation"]).mean())
        row |= {"mean_iou": tally.overlap / count, "validation_mean_iou": mean_iou}
        row |= {"loss": tally.loss / count, "validation_loss": objective.judge(loss, mean_iou)}
    return row


class _BatchLoader:
    """Makes the stretches of an epoch, one ahead of the engine."""

    def __init__(
        self,
        material: TrainingArrays,
        order: EpochBatches,
        augment: Augment,
        config: Config,
        peak: float,
    ) -> None:
        self._material, self._order, self._augment = material, order, augment
        self._config, self.peak = config, peak
        image = material.pixels[:1].nbytes * order.batch_size
        self._steps = max(1, min(_STRETCH_STEPS, _STRETCH_BYTES // image))

    def epoch(self, number: int, planned: int) -> Iterator[StepBatches]:
        """The stretches of epoch `number`, from 0, of `planned`."""
        batches = self._order.epoch(number)
        random = np.random.default_rng([self._config.seed, number, 1])
        starts = range(0, len(batches), self._steps)
        total = planned * len(batches)

        def make(start: int) -> StepBatches:
            own = batches[start : start + self._steps]
            first = number * len(batches) + start
            return self._stretch(
                own, learning_rates(self._config.train, self.peak, first, len(own), total), random
            )

        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            ahead = pool.submit(make, 0)
            for start in starts:
                stretch = ahead.result()
                if start + self._steps < len(batches):
                    ahead = pool.submit(make, start + self._steps)
                yield stretch

    def sample(self) -> StepBatches:
        """A stretch of one step, such as the first one takes."""
        batches = self._order.epoch(0)[:1]
        return self._stretch(batches, np.zeros(1, np.float32), np.random.default_rng(0))

    def _stretch(
        self, batches: npt.NDArray[np.int32], learning_rates: Floats, random: np.random.Generator
    ) -> StepBatches:
        material, shape = self._material, batches.shape
        truth: dict[str, npt.NDArray[Any]] = {
            "label": material.targets["train"][batches].astype(np.int32),
            "weight": self._order.weights[batches],
        }
        boxes: Floats | None = None
        if material.boxes:
            boxes = material.boxes["train"][batches.ravel()]
            truth["box"] = boxes.reshape(*shape, 4)
        drawn = self._augment.draw(batches.size, random, boxes)
        return StepBatches(
            images=material.pixels[material.indices["train"][batches]],
            targets=truth,
            learning_rates=learning_rates,
            draws={name: array.reshape(*shape, *array.shape[1:]) for name, array in drawn.items()},
        )
