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

    from sharpeye.learn.nets.augment import Augment
    from sharpeye.learn.nets.loss import Loss

Images = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

OUTPUTS = ("logits", "box")


@dataclass(frozen=True)
class StepBatches:
    """What K steps in a row learn from.

    Attributes:
        images: [K,B,...]: uint8[K,B,H,W,C], 0..255, or float16 feature maps.
        truth: `label` int32[K,B], class indices; `weight` float32[K,B], what each image counts;
            where boxes are learned `box` float32[K,B,4], shares 0..1 of the model's input.
        rates: float32[K], the learning rates.
        draws: arrays [K,B,...], what `Augment.draw` drew.
    """

    images: npt.NDArray[Any]
    targets: Mapping[str, npt.NDArray[Any]]
    learning_rates: Floats
    draws: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class EpochTotals:
    """What K steps came to: sums over their images, as these were augmented.

    Attributes:
        loss: of what is minimized, weighted and smoothed, in nats; not finite if it diverged.
        log_loss: minus the log of the true class's probability, in nats.
        hits: images that were answered right.
        overlap: of the boxes with the true ones (intersection over union); 0 without boxes.
        images: how many.
    """

    loss: float = 0.0
    log_loss: float = 0.0
    hits: float = 0.0
    overlap: float = 0.0
    images: int = 0

    def __add__(self, other: EpochTotals) -> EpochTotals:
        return EpochTotals(
            self.loss + other.loss,
            self.log_loss + other.log_loss,
            self.hits + other.hits,
            self.overlap + other.overlap,
            self.images + other.images,
        )


class Engine(ABC):
    """Runs steps on a model, which holds the outcome after each call.

    Args:
        model: float32[N,H,W,C] 0..255 to `logits` float32[N,classes], `box` float32[N,4], or both.
        optimizer: built for it.
        augment: changes the images of a stretch by its draws.
        objective: what is minimized.
    """

    answer_batch = 256

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augment: Augment,
        objective: Loss,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._augment, self._objective = augment, objective
        self._answers = [name for name in OUTPUTS if name in model.output]
        self._classes = model.output["logits"].shape[-1] if "logits" in model.output else 1

    @abstractmethod
    def train(self, stretch: StepBatches) -> EpochTotals:
        """Take the steps of a stretch."""

    @abstractmethod
    def predict_batch(self, images: Images) -> dict[str, Floats]:
        """What the model says of one batch [N,...], as in serving."""

    @abstractmethod
    def graph(self) -> bytes | None:
        """The network as a serialized TensorFlow GraphDef; None if the backend has none."""

    def predict(
        self, pixels: Images, rows: npt.NDArray[np.integer[Any]] | None = None
    ) -> dict[str, Floats]:
        """`logits` float32[N,classes] and `box` float32[N,4], those that the model has.

        Args:
            pixels: [M,...], as in a `Stretch`; may be larger than the memory.
            rows: int[N] of these; by default all.
        """
        rows = np.arange(len(pixels)) if rows is None else rows
        found = []
        for start in range(0, len(rows), self.answer_batch):
            batch = np.ascontiguousarray(pixels[rows[start : start + self.answer_batch]])
            count = len(batch)
            if start and count < self.answer_batch:  # one program for all batches
                spare = np.zeros((self.answer_batch - count, *batch.shape[1:]), batch.dtype)
                batch = np.concatenate([batch, spare])
            answers = self.predict_batch(batch)
            found.append({name: values[:count] for name, values in answers.items()})
        return {name: np.concatenate([one[name] for one in found]) for name in self._answers}

    def state(self) -> list[npt.NDArray[Any]]:
        """Everything that changes in training: the model's and the optimizer's variables."""
        return [np.asarray(variable).copy() for variable in self._variables()]

    def restore(self, state: list[npt.NDArray[Any]]) -> None:
        """Put back what `state` gave."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables]
