"""Write a run's evaluation: tables, event files, the report, and the lines of the command line."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.core.arrays import Floats
from sharpeye.core.config_paths import locate
from sharpeye.core.formatting import plain_percent
from sharpeye.core.paths import command_line
from sharpeye.core.types import InputSpec
from sharpeye.data.sample_image import read_image
from sharpeye.data.summary import counts_by_split
from sharpeye.errors import ImageReadError
from sharpeye.images.resize import fit_image
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.write_artefact import WrittenModel
from sharpeye.learn.nets.loop import monitored_loss
from sharpeye.report.comparison import COLUMNS, Comparison
from sharpeye.report.comparison_wording import summary_lines
from sharpeye.report.confusion_image import draw_confusion
from sharpeye.report.evaluation import Evaluation, ScoredPrediction
from sharpeye.report.run_page import ReportData, render_report
from sharpeye.report.wording import box_line
from sharpeye.runs import layout, provenance
from sharpeye.runs.events import EventWriter
from sharpeye.runs.run_directory import ResultWriter, Run, RunWriter

RANDOM_WEIGHTS = "random, for tests only"

_TENSORBOARD_MISTAKES = 16


@dataclass(frozen=True)
class RunSummary:
    """The data of a run for its report and tables.

    Attributes:
        title: the name of the data folder.
        notes: sentences to show first.
        parity: from `verify_artefact`; empty if it failed.
        comparison: comparison with the extended run; None if there is none.
    """

    title: str
    trained: TrainedModel
    written: WrittenModel
    validation: Evaluation
    test: Evaluation
    notes: Sequence[str]
    parity: Mapping[str, Any]
    heat_maps: Mapping[str, Floats] = field(default_factory=dict)
    comparison: Comparison | None = None


def write_results(context: TrainContext, summary: RunSummary) -> dict[str, Any]:
    """Write every file about the scores; returns the content of `metrics.json`."""
    run_dir, clock, test = context.run_dir, context.clock, summary.test
    write_predictions(run_dir, test)
    _write_events(context, summary)
    clock.lap("report")
    metrics: dict[str, Any] = {"validation": summary.validation.metrics, "test": test.metrics}
    if summary.written.quantization:
        metrics["quantization"] = dict(summary.written.quantization)
    if summary.comparison:
        metrics["changes"] = summary.comparison.metrics
        run_dir.write_csv(layout.CHANGES, COLUMNS, summary.comparison.rows)
    metrics["seconds"] = clock.seconds | {"total": clock.total}
    samples = summary.trained.samples
    counts = counts_by_split(samples).items()
    data = ReportData(
        title=summary.title,
        summary=_run_details(context, summary),
        test=test,
        metrics=metrics,
        counts={name: {str(s): n for s, n in row.items()} for name, row in counts},
        history=summary.trained.head.history,
        rejected=samples.rejected,
        ignored=samples.ignored,
        notes=summary.notes,
        commands=_commands(run_dir),
        max_pictures=context.config.report.max_pictures,
        heat_maps=summary.heat_maps,
        changes=summary.comparison,
    )
    run_dir.write_text(layout.REPORT, render_report(data))
    clock.lap("report")
    metrics["seconds"] = clock.seconds | {"total": clock.total}
    run_dir.write_json(layout.METRICS, metrics)
    return metrics


def write_predictions(run_dir: ResultWriter, evaluation: Evaluation) -> None:
    """Write `predictions.csv`, `misclassified.csv` and the confusion matrix as an image.

    The tables of a localizer also hold both boxes as shares 0..1 of the upright image, and the IoU;
    those of images that a run may have been trained on, what they were in that run (`part`).
    """
    columns: tuple[str, ...] = ("path", "label", "predicted", "score", "margin")
    localizes = evaluation.boxes is not None
    if localizes:
        edges = ("xmin", "ymin", "xmax", "ymax")
        columns += (*(f"true_{edge}" for edge in edges), *edges, "iou")
    columns += () if evaluation.exposures is None else ("part",)
    evaluations = [evaluation, *([evaluation.overlap] if evaluation.overlap else [])]
    for name, predictions in (
        (layout.PREDICTIONS, [p for e in evaluations for p in e.predictions]),
        (layout.MISCLASSIFIED, [p for e in evaluations for p in e.mistakes]),
    ):
        run_dir.write_csv(name, columns, (_cells(p, localizes=localizes) for p in predictions))
    image = run_dir.file(layout.CONFUSION_IMAGE)
    draw_confusion(evaluation.reported.matrix, evaluation.class_names, image)


def _cells(prediction: ScoredPrediction, *, localizes: bool) -> list[Any]:
    p, missing = prediction, (None,) * 4
    cells: list[Any] = [p.path, p.label, p.predicted, p.score, p.margin]
    if localizes:
        boxes = (*(p.sample.box or missing), *(p.box or missing), p.iou)
        cells += [None if value is None else f"{value:.6f}" for value in boxes]
    return cells if p.exposure is None else [*cells, p.exposure]


def _run_details(context: TrainContext, summary: RunSummary) -> list[tuple[str, str]]:
    config, samples, int8 = context.config, summary.trained.samples, summary.written.quantization
    manifest = summary.written.model.manifest
    spec, parity = manifest.input, summary.parity
    extension = summary.comparison.extension if summary.comparison else None
    drop = f"accuracy drops by {int8['drop'] * 100:.1f} points" if int8 else ""
    return [
        ("Data", f"{len(samples):,} images in {len(samples.class_names)} classes"),
        *([("Added", f"{extension.folder}, to {extension.run}")] if extension else []),
        ("Model", f"{manifest.model}, {spec.width} x {spec.height} px, {spec.fit}"),
        ("Learned", _trained_parts(context, summary.trained)),
        ("Made", f"{manifest.created.replace('T', ' ').replace('Z', ' UTC')}"),
        ("Took", f"{context.clock.total:.1f} s on {provenance.machine()}"),
        ("Seed", str(config.seed)),
        ("Model file proven equal", _proof(parity)),
        *([("Weights", RANDOM_WEIGHTS)] if config.model.weights == "random" else []),
        *([("Weights", f"int8, {int8['int8_bytes'] / 1e6:.1f} MB; {drop}")] if int8 else []),
        ("Temperature", f"{manifest.calibration['temperature']:.2f}"),
        ("SharpEye", manifest.versions["sharpeye"]),
    ]


def _proof(parity: Mapping[str, Any]) -> str:
    if not parity:
        return "no: see above"
    return f"{parity['pictures']} images, largest difference {parity['max_difference']:.1g}"


def _trained_parts(context: TrainContext, trained: TrainedModel) -> str:
    config, epochs = context.config, [row for row in trained.head.history if "epoch" in row]
    if config.from_scratch:
        best = min(epochs, key=monitored_loss)
        return f"the whole network, from scratch; epoch {best['epoch']} of {len(epochs)} is kept"
    if config.model.weights == "random":
        return "the last layer, on a network of random weights"
    tuned = sum(row["stage"] == "fine-tune" for row in epochs)
    tried = f"; {tuned} epochs of fine-tuning tried" if tuned else ""
    boxes = " and a head that finds boxes" if config.task == "localize" else ""
    return f"the last layer{boxes}, on a pretrained network{tried}"


def _commands(run_dir: RunWriter) -> list[tuple[str, str]]:
    run = run_dir.final_path
    uses = [
        ("Ask it about an image or a folder", command_line("sharpeye", "predict", run, "PICTURE")),
        ("Test it on other labelled images", command_line("sharpeye", "evaluate", run, "FOLDER")),
    ]
    return [
        *([] if run_dir.unproven else uses),
        ("See the curves", command_line("tensorboard", "--logdir", run / layout.TENSORBOARD)),
        (
            "Train again with the same settings",
            command_line("sharpeye", "train", "--config", run / layout.CONFIG),
        ),
    ]


def _write_events(context: TrainContext, summary: RunSummary) -> None:
    run_dir, test = context.run_dir, summary.test
    with EventWriter(run_dir.file(layout.TENSORBOARD)) as events:
        _write_solver_stages(events, summary.trained.head.history)
        for split, evaluation in (("validation", summary.validation), ("test", test)):
            names = ("accuracy", "log_loss", "ece", "mean_iou", "accuracy_at_iou50")
            for name in (name for name in names if name in evaluation.metrics):
                events.scalar(f"{split}/{name}", float(evaluation.metrics[name]), 0)
        with Image.open(run_dir.file(layout.CONFUSION_IMAGE)) as image:
            events.image("confusion_matrix", np.asarray(image.convert("RGB")), 0)
        spec = InputSpec(160, 160)
        for number, prediction in enumerate(test.mistakes[:_TENSORBOARD_MISTAKES]):
            try:
                pixels = fit_image(read_image(prediction.sample, (160, 160)), spec)
            except ImageReadError:
                continue
            tag = f"misclassified/{number:02d} {prediction.label} taken for {prediction.predicted}"
            text = f"{prediction.path}, score {prediction.score:.2f}"
            events.image(tag, pixels, 0, description=text)
        events.text("config", f"```toml\n{context.config.to_toml()}```", 0)


def _write_solver_stages(events: EventWriter, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the stages of a solver; epochs have already been written."""
    count: Counter[str] = Counter()
    for row in history:
        if "epoch" in row:
            continue
        stage = str(row["stage"])
        for name, value in row.items():
            if name not in ("stage", "step") and value is not None:
                events.scalar(f"{stage}/{name}", float(value), row.get("step", count[stage]))
        count[stage] += 1


def summary(run: Run) -> Mapping[str, str]:
    """The command line's summary of a finished run, by heading."""
    test = run.metrics["test"]
    low, high = (plain_percent(end) for end in test["accuracy_ci95"])
    right = round(test["accuracy"] * test["count"])
    return {
        "accuracy": f"{plain_percent(test['accuracy'])} of {test['count']} test images "
        f"({right} right), 95 % interval {low} to {high}",
        **({"weights": RANDOM_WEIGHTS} if run.config.model.weights == "random" else {}),
        **({"boxes": box_line(test)} if "mean_iou" in test else {}),
        **(summary_lines(run.metrics["changes"]) if "changes" in run.metrics else {}),
        "report": str(run.path / layout.REPORT),
        "next": _next_command(run),
    }


def _next_command(run: Run) -> str:
    """A command to predict a test image, or to evaluate all images of array files."""
    program = "sharpeye"
    if Path(sys.argv[0]).name == program and not shutil.which(program):
        program = os.path.relpath(sys.argv[0])
    folder = locate(run.config, run.config.data.folder)
    test_paths = [row["path"] for row in run.table(layout.PREDICTIONS)]
    image = folder / next((path for path in test_paths if ".." not in path), test_paths[0])
    if image.is_file():
        return command_line(program, "predict", run.path, image)
    return command_line(program, "evaluate", run.path, folder)
