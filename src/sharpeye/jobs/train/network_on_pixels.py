"""Train a network on pixels from random weights, and split it into a backbone and a head."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone
from sharpeye.core.numerics import softmax
from sharpeye.core.storage import TEMPORARY_PREFIX, atomic_path, sha256_file
from sharpeye.core.types import Filter, InputSpec, ResizeMode, SampleSet, Split
from sharpeye.errors import DivergedError
from sharpeye.jobs.train.box_scores import BoxScores, score_boxes
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.distill import with_teacher
from sharpeye.jobs.train.earlier_weights import (
    find_initial_weights,
    history_of_run,
    weights_of_run,
)
from sharpeye.jobs.train.progress_log import ProgressLog
from sharpeye.learn.heads.head import FittedHead, Head
from sharpeye.learn.heads.temperature import fit_temperature
from sharpeye.learn.nets.checkpoint import CheckpointFolder
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.loop import FittedNetwork
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.learn.ood.detector import MAX_IMAGES
from sharpeye.models.initial_weights import InitialWeights
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunWriter

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

# What follows a training and does not depend on the number of images: exports, proof, report.
SECONDS_AFTER = 8.0


def input_spec(config: Config, bit_depth: int) -> InputSpec:
    """The input of a network that is trained from scratch on images of this bit depth."""
    spec, model = get_spec(config.model.name).input, config.model
    side = model.image_size
    return replace(
        spec,
        height=side or spec.height,
        width=side or spec.width,
        fit=cast(ResizeMode, model.fit),  # `Config` allows no other values.
        filter=cast(Filter, model.filter),
        channels=1 if config.net.color == "grey" else 3,
        bit_depth=bit_depth,
    )


def initial_weights(config: Config, resumed: Path | None) -> InitialWeights | None:
    """The weights with which a training begins: those of a finished run that goes on, else those of
    `train.initial_weights`. None without these, and where a checkpoint has all weights.

    Args:
        resumed: the finished or unfinished run that goes on, if there is one.

    Raises:
        UsageError: there are no such weights.
    """
    if resumed and (resumed / layout.BUNDLE).is_file():
        return replace(weights_of_run(resumed), complete=True) if config.from_scratch else None
    if not config.train.initial_weights:
        return None
    if resumed and CheckpointFolder(resumed / layout.CHECKPOINTS).latest():
        return None  # What the training began with may be gone.
    return find_initial_weights(config)


def fit_network_on_pixels(
    context: TrainContext, samples: SampleSet, arrays: TrainingArrays
) -> TrainedModel:
    """Train a network, calibrate it, and predict the held-out images.

    A run that is stopped after a checkpoint keeps its files and can be resumed.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    config, run_dir = context.config, context.run_dir
    spec, progress = get_spec(config.model.name), context.progress_of("teacher")
    arrays = with_teacher(arrays, samples, config, progress=progress)
    if config.distill.teacher:
        context.clock.lap("teacher")
    epochs = 0 if config.train.time_limit else config.train.epochs
    resumed = run_dir.path if run_dir.resumed else None
    initial = initial_weights(config, context.earlier.path if context.earlier else resumed)
    earlier = history_of_run(context.earlier) if context.earlier else []
    with ProgressLog(context, stage="train", epochs=epochs, history=earlier) as progress_log:
        progress_log.images(arrays)
        try:
            network = fit_from_scratch(
                spec,
                config,
                arrays,
                other_seconds=context.clock.total + SECONDS_AFTER,
                predictions_after=predictions_after(arrays),
                initial=initial,
                earlier=earlier,
                checkpoints=run_dir.file(layout.CHECKPOINTS),
                resume=run_dir.resumed,
                on_epoch=progress_log.epoch,
                on_images=progress_log.trained_images,
            )
        except DivergedError as error:
            raise _with_history(run_dir, error) from None
        context.clock.lap("training")
        best, held_out = network.best_row["epoch"], len(samples) - len(arrays.indices["train"])
        log.info("epoch %d is kept; %d held-out images are predicted", best, held_out)
        head, probs, boxes, box_scores = calibrate(network, arrays)
        context.clock.lap("answers")
        graph = network.engine.graph()
        if graph is not None:
            progress_log.graph(graph)
    return TrainedModel(
        samples=samples,
        head=head,
        probs=probs,
        boxes=boxes,
        box_scores=box_scores,
        **write_network(
            run_dir,
            network,
            spec.name,
            size=arrays.input,
            temperature=head.final_head.temperature,
        ),
    )


def _with_history(run_dir: RunWriter, error: DivergedError) -> DivergedError:
    """Keep what shows how a training diverged, but nothing that could go on; returns the error."""
    shutil.rmtree(run_dir.file(layout.CHECKPOINTS), ignore_errors=True)
    run_dir.keep = run_dir.file(layout.HISTORY).exists()
    if not run_dir.keep:
        return error
    return DivergedError(f"{error}; the epochs before are in {run_dir.path / layout.HISTORY}")


def predictions_after(arrays: TrainingArrays) -> int:
    """How many predictions follow the training, in such as are made in batches of decoded images.

    The held-out images are predicted so. For the out-of-distribution detector up to `MAX_IMAGES` of
    each split are decoded and predicted one by one, which takes about twice as long.
    """
    held_out = len(arrays.indices["validation"]) + len(arrays.indices["test"])
    return held_out + sum(2 * min(MAX_IMAGES, len(indices)) for indices in arrays.indices.values())


def calibrate(
    network: FittedNetwork, arrays: TrainingArrays, *, root: bool = False
) -> tuple[FittedHead, dict[Split, Floats], dict[Split, Floats], BoxScores | None]:
    """Fit a temperature on the validation images, and predict the held-out images.

    Args:
        root: whether the network's last layer takes the square root of its features.

    Returns:
        the last layer as a head; probabilities float64[N,C] by split; boxes float32[N,4] by split,
        if the network has them; the scores of these boxes.
    """
    from sharpeye.models.classifier import head_of

    held_out: tuple[Split, ...] = ("validation", "test")
    outputs = {s: network.engine.predict(arrays.pixels, arrays.indices[s]) for s in held_out}
    logits = {split: output["logits"].astype(np.float64) for split, output in outputs.items()}
    temperature = fit_temperature(logits["validation"], arrays.targets["validation"])
    weights, bias = head_of(network.model)
    head = Head(
        weights=(weights / temperature).astype(np.float32),
        bias=(bias / temperature).astype(np.float32),
        temperature=temperature,
        l2=0.0,
        square_root=root,
    )
    probs: dict[Split, Floats] = {s: softmax(logits[s] / temperature) for s in held_out}
    boxes: dict[Split, Floats] = {s: outputs[s]["box"] for s in held_out if "box" in outputs[s]}
    fitted = FittedHead(head, head, None, network.history)
    return fitted, probs, boxes, score_boxes(outputs, arrays)


def onecycle_settings(config: Config, section: str, *, stage: str, **changes: Any) -> FitSettings:
    """AdamW in one cycle; `section` gives the epochs, the batch size and the learning rate."""
    knobs = getattr(config, section)
    return replace(
        FitSettings.from_config(config, knobs.learning_rate),
        learning_rate_key=f"{section}.learning_rate",
        stage=stage,
        epochs=knobs.epochs,
        batch_size=knobs.batch_size,
        optimizer="adamw",
        schedule="onecycle",
        **changes,
    )


def write_network(
    run_dir: RunWriter, network: FittedNetwork, name: str, *, size: InputSpec, temperature: float
) -> dict[str, Any]:
    """Write `model.keras`, and its features as the backbone under the head.

    Args:
        temperature: divides the logits.

    Returns the resulting attributes of a `TrainedModel`; raises as `write_onnx`.
    """
    from sharpeye.models.plain_network import to_plain_network

    file = run_dir.file(f"{TEMPORARY_PREFIX}features.onnx")
    backbone = write_features(network, name, size, file=file)
    with atomic_path(run_dir.file(layout.KERAS_MODEL)) as temporary:
        to_plain_network(network.model, temperature).save(temporary)
    checkpoints = run_dir.file(layout.CHECKPOINTS)
    if network.last_state:
        network.engine.restore(network.last_state)
        with atomic_path(run_dir.file(layout.LAST_KERAS_MODEL)) as temporary:
            to_plain_network(network.engine.inference_model, temperature).save(temporary)
    return {
        "backbone": backbone,
        "backbone_trained": True,
        "temporary_paths": (file, *([] if network.last_state else [checkpoints])),
    }


def write_features(network: FittedNetwork, name: str, size: InputSpec, *, file: Path) -> Backbone:
    """Write a network up to its features, and to its box if it has one; raises as `write_onnx`."""
    write_onnx(network.model, ("features", "box"), file, input_name="image")
    return Backbone(name, file, sha256_file(file), size)


def write_onnx(
    model: "keras.Model", outputs: Sequence[str], file: Path, *, input_name: str
) -> "keras.Model":
    """Write a network as ONNX, up to those of the outputs that it has; returns that network.

    Raises:
        EnvironmentFault: the disk is full.
        ModelError: a layer cannot be expressed in ONNX.
    """
    import keras
    import onnx

    from sharpeye.models.onnx_emitter import emit_onnx

    present = {name: model.output[name] for name in outputs if name in model.output}
    written = keras.Model(model.input, present, name=model.name)
    with atomic_path(file) as temporary:
        onnx.save(emit_onnx(written, input_name), temporary)
    return written
