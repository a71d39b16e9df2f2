"""Chooses what takes the steps of training: TensorFlow or JAX, as Keras is set up.

`KERAS_BACKEND` says which, TensorFlow by default. Everything random but dropout is drawn outside
of the engines, so that both see the same images.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sharpeye.core.config import TrainConfig
from sharpeye.errors import MissingExtra, UsageError
from sharpeye.learn.nets.engine import Engine

if TYPE_CHECKING:
    import keras

    from sharpeye.learn.nets.augment import Augment
    from sharpeye.learn.nets.loss import Loss

BACKENDS = ("tensorflow", "jax")


def load_backend() -> str:
    """Import Keras with the backend that was chosen; returns its name.

    Raises:
        MissingExtra: Keras or the backend is not installed.
        UsageError: `KERAS_BACKEND` is one that SharpEye has no engine for.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    wanted = os.environ["KERAS_BACKEND"]
    if wanted not in BACKENDS:
        raise UsageError(f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}. Received: {wanted}")
    try:
        if wanted == "tensorflow":
            with _silenced():
                from sharpeye.learn.nets.engine_tensorflow import use_replicas
            use_replicas()
        import keras
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", "training a network") from None
    return str(keras.backend.backend())


@contextlib.contextmanager
def precision(wanted: str) -> Iterator[None]:
    """Models built inside compute as wanted: `float32`, `mixed`, or `auto`: mixed on a GPU.

    Variables stay float32. bfloat16 has float32's range, so that no loss is scaled.
    """
    import keras

    mixed = wanted == "mixed" or (wanted == "auto" and _has_gpu())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _has_gpu() -> bool:
    import keras

    return any(name.startswith("gpu") for name in keras.distribution.list_devices())


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drop what C++ libraries write to stderr as they are loaded, before they heed any setting."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def make_engine(
    model: keras.Model, config: TrainConfig, augment: Augment, objective: Loss, batch: int
) -> Engine:
    """The engine of the backend that Keras runs on; see `Engine`.

    Args:
        batch: images a step.
    """
    import keras

    optimizer = make_optimizer(model, config)
    if keras.backend.backend() == "jax":
        from sharpeye.learn.nets.engine_jax import JaxEngine

        return JaxEngine(model, optimizer, augment, objective)
    from sharpeye.learn.nets.engine_tensorflow import TensorFlowEngine

    return TensorFlowEngine(model, optimizer, augment, objective, batch)


def make_optimizer(model: keras.Model, config: TrainConfig) -> keras.optimizers.Optimizer:
    """The optimizer, built for the model; its learning rate is set anew for each step."""
    from keras import optimizers

    common: dict[str, Any] = {
        "learning_rate": 1.0,
        "global_clipnorm": config.clip_norm or None,
    }
    if config.optimizer == "sgd":
        decay = config.weight_decay or None
        made = optimizers.SGD(
            momentum=config.momentum, nesterov=config.momentum > 0, weight_decay=decay, **common
        )
    elif config.optimizer == "adam":
        made = optimizers.Adam(epsilon=config.epsilon, **common)
    else:
        made = optimizers.AdamW(epsilon=config.epsilon, weight_decay=config.weight_decay, **common)
    if made.weight_decay:
        # Biases and the scales of batch norms are not to be pulled to zero.
        made.exclude_from_weight_decay([v for v in model.trainable_variables if len(v.shape) < 2])
    made.build(model.trainable_variables)
    return made
