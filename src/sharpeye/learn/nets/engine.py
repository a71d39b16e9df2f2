"""The interface of the engines that run training steps, and the data they exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Array, Ints

if TYPE_CHECKING:
    import keras

    from sharpeye.learn.nets.augmentation import Augmentation
    from sharpeye.learn.nets.loss import Loss

Outputs = dict[str, npt.NDArray[np.float32]]
Tensors = dict[str, Any]  # of Keras' backend

_OUTPUTS = ("logits", "box", "proposals")


@dataclass(frozen=True)
class StepBatches:
    """The data of K consecutive training steps.

    Attributes:
        images: uint8[K,B,H,W,C], 0..255, or float16[K,B,...] feature maps.
        targets: `label` int32[K,B], class indices; `weight` float32[K,B], of each image in the
            loss; with boxes `box` float32[K,B,4], shares 0..1 of the model's input.
        learning_rates: float32[K].
        draws: arrays [K,B,...] from `Augmentation.draw`.
    """

    images: Array
    targets: Mapping[str, Array]
    learning_rates: npt.NDArray[np.float32]
    draws: Mapping[str, Array]

    def arrays(self) -> tuple[Array, dict[str, Array], Array, dict[str, Array]]:
        """The attributes in order, as arguments of the engines' compiled programs."""
        return self.images, dict(self.targets), self.learning_rates, dict(self.draws)


@dataclass(frozen=True)
class EpochTotals:
    """Sums over the augmented images of some steps.

    Attributes:
        loss: the minimized loss, weighted and smoothed, in nats; not finite after divergence.
        log_loss: minus the log of the true class's probability, in nats.
        correct: images whose most probable class is the true one.
        iou: intersection over union of predicted and true boxes; 0 without boxes.
    """

    loss: float = 0.0
    log_loss: float = 0.0
    correct: float = 0.0
    iou: float = 0.0
    images: int = 0

    def __add__(self, other: EpochTotals) -> EpochTotals:
        return EpochTotals(*map(sum, zip(astuple(self), astuple(other), strict=True)))


class Engine(ABC):
    """Trains a model in place, and predicts with it.

    Args:
        model: float32[N,H,W,C] 0..255 to `logits` float32[N,classes], `box` float32[N,4], or both.
        optimizer: built for the model.
    """

    prediction_batch_size = 256

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augmentation: Augmentation,
        *,
        loss: Loss,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._augmentation, self.loss = augmentation, loss
        self._outputs = [name for name in _OUTPUTS if name in model.output]
        self._classes = model.output["logits"].shape[-1] if "logits" in model.output else 1

    def train(self, batches: StepBatches) -> EpochTotals:
        loss, log_loss, correct, iou = map(float, self._run_steps(batches))
        return EpochTotals(loss, log_loss, correct, iou, batches.targets["label"].size)

    @abstractmethod
    def _run_steps(self, batches: StepBatches) -> Iterable[Any]:
        """Take the steps; returns the totals of `Loss.sums`."""

    def _augmented(self, images: Any, targets: Tensors, draws: Tensors) -> tuple[Any, Any, Tensors]:
        """Augment one batch: returns pixels, target probabilities of the classes, and targets."""
        from keras import ops

        pixels = ops.cast(images, "float32")
        label_probs = ops.one_hot(targets["label"], self._classes)
        pixels, label_probs, boxes = self._augmentation.apply(
            pixels, label_probs, draws, boxes=targets.get("box")
        )
        return pixels, label_probs, targets if boxes is None else targets | {"box": boxes}

    @abstractmethod
    def predict_batch(self, images: Array) -> Outputs:
        """`predict` for one batch [N,...], in inference mode."""

    def graph(self) -> bytes | None:
        """The network as a serialized TensorFlow GraphDef; None if the backend has none."""
        return None

    def predict(self, pixels: Array, indices: Ints | None = None) -> Outputs:
        """`logits` float32[N,classes], `box` float32[N,4] and `proposals` float32[N,M,7], as far as
        the model has them.

        Args:
            pixels: [M,...] as in `TrainingArrays`; it may exceed the memory.
            indices: int[N], selects images; by default all.
        """
        indices = np.arange(len(pixels)) if indices is None else indices
        size = self.prediction_batch_size
        batches: list[Outputs] = []
        for start in range(0, len(indices), size):
            images = np.ascontiguousarray(pixels[indices[start : start + size]])
            count = len(images)
            if start and count < size:  # Padding keeps one shape, so one program.
                padding = np.zeros((size - count, *images.shape[1:]), images.dtype)
                images = np.concatenate([images, padding])
            outputs = self.predict_batch(images)
            batches.append({name: values[:count] for name, values in outputs.items()})
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self._outputs}

    def state(self) -> list[Array]:
        """A copy of everything that training changes: the model's and the optimizer's variables."""
        return [np.asarray(variable).copy() for variable in self._variables()]

    def restore(self, state: list[Array]) -> None:
        """Restore a `state`; raises ValueError if it belongs to another network."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._optimizer.variables]
