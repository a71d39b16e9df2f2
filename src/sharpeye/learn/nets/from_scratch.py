"""Train a network of `models` from random weights."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.config import Config
from sharpeye.learn.nets.loop import FittedNetwork, fit_network
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

    from sharpeye.models.initial_weights import InitialWeights

log = logging.getLogger(__name__)

Constants = tuple[float, ...]

# Mean and deviation of ImageNet, RGB, 0..1, as in PyTorch's and many of TensorFlow's models.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FIXED_SCALINGS = {"none": (1.0, 0.0), "unit": (1 / 255, 0.0), "signed": (1 / 127.5, -1.0)}
# This many training images are enough to estimate their mean and deviation.
_MAX_SCALING_IMAGES = 4096
# AdamW divides a gradient by its size and Nesterov's method does not: its rates are larger. Lion
# takes the sign of a gradient, a step of full length (Chen et al. 2023, arXiv:2302.06675: 3 to 10
# times smaller than AdamW's).
_RATE_FACTORS = {"sgd": 50.0, "lion": 0.2}


def fit_from_scratch(
    spec: ModelSpec,
    config: Config,
    arrays: TrainingArrays,
    *,
    other_seconds: float = 0.0,
    predictions_after: int = 0,
    initial: "InitialWeights | None" = None,
    **options: Any,
) -> FittedNetwork:
    """`fit_network` with a network that begins with random weights, or with those of another one;
    `options` and errors are the same.

    Args:
        other_seconds, predictions_after: see `FitSettings.within_run`.
        initial: the weights to begin with; by default random ones.
    """
    settings = FitSettings.from_config(config, peak_learning_rate(spec, config))
    settings = settings.within_run(other_seconds, predictions_after)
    return fit_network(
        network_builder(spec, config, arrays, initial=initial), arrays, settings, **options
    )


def network_builder(
    spec: ModelSpec, config: Config, arrays: TrainingArrays, *, initial: "InitialWeights | None"
) -> Callable[[], "keras.Model"]:
    """A function that builds the network for these images, when Keras is loaded."""

    def build() -> "keras.Model":
        from sharpeye.models.classifier import build_classifier

        scale, offset = _scaling_of_weights(initial, config, arrays.input.channels) or (
            input_scaling(arrays, config.net.scaling)
        )
        classes = len(arrays.class_names)
        boxes = config.localize.channels if arrays.boxes else 0
        model = build_classifier(
            spec, arrays.input, classes, net=config.net, scale=scale, offset=offset, boxes=boxes
        )
        if initial:
            from sharpeye.models.initial_weights import set_initial_weights

            log.info("%s", set_initial_weights(model, initial, arrays.class_names))
        return model

    return build


def _scaling_of_weights(
    initial: "InitialWeights | None", config: Config, channels: int
) -> tuple[Constants, Constants] | None:
    """The scaling that the initial weights were trained with, where the images would decide."""
    return initial.scaling(channels) if initial and config.net.scaling == "data" else None


def peak_learning_rate(spec: ModelSpec, config: Config) -> float:
    """The highest learning rate of the schedule: the configured rate, else the model's default."""
    if config.train.learning_rate:
        return config.train.learning_rate
    return spec.learning_rate * _RATE_FACTORS.get(config.train.optimizer, 1.0)


def input_scaling(arrays: TrainingArrays, kind: str) -> tuple[Constants, Constants]:
    """The factor and offset of each channel that scale 0..255 for the network.

    Args:
        kind: `data`, `unit`, `signed`, `imagenet` or `none`, see `NetConfig.scaling`.
    """
    channels = arrays.input.channels
    if kind in _FIXED_SCALINGS:
        scale, offset = _FIXED_SCALINGS[kind]
        return (scale,) * channels, (offset,) * channels
    if kind == "imagenet":
        mean, std = (np.array(values) * 255 for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        if channels == 1:
            mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    else:
        indices = arrays.indices["train"]
        chosen = np.sort(indices[:: max(1, len(indices) // _MAX_SCALING_IMAGES)])
        pixels = arrays.pixels[chosen].reshape(-1, channels)
        mean = pixels.mean(axis=0, dtype=np.float64)
        std = np.maximum(pixels.std(axis=0, dtype=np.float64), 1.0)
    return tuple((1 / std).tolist()), tuple((-mean / std).tolist())
