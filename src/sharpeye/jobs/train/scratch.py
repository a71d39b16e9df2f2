"""The way from scratch: images to a network whose every weight was learned from them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone, available_cores
from sharpeye.core.storage import atomic_path, sha256_file
from sharpeye.core.types import InputSpec, SampleSet, Split
from sharpeye.data.digest import add_digests
from sharpeye.data.pixels import load_pixels
from sharpeye.jobs.train.data_notes import data_notes
from sharpeye.jobs.train.prepare import (
    Clock,
    FitResult,
    OnSamples,
    Progress,
    log_notes,
    settle,
    stage_progress,
)
from sharpeye.learn.heads.head import FittedHead, Head
from sharpeye.learn.heads.l2_search import fit_temperature
from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.nets.loop import FittedNetwork, OnEpoch, fit_network
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

Constants = tuple[float, ...]
Floats = npt.NDArray[np.float32]

# Of ImageNet's training images, RGB, 0..1: what PyTorch's and many of TensorFlow's models use.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# As many training images tell their mean and deviation well enough.
_SCALED_BY = 4096
# Nesterov's method without AdamW's division by the gradients' size takes so much larger steps.
_SGD_RATE = 50.0


def prepare(
    samples: SampleSet,
    spec: InputSpec,
    config: Config,
    on_samples: OnSamples = lambda _: None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> tuple[SampleSet, TrainingArrays]:
    """Decode all images, once a machine, and split them.

    Args:
        samples: from `scan_folder`.
        on_samples: as in `settle`.
        progress: told how far a stage is.

    Raises:
        DataError: too few readable images, or an unreadable one under `data.strict`.
    """
    clock = clock or Clock()
    samples = add_digests(samples, available_cores())
    clock.lap("digests")
    found = load_pixels(samples.samples, spec, progress=stage_progress(progress, "pictures"))
    clock.lap("pictures")
    samples = settle(samples, found.rejected, config, on_samples)
    log.info("%d pictures in %d classes", len(samples), len(samples.class_names))
    localizes = config.task == "localize"
    return samples, build_arrays(samples, found.pixels, found.rows, spec, boxes=localizes)


def fit_from_scratch(
    spec: ModelSpec,
    config: Config,
    material: TrainingArrays,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> FittedNetwork:
    """Train a network of the zoo from random weights; see `fit_model`."""

    def build() -> "keras.Model":
        from sharpeye.models.classifier import build_classifier

        scale, offset = scaling(material, config.net.scaling)
        classes = len(material.class_names)
        boxes = config.localize.channels if material.boxes else 0
        return build_classifier(
            spec, material.input, classes, config.net, scale, offset, boxes=boxes
        )

    return fit_network(
        build,
        material,
        FitSettings.from_config(config, peak_rate(spec, config)),
        checkpoints=checkpoints,
        resume=resume,
        on_epoch=on_epoch,
    )


def peak_rate(spec: ModelSpec, config: Config) -> float:
    """The highest learning rate: as configured, else the model's own."""
    if config.train.learning_rate:
        return config.train.learning_rate
    return spec.learning_rate * (_SGD_RATE if config.train.optimizer == "sgd" else 1.0)


def scaling(material: TrainingArrays, kind: str) -> tuple[Constants, Constants]:
    """Factor and summand for each channel, by which 0..255 becomes what a network likes.

    Args:
        kind: `data`, `unit`, `signed`, `imagenet` or `none`, as `NetConfig.scaling` says.
    """
    channels = material.input.channels
    if kind == "none":
        return (1.0,) * channels, (0.0,) * channels
    if kind == "unit":
        return (1 / 255,) * channels, (0.0,) * channels
    if kind == "signed":
        return (1 / 127.5,) * channels, (-1.0,) * channels
    if kind == "imagenet":
        mean, std = (np.array(values) * 255 for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        if channels == 1:
            mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    else:
        rows = material.indices["train"]
        some = np.sort(rows[:: max(1, len(rows) // _SCALED_BY)])
        pixels = material.pixels[some].reshape(-1, channels)
        mean = pixels.mean(axis=0, dtype=np.float64)
        std = np.maximum(pixels.std(axis=0, dtype=np.float64), 1.0)
    return tuple((1 / std).tolist()), tuple((-mean / std).tolist())


def learn_from_scratch(
    samples: SampleSet,
    spec: ModelSpec,
    size: InputSpec,
    config: Config,
    on_samples: OnSamples,
    *,
    folder: Path,
    resume: bool = False,
    progress: Progress | None = None,
    on_material: Callable[[TrainingArrays], None] = lambda _: None,
    on_epoch: OnEpoch | None = None,
) -> tuple[FitResult, FittedNetwork]:
    """Decode, split, train, calibrate, and answer for the held-out parts.

    Args:
        samples: from `scan_folder`.
        size: how images are brought to the network.
        on_samples: as in `settle`.
        folder: where checkpoints are kept until the run is finished.
        resume: go on from the newest checkpoint.
        on_material: is told of the decoded images before training begins.
        on_epoch: is told of each epoch; what it raises ends training.

    Raises:
        DataError: too few readable images, or an unreadable one under `data.strict`.
        DivergedError: the loss is not finite any more.
    """
    clock = Clock()
    samples, material = prepare(samples, size, config, on_samples, progress, clock)
    notes = data_notes(samples, config)
    log_notes(notes)
    on_material(material)
    net = fit_from_scratch(
        spec, config, material, checkpoints=folder, resume=resume, on_epoch=on_epoch
    )
    clock.lap("training")
    head, probs, boxes = calibrated(net, material)
    learned = FitResult(samples, head, probs, notes, clock.seconds, boxes)
    clock.lap("answers")
    return learned, net


def calibrated(
    net: FittedNetwork, material: TrainingArrays, root: bool = False
) -> tuple[FittedHead, dict[Split, npt.NDArray[np.float64]], dict[Split, Floats]]:
    """The last layer as a `Head`, with its temperature, and the answers for the held-out parts.

    Returns:
        the head; by part float64[N,C], probabilities; by part float32[N,4], boxes, if there are.
    """
    from sharpeye.models.classifier import head_of

    held_out: tuple[Split, ...] = ("validation", "test")
    answers = {
        part: net.engine.predict(material.pixels, material.indices[part]) for part in held_out
    }
    logits = {part: found["logits"].astype(np.float64) for part, found in answers.items()}
    temperature = fit_temperature(logits["validation"], material.targets["validation"])
    weights, bias = head_of(net.model)
    head = Head(
        weights=(weights / temperature).astype(np.float32),
        bias=(bias / temperature).astype(np.float32),
        temperature=temperature,
        l2=0.0,
        root=root,
    )
    probs: dict[Split, npt.NDArray[np.float64]] = {
        part: np.asarray(softmax(values / temperature), np.float64)
        for part, values in logits.items()
    }
    boxes = {part: found["box"] for part, found in answers.items() if "box" in found}
    return FittedHead(head, head, None, net.history), probs, boxes


def write_box_head(net: FittedNetwork, file: Path) -> None:
    """Write a box head as ONNX: `maps` float32[N,D] to `box` float32[N,4].

    Raises:
        EnvironmentFault: the disk is full.
    """
    import keras
    import onnx

    from sharpeye.models.onnx_emitter import emit_onnx

    model = keras.Model(net.model.input, {"box": net.model.output["box"]}, name=net.model.name)
    with atomic_path(file) as temporary:
        onnx.save(emit_onnx(model, "maps"), temporary)


def write_features(net: FittedNetwork, name: str, size: InputSpec, file: Path) -> Backbone:
    """Write the network up to its features, and its box if it finds one, as ONNX.

    Raises:
        EnvironmentFault: the disk is full.
        ModelError: a layer that has no ONNX form.
    """
    import keras
    import onnx

    from sharpeye.models.onnx_emitter import emit_onnx

    wanted = {name: net.model.output.get(name) for name in ("features", "box")}
    outputs = {name: tensor for name, tensor in wanted.items() if tensor is not None}
    model = keras.Model(net.model.input, outputs, name=net.model.name)
    with atomic_path(file) as temporary:
        onnx.save(emit_onnx(model, "image"), temporary)
    return Backbone(name, file, sha256_file(file), size)
