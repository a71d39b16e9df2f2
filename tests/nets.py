"""Small data and small networks for the tests of training."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sharpeye.core.config import Config
from sharpeye.core.types import InputSpec
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.backend import load_backend, make_engine
from sharpeye.learn.nets.engine import Engine, StepBatches
from sharpeye.learn.nets.loss import Loss
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays

Array = np.ndarray[Any, Any]

SIDE, CLASSES = 16, 3
TINY: dict[str, Any] = {
    "model.name": "cnn",
    "model.weights": "none",
    "model.image_size": SIDE,
    "net.conv_layers": 1,
    "net.layer_size": 8,
    "train.epochs": 3,
    "train.batch_size": 16,
    "train.precision": "float32",  # so that figures are the same on all processors
}


def tiny_config(changes: Mapping[str, Any] | None = None) -> Config:
    return Config().replace(TINY | dict(changes or {}))


def make_arrays(
    train: int = 48,
    validation: int = 21,
    test: int = 10,
    classes: int = CLASSES,
    seed: int = 0,
    boxes: bool = False,
) -> TrainingArrays:
    """Noise with a bright patch; its position gives the class, but not with certainty.

    With boxes the patch is brighter and anywhere in the image; its colour gives the class.
    """
    random = np.random.default_rng(seed)
    count = train + validation + test
    targets = np.arange(count) % classes
    pixels = random.integers(0, 200, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for i, label in enumerate(targets):
        pixels[i, label * 4 : label * 4 + 4, 4:8] += 40
    patches = np.zeros((count, 4), np.float32)
    if boxes:
        pixels //= 4
        left, top, wide, high = random.integers((0, 0, 5, 5), (8, 8, 8, 8), (count, 4)).T
        patches = (np.stack([left, top, left + wide, top + high], 1) / SIDE).astype(np.float32)
        for i, label in enumerate(targets):
            pixels[i, top[i] : top[i] + high[i], left[i] : left[i] + wide[i], label] = 230
    train_indices, validation_indices, test_indices = np.split(
        np.arange(count), [train, train + validation]
    )
    indices: dict[Any, Array] = {
        "train": train_indices,
        "validation": validation_indices,
        "test": test_indices,
    }
    return TrainingArrays(
        pixels=pixels,
        indices=indices,
        targets={split: targets[rows] for split, rows in indices.items()},
        class_names=tuple(f"class{i}" for i in range(classes)),
        input=InputSpec(SIDE, SIDE),
        boxes={split: patches[rows] for split, rows in indices.items()} if boxes else {},
    )


def make_model_and_engine(config: Config, classes: int = CLASSES) -> tuple[Any, Engine]:
    """A convolution, a batch norm if `net.width` is 8, dropout as configured, and an engine.

    With `task = localize` the model has a box too.
    """
    load_backend()
    import keras
    from keras import layers

    keras.utils.set_random_seed(config.seed)

    def build() -> Any:
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
            from sharpeye.models.box_heads import box_from_features

            outputs |= box_from_features(x, config.net)
        return keras.Model(image, outputs)

    settings = FitSettings.from_config(config, config.train.learning_rate)
    augmentation = Augmentation(config.augment, SIDE, SIDE, fill=128.0)
    loss = Loss(settings, (SIDE, SIDE))
    engine = make_engine(build, settings, augmentation=augmentation, loss=loss)
    return engine._model, engine


def make_loss(size: tuple[int, int] = (1, 1), **changes: Any) -> Loss:
    """By default without label smoothing, and with factors of 1 for classes and boxes."""
    settings = FitSettings.from_config(tiny_config(), learning_rate=0.1)
    return Loss(replace(settings, **{"label_smoothing": 0.0, "box_weight": 1.0} | changes), size)


def make_step_batches(
    steps: int = 3,
    batch: int = 8,
    seed: int = 0,
    rate: float = 0.01,
    weights: Any = 1.0,
    augment: Callable[..., Mapping[str, Any]] | None = None,
    boxes: bool = False,
) -> StepBatches:
    """Noise with random labels; `augment` is an `Augmentation.draw`."""
    random = np.random.default_rng(seed)
    true_boxes = random_boxes(steps * batch, random) if boxes else None
    draws = augment(steps * batch, random, true_boxes) if augment else {}
    images = random.integers(0, 256, (steps, batch, SIDE, SIDE, 3), np.uint8)
    targets = {
        "label": random.integers(0, CLASSES, (steps, batch)).astype(np.int32),
        "weight": np.broadcast_to(np.asarray(weights, np.float32), (steps, batch)).copy(),
    }
    if true_boxes is not None:
        targets["box"] = true_boxes.reshape(steps, batch, 4)
    return StepBatches(
        images=images,
        targets=targets,
        learning_rates=np.full(steps, rate, np.float32),
        draws={
            name: array.reshape(steps, batch, *array.shape[1:]) for name, array in draws.items()
        },
    )


def random_boxes(count: int, random: np.random.Generator) -> Array:
    """float32[count,4]: boxes of all sizes, anywhere in the image."""
    low = random.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + random.uniform(0.1, 0.4, (count, 2))], 1).astype(np.float32)


def weights_of(model: Any) -> list[Array]:
    return [np.asarray(variable).copy() for variable in model.variables]


def same_arrays(first: list[Any], second: list[Any]) -> bool:
    """Whether two lists of arrays are equal to the last bit."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))
