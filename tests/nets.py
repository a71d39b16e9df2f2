"""Small material and small networks for the tests of training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sharpeye.core.config import Config
from sharpeye.core.types import InputSpec
from sharpeye.learn.nets.augment import Augment
from sharpeye.learn.nets.backend import load_backend, make_engine, precision
from sharpeye.learn.nets.engine import Engine, Floats, StepBatches
from sharpeye.learn.nets.loss import make_loss
from sharpeye.learn.nets.training_arrays import TrainingArrays

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
    train: int = 48,
    validation: int = 21,
    test: int = 10,
    classes: int = CLASSES,
    seed: int = 0,
    boxes: bool = False,
) -> TrainingArrays:
    """Noise with a bright patch whose place tells the class; hard enough to be in doubt.

    With boxes the patch is bright, at a place of its own in each image, and its box is known.
    """
    random = np.random.default_rng(seed)
    count = train + validation + test
    truth = np.arange(count) % classes
    pixels = random.integers(0, 200, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for i, label in enumerate(truth):
        pixels[i, label * 4 : label * 4 + 4, 4:8] += 40
    places = np.zeros((count, 4), np.float32)
    if boxes:
        pixels //= 4
        left, top, wide, high = random.integers((0, 0, 5, 5), (8, 8, 8, 8), (count, 4)).T
        places = (np.stack([left, top, left + wide, top + high], axis=1) / SIDE).astype(np.float32)
        for i, label in enumerate(truth):
            pixels[i, top[i] : top[i] + high[i], left[i] : left[i] + wide[i], label] = 230
    rows = np.arange(count)
    cuts = {
        "train": rows[:train],
        "validation": rows[train : train + validation],
        "test": rows[train + validation :],
    }
    return TrainingArrays(
        pixels=pixels,
        indices=cuts,  # type: ignore[arg-type]
        targets={part: truth[own] for part, own in cuts.items()},  # type: ignore[misc]
        class_names=tuple(f"class{i}" for i in range(classes)),
        input=InputSpec(SIDE, SIDE),
        boxes={part: places[own] for part, own in cuts.items()} if boxes else {},  # type: ignore[misc]
    )


def make_net(config: Config, batch: int = 8, classes: int = CLASSES) -> tuple[Any, Engine]:
    """A convolution, a batch norm if `net.width` is 8, dropout as configured, and its engine.

    A localizer, as the configuration says, also has a box.
    """
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
        outputs = {"features": x, "logits": logits}
        if config.task == "localize":
            from sharpeye.models.box_heads import box_on_features

            outputs |= box_on_features(x, config.net)
        model = keras.Model(image, outputs)
    augment = Augment(config.augment, SIDE, SIDE, 128.0)
    objective = make_loss(config, SIDE, SIDE)
    return model, make_engine(model, config.train, augment, objective, batch)


def make_stretch(
    steps: int = 3,
    batch: int = 8,
    seed: int = 0,
    rate: float = 0.01,
    weights: Any = 1.0,
    augment: Callable[..., Mapping[str, Any]] | None = None,
    boxes: bool = False,
) -> StepBatches:
    random = np.random.default_rng(seed)
    places = some_boxes(steps * batch, random) if boxes else None
    drawn = augment(steps * batch, random, places) if augment else {}
    images = random.integers(0, 256, (steps, batch, SIDE, SIDE, 3), np.uint8)
    truth = {
        "label": random.integers(0, CLASSES, (steps, batch)).astype(np.int32),
        "weight": np.broadcast_to(np.asarray(weights, np.float32), (steps, batch)).copy(),
    }
    return StepBatches(
        images=images,
        targets=truth if places is None else truth | {"box": places.reshape(steps, batch, 4)},
        learning_rates=np.full(steps, rate, np.float32),
        draws={
            name: value.reshape(steps, batch, *value.shape[1:]) for name, value in drawn.items()
        },
    )


def some_boxes(count: int, random: np.random.Generator) -> Floats:
    """float32[count,4]: boxes of all sizes, anywhere in the image."""
    low = random.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + random.uniform(0.1, 0.4, (count, 2))], 1).astype(np.float32)


def weights_of(model: Any) -> list[Any]:
    return [np.asarray(variable).copy() for variable in model.variables]


def equal(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists of arrays are the same to the last bit."""
    return len(one) == len(other) and all(map(np.array_equal, one, other))
