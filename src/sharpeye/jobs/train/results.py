"""Writes what was found out about a model into its run directory: tables, images, the report."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sharpeye.artefact.manifest import Manifest
from sharpeye.core.config import Config
from sharpeye.core.types import SPLITS, InputSpec, SampleSet
from sharpeye.data.sample_image import read_image
from sharpeye.errors import ImageReadError
from sharpeye.images.resize import fit_image
from sharpeye.jobs.train.heat import Heat
from sharpeye.learn.nets.loop import validation_score
from sharpeye.report.comparison import COLUMNS, Comparison
from sharpeye.report.confusion_image import draw_confusion
from sharpeye.report.evaluation import Evaluation, ScoredPrediction
from sharpeye.report.report import ReportData, render_report
from sharpeye.runs import layout, provenance
from sharpeye.runs.events import EventWriter
from sharpeye.runs.rundir import RunDir, RunFolder

_TENSORBOARD_MISTAKES = 16


@dataclass(frozen=True)
class RunSummary:
    """What the report and the tables need besides the answers.

    Attributes:
        title: name of the data folder.
        history: a row a solver stage.
        notes: sentences that the reader should see first.
        seconds: by stage, so far.
        started: `time.perf_counter()` when the run began.
        parity: what `prove_parity` returned.
        quantization: what `ship_int8` measured; None for a float model.
        heats: where the model saw its worst mistakes, see `heat_of_mistakes`.
        changes: what became of the run that was added to; None if there is none.
    """

    title: str
    config: Config
    samples: SampleSet
    history: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    seconds: Mapping[str, float]
    started: float
    manifest: Manifest
    parity: Mapping[str, Any]
    quantization: Mapping[str, Any] | None = None
    heats: Mapping[str, Heat] = field(default_factory=dict)
    changes: Comparison | None = None


def write_evaluation(
    run_dir: RunDir, facts: RunSummary, validation: Evaluation, test: Evaluation
) -> dict[str, Any]:
    """Write every file that is about the scores.

    Returns:
        what `metrics.json` holds.
    """
    started = time.perf_counter()
    write_predictions(run_dir, test)
    draw_confusion(test.matrix, test.class_names, run_dir.file(layout.CONFUSION_IMAGE))
    _write_events(run_dir, facts, validation, test)
    seconds = dict(facts.seconds)
    seconds["report"] = time.perf_counter() - started
    seconds["total"] = time.perf_counter() - facts.started
    metrics: dict[str, Any] = {"validation": validation.metrics, "test": test.metrics}
    if facts.quantization:
        metrics["quantization"] = dict(facts.quantization)
    if facts.changes:
        metrics["changes"] = facts.changes.metrics
        run_dir.write_csv(layout.CHANGES, COLUMNS, facts.changes.rows)
    metrics["seconds"] = seconds
    data = ReportData(
        title=facts.title,
        facts=_facts(facts, seconds["total"]),
        test=test,
        metrics=metrics,
        counts=_counts(facts.samples),
        history=facts.history,
        rejected=facts.samples.rejected,
        ignored=facts.samples.ignored,
        notes=facts.notes,
        commands=_commands(run_dir),
        max_pictures=facts.config.report.max_pictures,
        heats=facts.heats,
        changes=facts.changes,
    )
    run_dir.write_text(layout.REPORT, render_report(data))
    seconds["report"] = time.perf_counter() - started
    seconds["total"] = time.perf_counter() - facts.started
    run_dir.write_json(layout.METRICS, metrics)
    return metrics


def write_predictions(run_dir: RunFolder, scored: Evaluation) -> None:
    """`predictions.csv` and `misclassified.csv`.

    Of a localizer they also hold both boxes as shares 0..1 of the upright image, and their IoU.
    """
    header: tuple[str, ...] = ("path", "label", "predicted", "score", "margin")
    localized = scored.boxes is not None
    if localized:
        edges = ("xmin", "ymin", "xmax", "ymax")
        header += (*(f"true_{edge}" for edge in edges), *edges, "iou")

    def rows(answers: Sequence[ScoredPrediction]) -> list[tuple[Any, ...]]:
        return [
            (a.path, a.label, a.predicted, a.score, a.margin, *(_boxes(a) if localized else ()))
            for a in answers
        ]

    run_dir.write_csv(layout.PREDICTIONS, header, rows(scored.predictions))
    run_dir.write_csv(layout.MISCLASSIFIED, header, rows(scored.mistakes))


def _boxes(answer: ScoredPrediction) -> list[Any]:
    """The cells of both boxes and of their overlap; empty where there is none."""
    unknown = (None,) * 4
    edges = [*(answer.sample.box or unknown), *(answer.box or unknown)]
    cells: list[Any] = [None if edge is None else f"{edge:.6f}" for edge in edges]
    return [*cells, None if answer.overlap is None else f"{answer.overlap:.6f}"]


def _counts(samples: SampleSet) -> dict[str, dict[str, int]]:
    table = {label: dict.fromkeys(SPLITS, 0) for label in samples.class_names}
    counts: dict[str, dict[str, int]] = {
        k: {str(p): n for p, n in v.items()} for k, v in table.items()
    }
    for sample in samples:
        counts[sample.label][str(sample.split)] += 1
    return counts


def _facts(facts: RunSummary, seconds: float) -> list[tuple[str, str]]:
    config, spec, int8 = facts.config, facts.manifest.input, facts.quantization
    growth = facts.changes.growth if facts.changes else None
    drop = f"accuracy drops by {int8['drop'] * 100:.1f} points" if int8 else ""
    return [
        ("Data", f"{len(facts.samples):,} pictures in {len(facts.samples.class_names)} classes"),
        *([("Added", f"{growth.folder}, to {growth.run}")] if growth else []),
        ("Model", f"{config.model.name}, {spec.width} x {spec.height} px, {spec.fit}"),
        ("Learned", _learned(facts)),
        ("Made", f"{facts.manifest.created.replace('T', ' ').replace('Z', ' UTC')}"),
        ("Took", f"{seconds:.1f} s on {provenance.machine()}"),
        ("Seed", str(config.seed)),
        (
            "Model file proven equal",
            f"{facts.parity['pictures']} pictures, largest difference "
            f"{facts.parity['max_difference']:.1g}",
        ),
        *([("Weights", f"int8, {int8['int8_bytes'] / 1e6:.1f} MB; {drop}")] if int8 else []),
        ("Temperature", f"{facts.manifest.calibration['temperature']:.2f}"),
        ("SharpEye", facts.manifest.versions["sharpeye"]),
    ]


def _learned(facts: RunSummary) -> str:
    """What was learned from the images, and what was there before."""
    epochs = [row for row in facts.history if "epoch" in row]
    if facts.config.model.weights == "none":
        best = min(epochs, key=validation_score)
        return f"the whole network, from scratch; epoch {best['epoch']} of {len(epochs)} is kept"
    tuned = sum(row["stage"] == "fine-tune" for row in epochs)
    tried = f"; {tuned} epochs of fine-tuning tried" if tuned else ""
    boxes = " and a head that finds boxes" if facts.config.task == "localize" else ""
    return f"the last layer{boxes}, on a pretrained network{tried}"


def _commands(run_dir: RunDir) -> list[tuple[str, str]]:
    run = str(run_dir.path)
    return [
        ("Ask it about a picture or a folder", f"sharpeye predict {run} PICTURE"),
        ("Test it on other labelled pictures", f"sharpeye evaluate {run} FOLDER"),
        ("See the curves", f"tensorboard --logdir {run_dir.file(layout.TENSORBOARD)}"),
        (
            "Train again with the same settings",
            f"sharpeye train --config {run_dir.file(layout.CONFIG)}",
        ),
    ]


def _write_events(
    run_dir: RunDir, facts: RunSummary, validation: Evaluation, test: Evaluation
) -> None:
    with EventWriter(run_dir.file(layout.TENSORBOARD)) as events:
        count: Counter[str] = Counter()
        for row in facts.history:
            if "epoch" in row:  # was written when the epoch was over
                continue
            stage = str(row["stage"])
            for name, value in row.items():
                if name not in ("stage", "step") and value is not None:
                    events.scalar(f"{stage}/{name}", float(value), row.get("step", count[stage]))
            count[stage] += 1
        for part, scored in (("validation", validation), ("test", test)):
            names = ("accuracy", "log_loss", "ece", "mean_iou", "accuracy_at_iou50")
            for name in (name for name in names if name in scored.metrics):
                events.scalar(f"{part}/{name}", float(scored.metrics[name]), 0)
        events.image("confusion_matrix", _confusion_pixels(run_dir), 0)
        spec = InputSpec(160, 160)
        for i, answer in enumerate(test.mistakes[:_TENSORBOARD_MISTAKES]):
            try:
                pixels = fit_image(read_image(answer.sample, (160, 160)), spec)
            except ImageReadError:
                continue
            tag = f"misclassified/{i:02d} {answer.label} taken for {answer.predicted}"
            events.image(tag, pixels, 0, f"{answer.path}, score {answer.score:.2f}")
        events.text("config", f"```toml\n{facts.config.to_toml()}```", 0)


def _confusion_pixels(run_dir: RunDir) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    from PIL import Image

    with Image.open(run_dir.file(layout.CONFUSION_IMAGE)) as image:
        return np.asarray(image.convert("RGB"))
