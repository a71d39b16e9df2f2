"""The flags of TensorFlow-for-Poets' retrain.py, and their conversion to a configuration."""

import math
from dataclasses import dataclass, field
from typing import Any

from sharpeye.core.config import Config
from sharpeye.errors import ConfigError, UsageError, near_match
from sharpeye.models.registry import get_spec, list_models

_MAX_BATCH = 10**6  # of images to evaluate


def _flag(default: Any, text: str, **settings: Any) -> Any:
    return field(default=default, metadata={"help": text, **settings})


@dataclass(frozen=True)
class Flags:
    """The original's flags with their names and defaults; the last four are additions.

    An empty `model_dir`, `bottleneck_dir` or `output` means the default in its help text.
    """

    image_dir: str = _flag("", "Images: one sub-folder a class.")
    output_graph: str = _flag("/tmp/output_graph.pb", "The frozen graph.")  # noqa: S108
    output_labels: str = _flag("/tmp/output_labels.txt", "Its labels, a line each.")  # noqa: S108
    architecture: str = _flag(
        "inception_v3",
        "inception_v3, mobilenet_WIDTH_SIZE[_quantized], or what `sharpeye models` lists.",
    )
    how_many_training_steps: int = _flag(4000, "Training steps.")
    learning_rate: float = _flag(0.01, "Learning rate of gradient descent.")
    testing_percentage: int = _flag(10, "Percentage of test images, by their paths' SHA-1.")
    validation_percentage: int = _flag(10, "Percentage of validation images, likewise.")
    eval_step_interval: int = _flag(10, "Steps between validations.")
    train_batch_size: int = _flag(100, "Images a step.")
    test_batch_size: int = _flag(-1, "Images of the final test; -1 for all.")
    validation_batch_size: int = _flag(100, "Images of a validation; -1 for all.")
    print_misclassified_test_images: bool = _flag(False, "List the mistakes at the end.")
    summaries_dir: str = _flag(
        "/tmp/retrain_logs",  # noqa: S108
        "TensorBoard's files; old event files there are deleted.",
    )
    intermediate_output_graphs_dir: str = _flag(
        "/tmp/intermediate_graph/",  # noqa: S108
        "Prefix of intermediate_STEP.pb.",
    )
    intermediate_store_frequency: int = _flag(0, "Steps between intermediate graphs; 0 for none.")
    model_dir: str = _flag(
        "", "Folder for ImageNet weights, also those of retrain.py [Keras' cache]."
    )
    bottleneck_dir: str = _flag("", "Folder for features [SharpEye's cache].")
    final_tensor_name: str = _flag("final_result", "The graph's output node.")
    flip_left_right: bool = _flag(False, "Mirror half of the training images.")
    random_crop: int = _flag(0, "Margin cropped off, percent.")
    random_scale: int = _flag(0, "Largest enlargement, percent.")
    random_brightness: int = _flag(0, "Largest change of brightness, percent.")
    weights: str = _flag(
        "imagenet", "imagenet, a file (.h5, .keras, .pb, .tgz), or random, for tests only."
    )
    distortion_views: int = _flag(8, "Maximum of distorted views of an image.")
    seed: int = _flag(0, "For batches, initial weights and distortions.")
    output: str = _flag("", "The run directory [beside the graph].", more_names=("-o",))


# The knobs that flags set as they are.
_KEYS = {
    "seed": "seed",
    "bottleneck_dir": "data.features_folder",
    "weights": "model.weights",
    "model_dir": "model.weights_folder",
    "how_many_training_steps": "sgd.steps",
    "learning_rate": "sgd.learning_rate",
    "train_batch_size": "sgd.batch_size",
    "eval_step_interval": "sgd.eval_every",
    "flip_left_right": "distort.flip",
    "random_crop": "distort.crop",
    "random_scale": "distort.scale",
    "random_brightness": "distort.brightness",
    "distortion_views": "distort.views",
}


def to_config(flags: Flags) -> Config:
    """Convert the flags to a configuration.

    Raises:
        UsageError: a flag is out of its range, or the architecture is unknown.
    """
    model, int8 = parse_architecture(flags.architecture)
    if flags.weights in ("none", "auto"):
        raise UsageError(
            "--weights must be imagenet, a file of weights, or random for tests: retrain never "
            f"trains the network itself, only the last layer. Received: {flags.weights}"
        )
    _check_ranges(flags)
    config = Config().replace(
        {
            "split.rule": "path",
            "split.validation": flags.validation_percentage / 100,
            "split.test": flags.testing_percentage / 100,
            "model.name": model,
            "model.fit": "stretch",
            "model.filter": "bilinear_asymmetric",
            "model.int8": int8,
            "head.solver": "sgd",
        }
    )
    for flag, key in _KEYS.items():
        try:
            config = config.replace({key: getattr(flags, flag)})
        except ConfigError as error:
            raise UsageError(str(error).replace(key, f"--{flag}")) from None
    unused = {} if config.distort.active else {"distort.views": Config().distort.views}
    return config.replace({"sgd.validation_batch": max(0, flags.validation_batch_size)} | unused)


def parse_architecture(name: str) -> tuple[str, bool]:
    """The name of a model, and whether to quantize it to int8.

    Raises:
        UsageError: unknown.
    """
    lowered = name.strip().lower()
    model = lowered.removesuffix("_quantized")
    models = [spec.name for spec in list_models()]
    try:
        return get_spec(model).name, model != lowered
    except UsageError:
        raise UsageError(
            f"--architecture must be inception_v3, mobilenet_WIDTH_SIZE with width 1.0, 0.75, 0.50 "
            f"or 0.25 and size 224, 192, 160 or 128, or another name that `sharpeye models` lists; "
            f"_quantized may follow. Received: {name}. {near_match(model, models)}"
        ) from None


def _check_ranges(flags: Flags) -> None:
    percentage, batch_size = "from 1 to 89", "-1 for all images, or from 1 to 1000000"
    for name, minimum, maximum, allowed in (
        ("testing_percentage", 1, 89, percentage),
        ("validation_percentage", 1, 89, percentage),
        ("test_batch_size", -1, _MAX_BATCH, batch_size),
        ("validation_batch_size", -1, _MAX_BATCH, batch_size),
        ("intermediate_store_frequency", 0, math.inf, "0 for never, or at least 1"),
    ):
        value = getattr(flags, name)
        if not minimum <= value <= maximum or (allowed == batch_size and value == 0):
            raise UsageError(f"--{name} must be {allowed}. Received: {value}")
    if flags.testing_percentage + flags.validation_percentage > 90:
        raise UsageError(
            "--testing_percentage and --validation_percentage together must be at most 90, so that "
            "something is left to train on. Received: "
            f"{flags.testing_percentage} and {flags.validation_percentage}"
        )
