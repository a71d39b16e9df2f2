"""Small material and small networks for the tests of training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sharpeye.config import Config
from sharpeye.training.augment import Augment
from sharpeye.training.engine import load_backend, make_engine, precision
from sharpeye.training.material import Material
from sharpeye.training.steps import Engine, Stretch
from sharpeye.types import InputSpec

SIDE, CLASSES = 16, 3
TINY: dict[str, Any] = {
    "model.name": "cnn",
    "model.weights": "none",
    "model.image_size": SIDE,
    "net.conv_layers": 1,
    "net.layer_size": 8,
    "train.epochs": 3,
    "train.batch_size": 16,
}


def config_of(changes: Mapping[str, Any] | None = None) -> Config:
    return Config().replace(TINY | dict(changes or {}))


def make_material(
    train: int = 48, validation: int = 21, test: int = 10, classes: int = CLASSES, seed: int = 0
) -> Material:
    """Noise with a bright patch whose place tells the class; hard enough to be in doubt."""
    random = np.random.default_rng(seed)
    count = train + validation + test
    truth = np.arange(count) % classes
    pixels = random.integers(0, 200, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for i, label in enumerate(truth):
        pixels[i, label * 4 : label * 4 + 4, 4:8] += 40
    rows = np.arange(count)
    cuts = {
        "train": rows[:train],
        "validation": rows[train : train + validation],
        "test": rows[train + validation :],
    }
    return Material(
        pixels=pixels,
        rows=cuts,  # type: ignore[arg-type]
        truth={part: truth[own] for part, own in cuts.items()},  # type: ignore[misc]
        labels=tuple(f"class{i}" for i in range(classes)),
        input=InputSpec(SIDE, SIDE),
    )


def make_net(config: Config, batch: int = 8, classes: int = CLASSES) -> tuple[Any, Engine]:
    """A convolution, a batch norm if `net.width` is 8, dropout as configured, and its engine."""
    load_backend()
    import keras
    from keras import layers

    keras.utils.set_random_seed(config.seed)
    with precision("float32"):
        image = keras.Input((SIDE, SIDE, 3), name="image")
        x = layers.Rescaling(1 / 128, -1.0)(image)
        x = layers.Conv2D(4, 3, strides=2, name="conv")(x)
        if config.net.width == 8:
            x = layers.BatchNormalization(name="norm")(x)
        x = layers.Flatten()(layers.Activation("relu")(x))
        if config.net.dropout:
            x = layers.Dropout(config.net.dropout)(x)
        logits = layers.Dense(classes, name="classifier")(x)
        model = keras.Model(image, {"features": x, "logits": logits})
    augment = Augment(config.augment, SIDE, SIDE, 128.0)
    return model, make_engine(model, config.train, augment, batch)


def make_stretch(
    steps: int = 3,
    batch: int = 8,
    seed: int = 0,
    rate: float = 0.01,
    weights: Any = 1.0,
    augment: Callable[[int, np.random.Generator], Mapping[str, Any]] | None = None,
) -> Stretch:
    random = np.random.default_rng(seed)
    drawn = augment(steps * batch, random) if augment else {}
    return Stretch(
        images=random.integers(0, 256, (steps, batch, SIDE, SIDE, 3), np.uint8),
        labels=random.integers(0, CLASSES, (steps, batch)).astype(np.int32),
        weights=np.broadcast_to(np.asarray(weights, np.float32), (steps, batch)).copy(),
        rates=np.full(steps, rate, np.float32),
        draws={
            name: value.reshape(steps, batch, *value.shape[1:]) for name, value in drawn.items()
        },
    )


def weights_of(model: Any) -> list[Any]:
    return [np.asarray(variable).copy() for variable in model.variables]


def equal(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists of arrays are the same to the last bit."""
    return len(one) == len(other) and all(map(np.array_equal, one, other))
