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

from sharpeye.learn.nets.engine import Engine, EpochTotals, Floats, Images, StepBatches

if TYPE_CHECKING:
    import keras

    from sharpeye.learn.nets.augment import Augment
    from sharpeye.learn.nets.loss import Loss


class JaxEngine(Engine):
    """See `Engine`."""

    answer_batch = 512

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        augment: Augment,
        objective: Loss,
    ) -> None:
        super().__init__(model, optimizer, augment, objective)
        self._rate = next(
            i for i, v in enumerate(optimizer.variables) if v is optimizer._learning_rate
        )
        self._steps = jax.jit(self._run_steps, donate_argnums=0)
        self._answer = jax.jit(self._run_answer)

    def train(self, stretch: StepBatches) -> EpochTotals:
        arrays = (
            stretch.images,
            dict(stretch.targets),
            stretch.learning_rates,
            dict(stretch.draws),
        )
        state, sums = self._steps(self._values(), *arrays)
        for variables, values in zip(self._groups(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        loss, log_loss, hits, overlap = (float(value) for value in sums)
        return EpochTotals(loss, log_loss, hits, overlap, stretch.targets["label"].size)

    def predict_batch(self, images: Images) -> dict[str, Floats]:
        trained, others, _ = self._values()
        found = self._answer(trained, others, images)
        return {name: np.asarray(value) for name, value in found.items()}

    def graph(self) -> bytes | None:
        return None

    def _groups(self) -> tuple[list[Any], list[Any], list[Any]]:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, self._optimizer.variables

    def _values(self) -> tuple[list[Any], ...]:
        # Copies: what is donated to the compiled steps is gone afterwards.
        return tuple([jnp.array(variable.value) for variable in group] for group in self._groups())

    def _run_steps(
        self, state: Any, images: Any, truth: dict[str, Any], rates: Any, draws: dict[str, Any]
    ) -> Any:
        def step(carried: Any, given: Any) -> Any:
            (trained, others, optimizer), sums = carried
            pixels, own, rate, drawn = given
            optimizer = [*optimizer]
            optimizer[self._rate] = rate
            learn = jax.value_and_grad(self._loss, has_aux=True)
            (_, (others, losses)), gradients = learn(trained, others, pixels, own, drawn)
            trained, optimizer = self._optimizer.stateless_apply(optimizer, gradients, trained)
            return ((trained, others, optimizer), tuple(map(jnp.add, sums, losses))), None

        nothing = (jnp.zeros(()),) * 4
        (state, sums), _ = lax.scan(step, (state, nothing), (images, truth, rates, draws))
        return state, sums

    def _loss(
        self, trained: Any, others: Any, images: Any, truth: dict[str, Any], draws: Any
    ) -> Any:
        targets = jax.nn.one_hot(truth["label"], self._classes)
        pixels = images.astype("float32")
        pixels, targets, boxes = self._augment.apply(pixels, targets, draws, truth.get("box"))
        outputs, others = self._model.stateless_call(trained, others, pixels, training=True)
        moved = truth if boxes is None else truth | {"box": boxes}
        losses = self._objective.sums(outputs, targets, moved)
        return losses[0] / len(truth["label"]), (others, losses)

    def _run_answer(self, trained: Any, others: Any, images: Any) -> dict[str, Any]:
        pixels = images.astype("float32")
        outputs, _ = self._model.stateless_call(trained, others, pixels, training=False)
        return {name: outputs[name].astype("float32") for name in self._answers}
