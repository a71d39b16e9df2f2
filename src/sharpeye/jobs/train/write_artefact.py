"""Write a trained model into the run directory, verify the file, and evaluate it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.artefact.box_score_nodes import box_score_addition
from sharpeye.artefact.heat_nodes import add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.ood_nodes import ood_addition
from sharpeye.artefact.parity import verify_parity
from sharpeye.artefact.quantize import compare_accuracy, quantize_model
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.arrays import Floats
from sharpeye.core.config import Config
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.core.types import SPLITS, Split
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.box_head import boxes_in_images
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.ood import OodResult
from sharpeye.learn.nets.training_arrays import class_indices
from sharpeye.models.registry import get_spec
from sharpeye.report.evaluation import Evaluation
from sharpeye.runs import layout, provenance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenModel:
    """`model.onnx` of a run, opened.

    Attributes:
        probs: float64[N,C] by held-out split: the predictions that the file must give. An int8
            model has its own predictions.
        ood: the OOD result, with the scores of the file.
        quantization: the cost of int8, from `compare_accuracy`; None for a float model.
    """

    model: OpenModel
    probs: Mapping[Split, Floats]
    ood: OodResult
    quantization: Mapping[str, Any] | None = None


def write_artefact(context: TrainContext, trained: TrainedModel, ood: OodResult) -> WrittenModel:
    """Write `model.onnx`, with 8-bit weights under `model.int8`.

    Raises:
        EnvironmentFault: the disk is full.
        ModelError: the graph cannot be written, or the written file cannot be opened.
    """
    run_dir, int8 = context.run_dir, context.config.model.int8
    model_file = run_dir.file(layout.MODEL)
    file = run_dir.file(f"{TEMPORARY_PREFIX}float.onnx") if int8 else model_file
    scores = [box_score_addition(trained.box_scores.line)] if trained.box_scores else []
    write_model(
        trained.backbone,
        trained.head.final_head,
        _manifest(trained, context.config, ood),
        file=file,
        box_head=trained.box_head,
        additions=(*scores, ood_addition(ood.detector), add_heat),  # `heat` is the last output.
    )
    if not int8:
        return WrittenModel(open_model(model_file), trained.probs, ood)
    context.clock.lap("write")
    quantize_model(file, trained.in_split("train"), model_file)
    model = open_model(model_file)
    probs: dict[Split, Floats] = {s: _predict(model, trained, s) for s in ("validation", "test")}
    targets = class_indices(trained.in_split("test"), trained.samples.class_names)
    cost = compare_accuracy(
        trained.probs["test"], probs["test"], targets, float_file=file, int8_file=model_file
    )
    log.info(
        "int8: test accuracy %.1f%%, with floats %.1f%%: a drop of %.1f points; %.1f MB, not %.1f",
        cost["int8_accuracy"] * 100,
        cost["float_accuracy"] * 100,
        cost["drop"] * 100,
        cost["int8_bytes"] / 1e6,
        cost["float_bytes"] / 1e6,
    )
    ood = ood.rescored(model)
    context.clock.lap("int8")
    file.unlink()
    return WrittenModel(model, probs, ood, cost)


def _predict(model: OpenModel, trained: TrainedModel, split: Split) -> Floats:
    """float64[N,C]: probabilities of the images of a split."""
    outputs = parallel_map(
        lambda sample: model.run(load_sample(sample, model.manifest.input)[None]),
        trained.in_split(split),
    )
    return np.concatenate([output["probs"] for _, output in outputs]).astype(np.float64)


def verify_artefact(trained: TrainedModel, written: WrittenModel) -> dict[str, Any]:
    """Run test images through the file and compare its outputs with training's.

    Returns the parity results for `bundle.json`; raises ModelError if a difference exceeds its
    limit.
    """
    ood, boxes, scores = written.ood, trained.boxes.get("test"), trained.box_scores
    return verify_parity(
        written.model,
        ood.samples,
        written.probs["test"][ood.indices],
        boxes=None if boxes is None else boxes[ood.indices],
        box_scores=None if scores is None else scores.test[ood.indices],
        ood=(ood.detector, ood.features) if written.quantization is None else None,
    )


def evaluate_split(trained: TrainedModel, written: WrittenModel, split: Split) -> Evaluation:
    """The predictions of the written model for one held-out split, with the targets."""
    samples, boxes = trained.in_split(split), trained.boxes.get(split)
    return Evaluation(
        trained.samples.class_names,
        samples,
        written.probs[split],
        None if boxes is None else boxes_in_images(boxes, samples, trained.backbone),
        written.ood.metrics if split == "test" else None,
    )


def _manifest(trained: TrainedModel, config: Config, ood: OodResult) -> Manifest:
    backbone = trained.backbone
    counts = {split: len(trained.in_split(split)) for split in SPLITS}
    return Manifest(
        labels=trained.samples.class_names,
        input=backbone.input,
        task=config.task,
        model=backbone.name,
        calibration={"temperature": trained.head.final_head.temperature},
        weights_license=_weights_license(config),
        versions=provenance.versions(),
        created=provenance.now(),
        data={"pictures": counts, "seed": config.seed},
        unknown=ood.detector.to_dict(),
    )


def _weights_license(config: Config) -> str:
    """The licence of weights that others trained, or that there are none."""
    if config.train.initial_weights:
        return "that of the weights with which the training began"
    if config.from_scratch and config.distill.teacher:
        return "none (learned from these images and from the answers of another model)"
    if config.model.weights == "imagenet":
        pretrained = get_spec(config.model.name).imagenet
        return pretrained.license if pretrained else ""
    licenses = {
        "none": "none (all were learned from these images)",
        "random": "none (weights: random, for tests only)",
    }
    return licenses.get(config.model.weights, "that of the weights' file")
