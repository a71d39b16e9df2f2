"""The JAX engine: many steps in one compiled scan, on any device of JAX. Needs JAX.

The variables of the model and the optimizer live on the device while steps are taken, and are
written back into Keras' variables after each block of steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from sharpeye.core.arrays import Array
from sharpeye.learn.nets.engine import AVERAGE_STEPS, Engine, Outputs, StepBatches, Tensors

if TYPE_CHECKING:
    import keras


class JaxEngine(Engine):
    """See `Engine`."""

    prediction_batch_size = 512
    compiles_each_length = True

    def _run_steps(self, batches: StepBatches) -> Iterable[Any]:
        values, totals = self._train_program(_copies(self._variable_groups()), batches.arrays())
        for group, new_values in zip(self._variable_groups(), values, strict=True):
            for variable, value in zip(group, new_values, strict=True):
                variable.assign(value)
        return tuple(totals)

    @cached_property
    def _train_program(self) -> Any:
        return jax.jit(self._steps, donate_argnums=0)

    def _steps(self, values: Any, batches: Any) -> Any:
        """Scan over the steps; returns the new values and the totals."""
        variables = self._optimizer.variables
        rate_index = next(i for i, v in enumerate(variables) if v is self._optimizer._learning_rate)
        steps_index = next(i for i, v in enumerate(variables) if v is self._optimizer._iterations)
        gradient_of = jax.value_and_grad(self._mean_loss, has_aux=True)

        def step(carry: Any, batch: Any) -> Any:
            (trainable, non_trainable, optimizer, averages), totals = carry
            images, targets, learning_rate, draws = batch
            optimizer = [*optimizer]
            optimizer[rate_index] = learning_rate
            (_, (non_trainable, sums)), gradients = gradient_of(
                trainable, non_trainable, images, targets, draws
            )
            trainable, optimizer = self._optimizer.stateless_apply(optimizer, gradients, trainable)
            if averages:
                floats = self._floats(trainable, non_trainable)
                averages = self._averaged(averages, floats, steps=optimizer[steps_index])
            new_values = (trainable, non_trainable, optimizer, averages)
            return (new_values, tuple(map(jnp.add, totals, sums))), None

        (values, totals), _ = lax.scan(step, (values, (jnp.zeros(()),) * 4), batches)
        return values, totals

    def _floats(self, trainable: Any, non_trainable: Any) -> list[Any]:
        """The values that are averaged, in the order of the model's variables."""
        variables = [variable for group in _groups(self._model) for variable in group]
        current = [*trainable, *non_trainable]
        values = {id(v): value for v, value in zip(variables, current, strict=True)}
        return [values[id(v)] for v in self._model.variables if "float" in str(v.dtype)]

    def _averaged(self, averages: Any, values: Any, *, steps: Any) -> Any:
        def update() -> Any:
            momentum = self._average_momentum(steps)
            return [
                v + (average - v) * momentum for average, v in zip(averages, values, strict=True)
            ]

        return lax.cond(steps % AVERAGE_STEPS == 0, update, lambda: averages)

    def _mean_loss(
        self, trainable: Any, non_trainable: Any, images: Any, targets: Tensors, draws: Tensors
    ) -> Any:
        pixels, label_probs, moved = self._augmented(images, targets, draws)
        outputs, non_trainable = self._model.stateless_call(
            trainable, non_trainable, pixels, training=True
        )
        sums = self.loss.sums(outputs, label_probs, moved)
        return sums[0] / len(targets["label"]), (non_trainable, sums)

    def _predict_batch(self, images: Array) -> Outputs:
        values = [[v.value for v in group] for group in _groups(self._inference_model)]
        outputs = self._predict_program(*values, images)
        return {name: np.asarray(value) for name, value in outputs.items()}

    @cached_property
    def _predict_program(self) -> Any:
        return jax.jit(self._predict)

    def _predict(self, trainable: Any, non_trainable: Any, images: Any) -> Tensors:
        pixels = images.astype("float32")
        outputs, _ = self._inference_model.stateless_call(
            trainable, non_trainable, pixels, training=False
        )
        return {name: outputs[name].astype("float32") for name in self._outputs}

    def _variable_groups(self) -> tuple[list[keras.Variable], ...]:
        return *_groups(self._model), self._optimizer.variables, self._averages


def _groups(model: keras.Model) -> tuple[list[keras.Variable], ...]:
    return model.trainable_variables, model.non_trainable_variables


def _copies(groups: Iterable[list[keras.Variable]]) -> tuple[list[Any], ...]:
    """The values of variables; JAX frees buffers that are donated to compiled steps."""
    return tuple([jnp.array(variable.value) for variable in group] for group in groups)
