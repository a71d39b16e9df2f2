"""Write a trained model into the run directory, and verify the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.artefact.heat_nodes import add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.ood_nodes import ood_addition
from sharpeye.artefact.parity import verify_ood_parity, verify_parity
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.arrays import Floats
from sharpeye.core.config import Config
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.core.types import SPLITS, Split
from sharpeye.jobs.train.box_head import boxes_in_images
from sharpeye.jobs.train.context import TrainContext
from sharpeye.jobs.train.ood import OodResult
from sharpeye.jobs.train.quantized_model import quantize_and_compare
from sharpeye.jobs.train.trained_model import TrainedModel
from sharpeye.models.registry import get_spec
from sharpeye.report.evaluation import Evaluation
from sharpeye.runs import layout, provenance


@dataclass(frozen=True)
class WrittenModel:
    """`model.onnx` of a run.

    Attributes:
        model: the file, opened.
        probs: float64[N,C] by held-out split: the predictions that the file must give. An int8
            model has predictions of its own.
        ood: with the scores that the file gives.
        quantization: what int8 costs, from `compare_accuracy`; None of a float model.
    """

    model: OpenModel
    probs: Mapping[Split, Floats]
    ood: OodResult
    quantization: Mapping[str, Any] | None = None


def write_artefact(context: TrainContext, trained: TrainedModel, ood: OodResult) -> WrittenModel:
    """Write `model.onnx`, with 8-bit weights under `model.int8`.

    Raises:
        EnvironmentFault: the disk is full.
        ModelError: the graph cannot be written, or a written file does not open.
    """
    config, run_dir = context.config, context.run_dir
    manifest = _manifest(trained, config, ood)
    model_file = run_dir.file(layout.MODEL)
    if not config.model.int8:
        _write(trained, manifest, ood, file=model_file)
        return WrittenModel(open_model(model_file), trained.probs, ood)
    float_file = run_dir.file(f"{TEMPORARY_PREFIX}float.onnx")
    _write(trained, manifest, ood, file=float_file)
    context.clock.lap("write")
    probs, quantization = quantize_and_compare(float_file, model_file, trained)
    model = open_model(model_file)
    ood = ood.rescored(model)
    context.clock.lap("int8")
    float_file.unlink()
    return WrittenModel(model, probs, ood, quantization)


def _write(trained: TrainedModel, manifest: Manifest, ood: OodResult, *, file: Path) -> None:
    """Write the graph with its additions; the output `heat` comes last."""
    additions = (ood_addition(ood.detector), add_heat)
    head = trained.head.final_head
    write_model(
        trained.backbone, head, manifest, file=file, box_head=trained.box_head, additions=additions
    )


def verify_artefact(trained: TrainedModel, written: WrittenModel) -> dict[str, Any]:
    """Run test images through the file and compare its outputs with training's.

    Returns:
        the proof for `bundle.json`, see `artefact.parity`.

    Raises:
        ModelError: a difference is beyond its limit.
    """
    samples, probs = trained.in_split("test"), written.probs["test"]
    parity = verify_parity(written.model, samples, probs, boxes=trained.boxes.get("test"))
    if written.quantization is None:
        ood = written.ood
        parity["max_unknown_difference"] = verify_ood_parity(
            written.model, ood.samples, ood.features, detector=ood.detector
        )
    return parity


def evaluate_split(trained: TrainedModel, written: WrittenModel, split: Split) -> Evaluation:
    """The predictions of the written model for one held-out split, beside the targets."""
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
    pretrained = get_spec(backbone.name).imagenet
    licenses = {
        "imagenet": pretrained.license if pretrained else "",
        "none": "none: all were learned from these pictures",
        "random": "none",
    }
    counts = {split: len(trained.in_split(split)) for split in SPLITS}
    return Manifest(
        labels=trained.samples.class_names,
        input=backbone.input,
        task=config.task,
        model=backbone.name,
        calibration={"temperature": trained.head.final_head.temperature},
        weights_license=licenses.get(config.model.weights, "that of the weights' file"),
        versions=provenance.versions(),
        created=provenance.now(),
        data={"pictures": counts, "seed": config.seed},
        unknown=ood.detector.to_dict(),
    )
