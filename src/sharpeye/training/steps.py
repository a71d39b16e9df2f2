"""Steps of training: what goes into them, what comes out, and who takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

    from sharpeye.training.augment import Augment

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Stretch:
    """What K steps in a row learn from.

    Attributes:
        images: uint8[K,B,H,W,C], 0..255.
        labels: int32[K,B], class indices.
        weights: float32[K,B], what each picture counts.
        rates: float32[K], the learning rates.
        draws: arrays [K,B,...], what `Augment.draw` drew.
    """

    images: npt.NDArray[np.uint8]
    labels: Ints
    weights: Floats
    rates: Floats
    draws: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Tally:
    """What K steps came to: sums over their pictures, as these were augmented.

    Attributes:
        loss: of what is minimized, weighted and smoothed, in nats; not finite if it diverged.
        log_loss: minus the log of the true class's probability, in nats.
        hits: pictures that were answered right.
        pictures: how many.
    """

    loss: float
    log_loss: float
    hits: float
    pictures: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.loss + other.loss,
            self.log_loss + other.log_loss,
            self.hits + other.hits,
            self.pictures + other.pictures,
        )


class Engine(ABC):
    """Runs steps on a model, which holds the outcome after each call.

    Args:
        model: float32[N,H,W,C] 0..255 to `logits` float32[N,classes].
        optimizer: built for it.
        augment: changes the pictures of a stretch by its draws.
        smoothing: share of the truth that is spread over all classes.
    """

    answer_batch = 256

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augment: Augment,
        smoothing: float,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._augment, self._smoothing = augment, smoothing

    @abstractmethod
    def learn(self, stretch: Stretch) -> Tally:
        """Take the steps of a stretch."""

    @abstractmethod
    def logits(self, images: Pixels) -> Floats:
        """float32[N,classes] of one batch uint8[N,H,W,C], as in serving."""

    @abstractmethod
    def graph(self) -> bytes | None:
        """The network as a serialized TensorFlow GraphDef; None if the backend has none."""

    def answer(self, pixels: Pixels, rows: npt.NDArray[np.integer[Any]] | None = None) -> Floats:
        """Logits float32[N,classes], batch by batch.

        Args:
            pixels: uint8[M,H,W,C]; may be larger than the memory.
            rows: int[N] of these; by default all.
        """
        rows = np.arange(len(pixels)) if rows is None else rows
        found = []
        for start in range(0, len(rows), self.answer_batch):
            batch = np.ascontiguousarray(pixels[rows[start : start + self.answer_batch]])
            count = len(batch)
            if start and count < self.answer_batch:  # one program for all batches
                spare = np.zeros((self.answer_batch - count, *batch.shape[1:]), np.uint8)
                batch = np.concatenate([batch, spare])
            found.append(self.logits(batch)[:count])
        return np.concatenate(found)

    def state(self) -> list[npt.NDArray[Any]]:
        """Everything that changes in training: the model's and the optimizer's variables."""
        return [np.asarray(variable).copy() for variable in self._variables()]

    def restore(self, state: list[npt.NDArray[Any]]) -> None:
        """Put back what `state` gave."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables]


def step_loss(
    logits: Any, targets: Any, labels: Any, weights: Any, smoothing: float
) -> tuple[Any, Any, Any]:
    """Of one batch, in `keras.ops`: sums of the loss, of the log loss, and of right answers.

    Args:
        logits: float[B,C].
        targets: float32[B,C], rows sum to 1.
        labels: int32[B].
        weights: float32[B].
        smoothing: share of the truth that is spread over all classes (Szegedy et al. 2015).
    """
    from keras import ops

    logits = ops.cast(logits, "float32")
    classes = logits.shape[-1]
    logs = ops.log_softmax(logits, axis=-1)
    smooth = targets * (1 - smoothing) + smoothing / classes
    loss = ops.sum(ops.sum(-smooth * logs, axis=-1) * weights)
    plain = ops.sum(-logs * ops.one_hot(labels, classes))
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), labels), "float32")
    return loss, plain, ops.sum(right)
