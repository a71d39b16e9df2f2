"""Needs TensorFlow. Trains with the steps of a stretch in one graph, and one tower a core.

On a CPU each step's batch is cut into as many parts as there are cores; each part goes forward
and back through the same weights on one core, at the same time, and the gradients are added up:
the same sum as over the whole batch. Measured on 2 cores this beats both cores sharing each
operation (LeNet-5 at batch 32: 18,500 images/s instead of 11,700; a CNN of 3 x 64 at 50 px:
1,540 instead of 1,430). Batch norms see the statistics of their part. On a GPU there is one tower.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from sharpeye.core.inference import available_cores
from sharpeye.learn.nets.engine import Engine, EpochTotals, Floats, Images, StepBatches

if TYPE_CHECKING:
    import keras

    from sharpeye.learn.nets.augment import Augment
    from sharpeye.learn.nets.loss import Loss


def use_replicas() -> None:
    """Let operations run side by side, one core each, if TensorFlow has not begun to run."""
    if tf.config.list_physical_devices("GPU"):
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(available_cores())
    except RuntimeError:  # it runs already, with settings of the caller's
        return


def count_replicas(batch: int) -> int:
    """Parts that a batch is cut into: one a core, if operations keep to one core each."""
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1
    threads: int = tf.config.threading.get_inter_op_parallelism_threads()
    return max(1, min(batch, threads))


def _cuts(count: int, towers: int) -> list[tuple[int, int]]:
    edges = [round(i * count / towers) for i in range(towers + 1)]
    return list(pairwise(edges))


class TensorFlowEngine(Engine):
    """See `Engine`; `batch` is how many images a step takes."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augment: Augment,
        objective: Loss,
        batch: int,
    ) -> None:
        super().__init__(model, optimizer, augment, objective)
        self._cuts = _cuts(batch, count_replicas(batch))
        self._program: Any = None
        self._answer = tf.function(self._run_answer, autograph=False)

    def train(self, stretch: StepBatches) -> EpochTotals:
        given = (stretch.images, dict(stretch.targets), stretch.learning_rates, dict(stretch.draws))
        if self._program is None:  # one graph for stretches of any length
            specs = tf.nest.map_structure(
                lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), given
            )
            self._program = tf.function(self._run_steps).get_concrete_function(*specs)
        sums = self._program(*tf.nest.map_structure(tf.constant, given))
        loss, log_loss, hits, overlap = (float(value) for value in sums)
        return EpochTotals(loss, log_loss, hits, overlap, stretch.targets["label"].size)

    def predict_batch(self, images: Images) -> dict[str, Floats]:
        found = self._answer(tf.constant(images))
        return {name: value.numpy() for name, value in found.items()}

    def graph(self) -> bytes | None:
        shape = (None, *self._model.input.shape[1:])
        traced = tf.function(
            lambda image: self._model(image, training=False)["logits"], autograph=False
        )
        concrete = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32))
        return bytes(concrete.graph.as_graph_def().SerializeToString())

    def _run_steps(
        self, images: Any, truth: dict[str, Any], rates: Any, draws: dict[str, Any]
    ) -> tuple[Any, ...]:
        # Only the loop itself has to be turned into operations.
        step = tf.autograph.experimental.do_not_convert(self._step)
        totals = (tf.constant(0.0),) * 4
        for i in tf.range(tf.shape(rates)[0]):
            self._optimizer.learning_rate.assign(rates[i])
            sums = step(images[i], _row(truth, i), _row(draws, i))
            totals = tuple(a + b for a, b in zip(totals, sums, strict=True))
        return totals

    def _step(self, images: Any, truth: dict[str, Any], draws: dict[str, Any]) -> Any:
        variables = self._model.trainable_variables
        values = [variable.value for variable in variables]
        count = self._cuts[-1][1]
        gradients, sums = [], []
        for first, last in self._cuts:
            own = {name: array[first:last] for name, array in truth.items()}
            drawn = {name: array[first:last] for name, array in draws.items()}
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                losses = self._losses(images[first:last], own, drawn)
                mean = losses[0] / count
            gradients.append(tape.gradient(mean, values))
            sums.append(losses)
        total = [
            tf.add_n(parts) if len(parts) > 1 else parts[0]
            for parts in zip(*gradients, strict=True)
        ]
        self._optimizer.apply(total, variables)
        return [sum(parts[1:], parts[0]) for parts in zip(*sums, strict=True)]

    def _losses(self, images: Any, truth: dict[str, Any], draws: dict[str, Any]) -> Any:
        pixels = tf.cast(images, tf.float32)
        targets = tf.one_hot(truth["label"], self._classes)
        pixels, targets, boxes = self._augment.apply(pixels, targets, draws, truth.get("box"))
        outputs = self._model(pixels, training=True)
        moved = truth if boxes is None else truth | {"box": boxes}
        return self._objective.sums(outputs, targets, moved)

    def _run_answer(self, images: Any) -> dict[str, Any]:
        # The shape is known when the graph is made: `answer` gives whole batches.
        towers = count_replicas(images.shape[0])
        parts = [
            self._model(tf.cast(images[first:last], tf.float32), training=False)
            for first, last in _cuts(images.shape[0], towers)
        ]
        return {
            name: tf.cast(tf.concat([part[name] for part in parts], axis=0), tf.float32)
            for name in self._answers
        }


def _row(arrays: dict[str, Any], i: Any) -> dict[str, Any]:
    return {name: array[i] for name, array in arrays.items()}
