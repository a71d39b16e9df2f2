"""The TensorFlow engine: many steps in one graph, and one replica per core. Needs TensorFlow.

On a CPU each step's batch is cut into one slice per core. Each slice goes forward and backward
through the same weights on its own core, at the same time, and the gradients are added up: their
sum is that of the whole batch. Measured on 2 cores this beats both cores sharing each operation
(LeNet-5 at batch 32: 18,500 images/s instead of 11,700; a CNN of 3 x 64 at 50 px: 1,540 instead
of 1,430). Batch norms use the statistics of their slice, so a slice has `_MIN_SLICE` images or
more. On a GPU there is one replica.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from sharpeye.core.arrays import Array
from sharpeye.core.inference import available_cores
from sharpeye.learn.nets.engine import AVERAGE_STEPS, Engine, Outputs, StepBatches, Tensors

if TYPE_CHECKING:
    import keras


_MIN_SLICE = 8


def use_replicas() -> None:
    """Run operations in parallel on one core each, if TensorFlow has not started yet."""
    if tf.config.list_physical_devices("GPU"):
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(available_cores())
    except RuntimeError:  # TensorFlow already runs with the caller's settings.
        pass


def count_replicas(batch_size: int) -> int:
    """Slices of a batch: up to one per core if each operation uses one core, otherwise 1."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1
    threads: int = tf.config.threading.get_inter_op_parallelism_threads()
    return max(1, min(batch_size // _MIN_SLICE, threads))


def _slices(batch_size: int) -> list[slice]:
    """The images of each replica."""
    replicas = count_replicas(batch_size)
    edges = [round(i * batch_size / replicas) for i in range(replicas + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


class TensorFlowEngine(Engine):
    """See `Engine`."""

    _train_program: Any = None

    def _run_steps(self, batches: StepBatches) -> Iterable[Any]:
        arrays = batches.arrays()
        if self._train_program is None:  # One graph serves any number of steps.
            specs = tf.nest.map_structure(
                lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), arrays
            )
            program = tf.function(self._steps, autograph=False)
            self._train_program = program.get_concrete_function(*specs)
        return tuple(self._train_program(*tf.nest.map_structure(tf.constant, arrays)))

    def _steps(
        self, images: Any, targets: Tensors, learning_rates: Any, draws: Tensors
    ) -> tuple[Any, ...]:
        def add_step(i: Any, *totals: Any) -> tuple[Any, ...]:
            self._optimizer.learning_rate.assign(learning_rates[i])
            sums = self._step(images[i], _at(targets, i), _at(draws, i))
            return (i + 1, *(a + b for a, b in zip(totals, sums, strict=True)))

        # Not a Python loop: AutoGraph would convert it, by what Python 3.13 deprecates.
        count, zero = tf.shape(learning_rates)[0], tf.constant(0.0)
        begin = (tf.constant(0), zero, zero, zero, zero)
        _, *totals = tf.while_loop(lambda i, *_: i < count, add_step, begin)
        return tuple(totals)

    def _step(self, images: Any, targets: Tensors, draws: Tensors) -> list[Any]:
        variables: list[keras.Variable] = self._model.trainable_variables
        values = [variable.value for variable in variables]
        batch_size = images.shape[0]
        gradients, sums = [], []
        for part in _slices(batch_size):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                pixels, label_probs, moved = self._augmented(
                    images[part], _at(targets, part), _at(draws, part)
                )
                outputs = self._model(pixels, training=True)
                slice_sums = self.loss.sums(outputs, label_probs, moved)
                mean_loss = slice_sums[0] / batch_size
            gradients.append(tape.gradient(mean_loss, values))
            sums.append(slice_sums)
        total = gradients[0]
        if len(gradients) > 1:
            total = [tf.add_n(terms) for terms in zip(*gradients, strict=True)]
        self._optimizer.apply(total, variables)
        if self._averages:
            self._update_averages()
        return [sum(terms[1:], terms[0]) for terms in zip(*sums, strict=True)]

    def _update_averages(self) -> None:
        steps = self._optimizer._iterations.value  # `iterations` skips accumulated steps.

        def update() -> Any:
            momentum = self._average_momentum(steps)
            floats = [v for v in self._model.variables if "float" in str(v.dtype)]
            for average, variable in zip(self._averages, floats, strict=True):
                average.assign(variable + (average - variable) * momentum)
            return momentum

        tf.cond(tf.equal(steps % AVERAGE_STEPS, 0), update, lambda: tf.constant(0.0))

    def _predict_batch(self, images: Array) -> Outputs:
        outputs = self._predict_program(tf.constant(images))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    @cached_property
    def _predict_program(self) -> Any:
        return tf.function(self._predict, autograph=False)

    def _predict(self, images: Any) -> Tensors:
        # The batch size is static during tracing: `predict` pads its batches.
        outputs = [
            self._inference_model(tf.cast(images[part], tf.float32), training=False)
            for part in _slices(images.shape[0])
        ]
        return {
            name: tf.cast(tf.concat([output[name] for output in outputs], axis=0), tf.float32)
            for name in self._outputs
        }

    def graph(self) -> bytes | None:
        model = self._inference_model
        shape = (None, *model.input.shape[1:])
        traced = tf.function(lambda image: model(image, training=False)["logits"], autograph=False)
        concrete = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32))
        return bytes(concrete.graph.as_graph_def().SerializeToString())


def _at(tensors: Tensors, index: Any) -> Tensors:
    """Each tensor at an index or a slice of its first axis."""
    return {name: tensor[index] for name, tensor in tensors.items()}
