"""Needs JAX. Trains with the steps of a stretch in one compiled scan, on whatever device JAX has.

The model's and the optimizer's variables live on the device for as long as steps are taken, and
are written back into Keras' variables before each evaluation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from sharpeye.training.steps import Engine, Floats, Pixels, Stretch, Tally, step_loss

if TYPE_CHECKING:
    import keras

    from sharpeye.training.augment import Augment


class JaxEngine(Engine):
    """See `Engine`."""

    answer_batch = 512

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augment: Augment,
        smoothing: float,
    ) -> None:
        super().__init__(model, optimizer, augment, smoothing)
        self._rate = next(
            i for i, v in enumerate(optimizer.variables) if v is optimizer._learning_rate
        )
        self._steps = jax.jit(self._run_steps, donate_argnums=0)
        self._logits = jax.jit(self._run_logits)

    def learn(self, stretch: Stretch) -> Tally:
        arrays = (stretch.images, stretch.labels, stretch.weights, stretch.rates)
        state, sums = self._steps(self._values(), *arrays, dict(stretch.draws))
        for variables, values in zip(self._groups(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        loss, log_loss, hits = (float(value) for value in sums)
        return Tally(loss, log_loss, hits, stretch.labels.size)

    def logits(self, images: Pixels) -> Floats:
        trained, others, _ = self._values()
        return np.asarray(self._logits(trained, others, images))

    def graph(self) -> bytes | None:
        return None

    def _groups(self) -> tuple[list[Any], list[Any], list[Any]]:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, self._optimizer.variables

    def _values(self) -> tuple[list[Any], ...]:
        # Copies: what is donated to the compiled steps is gone afterwards.
        return tuple([jnp.array(variable.value) for variable in group] for group in self._groups())

    def _run_steps(
        self, state: Any, images: Any, labels: Any, weights: Any, rates: Any, draws: dict[str, Any]
    ) -> Any:
        def step(carried: Any, given: Any) -> Any:
            (trained, others, optimizer), sums = carried
            pixels, truth, weight, rate, own = given
            optimizer = [*optimizer]
            optimizer[self._rate] = rate
            learn = jax.value_and_grad(self._loss, has_aux=True)
            (_, (others, losses)), gradients = learn(trained, others, pixels, truth, weight, own)
            trained, optimizer = self._optimizer.stateless_apply(optimizer, gradients, trained)
            return ((trained, others, optimizer), tuple(map(jnp.add, sums, losses))), None

        nothing = (jnp.zeros(()),) * 3
        given = (images, labels, weights, rates, draws)
        (state, sums), _ = lax.scan(step, (state, nothing), given)
        return state, sums

    def _loss(
        self, trained: Any, others: Any, images: Any, labels: Any, weights: Any, draws: Any
    ) -> Any:
        targets = jax.nn.one_hot(labels, self._model.output["logits"].shape[-1])
        pixels, targets = self._augment.apply(images.astype("float32"), targets, draws)
        outputs, others = self._model.stateless_call(trained, others, pixels, training=True)
        losses = step_loss(outputs["logits"], targets, labels, weights, self._smoothing)
        return losses[0] / len(labels), (others, losses)

    def _run_logits(self, trained: Any, others: Any, images: Any) -> Any:
        pixels = images.astype("float32")
        outputs, _ = self._model.stateless_call(trained, others, pixels, training=False)
        return outputs["logits"].astype("float32")
