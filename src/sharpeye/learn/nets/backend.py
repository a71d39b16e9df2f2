"""Choose the training engine, TensorFlow's or JAX's, and build its optimizer.

`KERAS_BACKEND` selects it; the default is TensorFlow. Every random number except dropout's is drawn
outside the engines, so that both see the same images.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from sharpeye.core.keras_import import default_settings, import_keras
from sharpeye.errors import MissingExtra, UsageError
from sharpeye.learn.nets.engine import Engine
from sharpeye.learn.nets.settings import FitSettings

if TYPE_CHECKING:
    import keras

    from sharpeye.learn.nets.augmentation import Augmentation
    from sharpeye.learn.nets.loss import Loss

_BACKENDS = ("tensorflow", "jax")
# As Linux names AVX512-BF16 and AMX-BF16, which TensorFlow's oneDNN kernels use.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def load_backend() -> str:
    """Import Keras with the chosen backend, and return the backend's name.

    Raises:
        MissingExtra: Keras or the backend is not installed.
        UsageError: SharpEye has no engine for the backend.
        EnvironmentFault: Keras refuses a variable of the environment.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.get("KERAS_BACKEND") or _BACKENDS[0]
    _require_engine(backend)
    try:
        if backend == "tensorflow":
            with default_settings(), _stderr_discarded():
                from sharpeye.learn.nets.engine_tensorflow import use_replicas
            use_replicas()
        actual = import_keras(backend)
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", "training a network") from None
    _require_engine(actual)
    return actual


def _require_engine(backend: str) -> None:
    if backend not in _BACKENDS:
        raise UsageError(
            f"a network is trained with KERAS_BACKEND={' or '.join(_BACKENDS)}, or without "
            f"KERAS_BACKEND. Received: {backend}"
        )


def is_mixed(precision: str, model: keras.Model) -> bool:
    """Whether training computes in 16 bits: `mixed` does, and `auto` where that is faster.

    That is on a GPU, and with TensorFlow on a processor that multiplies bfloat16. Images/s there on
    2 cores (AMD Genoa), 16 bits over 32: LeNet-5 1.15, a CNN of 3 x 64 at 50 px 1.7, ResNet-18 1.7,
    but MobileNet 0.5 and MobileNetV2 0.8, since depthwise convolutions have no fast kernel.
    """
    if precision != "auto":
        return precision == "mixed"
    return _has_gpu() or (_multiplies_bfloat16() and not _has_depthwise_convolution(model))


@contextlib.contextmanager
def computing(*, mixed: bool) -> Iterator[None]:
    """Build models that compute in float32, or `mixed`: in bfloat16.

    Variables stay float32. bfloat16 has the range of float32, so the loss needs no scaling.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _has_gpu() -> bool:
    import keras

    return any(name.startswith("gpu") for name in keras.distribution.list_devices())


def _multiplies_bfloat16() -> bool:
    """Whether the backend has the processor's instructions for bfloat16; known on Linux alone."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not _BFLOAT16_FLAGS.isdisjoint(words)


def _has_depthwise_convolution(model: keras.Model) -> bool:
    return any("DepthwiseConv" in type(layer).__name__ for layer in model.layers)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, in whose loaded backend networks are then built.

    Keras would import TensorFlow for it, if it is installed, whatever its backend is: some seconds,
    and lines on stderr.
    """
    import keras

    hides = keras.backend.backend() != "tensorflow" and "tensorflow" not in sys.modules
    if hides:
        sys.modules["tensorflow"] = cast(ModuleType, None)  # An import of it fails.
    try:
        keras.utils.set_random_seed(seed)
    finally:
        if hides:
            del sys.modules["tensorflow"]


@contextlib.contextmanager
def _stderr_discarded() -> Iterator[None]:
    """Discard messages of C++ libraries to stderr on loading, before they read any setting."""
    try:
        stderr = os.dup(2)
    except OSError:  # It is closed, as in a service.
        yield
        return
    if sys.stderr:
        sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def make_engine(
    build: Callable[[], keras.Model],
    settings: FitSettings,
    *,
    augmentation: Augmentation,
    loss: Loss,
) -> Engine:
    """The engine of the backend that Keras runs on, for a model that `build` makes."""
    import keras

    engine: type[Engine]
    if keras.backend.backend() == "jax":
        from sharpeye.learn.nets.engine_jax import JaxEngine

        engine = JaxEngine
    else:
        from sharpeye.learn.nets.engine_tensorflow import TensorFlowEngine

        engine = TensorFlowEngine
    model = _build(build, mixed=False)
    inference_model = None
    mixed = is_mixed(settings.precision, model)
    if mixed or settings.ema:
        inference_model, model = model, _build(build, mixed=mixed)
    return engine(
        model,
        _make_optimizer(model, settings),
        augmentation=augmentation,
        loss=loss,
        inference_model=inference_model,
    )


def _build(build: Callable[[], keras.Model], *, mixed: bool) -> keras.Model:
    """A network whose layers have the same names however many networks were built before it: a
    file of weights identifies layers by name, and Keras numbers those that have none.
    """
    from keras.src.utils.naming import reset_uids

    reset_uids()
    with computing(mixed=mixed):
        return build()


def _make_optimizer(model: keras.Model, settings: FitSettings) -> keras.optimizers.Optimizer:
    """An optimizer for the model; the engine sets the learning rate in each step."""
    from keras import optimizers

    decay, momentum = settings.weight_decay, settings.momentum
    options: dict[str, Any]
    common = {
        "global_clipnorm": settings.clip_norm or None,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.optimizer == "sgd":
        make: Any = optimizers.SGD
        options = {"momentum": momentum, "nesterov": momentum > 0, "weight_decay": decay or None}
    elif settings.optimizer == "adam":
        make, options = optimizers.Adam, {"epsilon": settings.epsilon}
    elif settings.optimizer == "lion":
        make, options = optimizers.Lion, {"weight_decay": decay}
    else:
        make, options = optimizers.AdamW, {"epsilon": settings.epsilon, "weight_decay": decay}
    optimizer = make(learning_rate=1.0, **common, **options)
    if optimizer.weight_decay:
        # Biases and the scales of batch norms must not decay.
        vectors = [v for v in model.trainable_variables if len(v.shape) < 2]
        optimizer.exclude_from_weight_decay(vectors)
    optimizer.build(model.trainable_variables)
    return optimizer
