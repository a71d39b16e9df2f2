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
# Averaging after each step would take a tenth of a small network's time.
AVERAGE_STEPS = 8


@dataclass(frozen=True)
class StepBatches:
    """The data of K consecutive training steps.

    Attributes:
        images: uint8[K,B,H,W,C], 0..255, or float16[K,B,...] feature maps.
        targets: `label` int32[K,B], class indices; `weight` float32[K,B], of each image in the
            loss; with boxes `box` float32[K,B,4], shares 0..1 of the model's input; with a teacher
            `teacher` float32[K,B,C], its probabilities.
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

    def part(self, first: int, last: int) -> StepBatches:
        """The steps from `first` to before `last`."""

        def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: array[first:last] for name, array in arrays.items()}

        images, rates = self.images[first:last], self.learning_rates[first:last]
        return StepBatches(images, cut(self.targets), rates, cut(self.draws))


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
        inference_model: the same network, which computes in float32, if `model` computes in 16
            bits or its weights are averaged. Rounding to 16 bits moves probabilities by up to 0.02,
            so predictions are made, and files written, with this one.
    """

    prediction_batch_size = 256
    # Whether a program is compiled for each number of steps that it takes.
    compiles_each_length = False

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augmentation: Augmentation,
        *,
        loss: Loss,
        inference_model: keras.Model | None = None,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._inference_model = model if inference_model is None else inference_model
        self._augmentation, self.loss = augmentation, loss
        self._outputs = [name for name in _OUTPUTS if name in model.output]
        self._classes = model.output["logits"].shape[-1] if "logits" in model.output else 1
        self._ema = loss.settings.ema
        self._averages = _copies(model) if self._ema else []

    @property
    def inference_model(self) -> keras.Model:
        """The network that predicts, in float32, with the present weights."""
        self._update_inference_model()
        return self._inference_model

    def _update_inference_model(self) -> None:
        if self._inference_model is self._model:
            return
        copies, variables = self._inference_model.variables, self._model.variables
        for copy, variable in zip(copies, variables, strict=True):
            copy.assign(variable)
        # Before the first update the averages are the weights that the network began with.
        if self._averages and int(self._optimizer._iterations) >= AVERAGE_STEPS:
            targets = [copy for copy in copies if _is_float(copy)]
            for copy, average in zip(targets, self._averages, strict=True):
                copy.assign(average)

    def _average_momentum(self, steps: Any) -> Any:
        """The share of an average that `AVERAGE_STEPS` steps keep, after so many steps.

        In the beginning it is small, so that the average forgets the first weights, as in
        TensorFlow's `ExponentialMovingAverage`.
        """
        from keras import ops

        steps = ops.cast(steps, "float32")
        return ops.minimum(self._ema, (1 + steps) / (10 + steps)) ** AVERAGE_STEPS

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
        probs = ops.one_hot(targets["label"], self._classes)
        if "teacher" in targets:  # Mixed images have mixed answers, too.
            probs = ops.concatenate([probs, targets["teacher"]], axis=-1)
        pixels, probs, boxes = self._augmentation.apply(
            pixels, probs, draws, boxes=targets.get("box")
        )
        if "teacher" in targets:
            targets = targets | {"teacher": probs[:, self._classes :]}
        targets = targets if boxes is None else targets | {"box": boxes}
        return pixels, probs[:, : self._classes], targets

    @abstractmethod
    def _predict_batch(self, images: Array) -> Outputs:
        """The outputs of the updated `inference_model` for one batch [N,...]."""

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
        self._update_inference_model()
        size = self.prediction_batch_size
        batches: list[Outputs] = []
        for start in range(0, len(indices), size):
            images = np.ascontiguousarray(pixels[indices[start : start + size]])
            count = len(images)
            if start and count < size:  # Padding keeps one shape, so one program.
                padding = np.zeros((size - count, *images.shape[1:]), images.dtype)
                images = np.concatenate([images, padding])
            outputs = self._predict_batch(images)
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
        return [*self._model.variables, *self._optimizer.variables, *self._averages]


def _copies(model: keras.Model) -> list[keras.Variable]:
    """A float32 variable for the average of each weight and each statistic of a batch norm."""
    import keras

    floats = [variable for variable in model.variables if _is_float(variable)]
    return [keras.Variable(np.asarray(v), trainable=False, dtype="float32") for v in floats]


def _is_float(variable: keras.Variable) -> bool:
    return "float" in str(variable.dtype)
