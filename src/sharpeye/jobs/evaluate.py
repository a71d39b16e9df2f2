"""A model against a folder of labelled images."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import make_folder
from sharpeye.core.types import Rejected, Sample, SampleSet
from sharpeye.data.file_walk import walk_files
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.sample_image import read_image
from sharpeye.errors import DataError, ImageReadError, UsageError
from sharpeye.images.boxes import from_input
from sharpeye.images.resize import fit_image
from sharpeye.jobs.train.mistake_heat_maps import mistake_heat_maps
from sharpeye.jobs.train.results import write_predictions
from sharpeye.predict.predictor import Model, load
from sharpeye.report.confusion_image import draw_confusion
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.ood_metrics import OodMetrics
from sharpeye.report.run_page import ReportData, render_report
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunFolder

log = logging.getLogger(__name__)

_NO_BOXES = (
    "The pictures have no boxes (Pascal VOC files), so only the classes are scored, "
    "not where the model saw them."
)


def evaluate(
    model: str | Path | Model, data: str | Path, *, progress: Any = None
) -> tuple[Evaluation, SampleSet, float]:
    """Score a model on a folder with one sub-folder of images a class, or of array files.

    A localizer's boxes are scored too if the folder has Pascal VOC files. Where the folder has
    `train/ test/` parts, its test part is taken.

    Args:
        model: a run directory, a bundle, an `.onnx` file of ours, or what `sharpeye.load` returned.
        data: the folder. Its classes must be among the model's.
        progress: called with (stage, done, total).

    Returns:
        the scored answers, the images with what was left out, and the seconds it took.

    Raises:
        UsageError, ModelError: the model cannot be opened.
        DataError: no readable image, or a class that the model does not know.
    """
    started = time.perf_counter()
    opened = model if isinstance(model, Model) else load(model)
    samples = _tested(_scan(Path(data), opened))
    unknown = sorted({s.label for s in samples} - set(opened.labels))
    if unknown:
        raise DataError(
            f"the model does not know {', '.join(unknown[:10])}; "
            f"it knows {', '.join(opened.labels[:20])}"
        )

    def work(sample: Sample) -> Any:
        try:
            image = read_image(sample)
        except ImageReadError as error:
            return Rejected(sample.path, error.reason)
        found = opened.answers(fit_image(image, opened.input)[None])
        strange = None if found.unknown is None else float(found.unknown[0])
        if found.boxes is None:
            return found.probs[0], None, strange
        return found.probs[0], from_input(found.boxes[0], image.size, opened.input), strange

    kept, answers, rejected = [], [], list(samples.rejected)
    for done, (sample, result) in enumerate(parallel_map(work, samples), start=1):
        if isinstance(result, Rejected):
            rejected.append(result)
        else:
            kept.append(sample)
            answers.append(result)
        if progress:
            progress("pictures", done, len(samples))
    if not kept:
        raise DataError(f"no picture in {data} can be read; the first: {rejected[0].reason}")
    probs = np.stack([one for one, _, _ in answers]).astype(np.float64)
    boxes = np.array([box for _, box, _ in answers], np.float64) if opened.localizes else None
    strange = [score for _, _, score in answers if score is not None]
    calibrated_on = int(opened.manifest.unknown.get("calibrated_on", 0))
    strangers = OodMetrics(np.array(strange), opened.coverage, calibrated_on) if strange else None
    scored = Evaluation(opened.labels, tuple(kept), probs, boxes, strangers)
    if scored.boxes is not None and scored.overlaps is None:
        log.info(_NO_BOXES)
    samples = replace(samples, samples=tuple(kept), rejected=tuple(rejected))
    return scored, samples, time.perf_counter() - started


def _scan(data: Path, model: Model) -> SampleSet:
    try:
        if model.localizes and data.is_dir() and _is_annotated(data):
            return _scan_boxes(data, model)
        return scan_folder(data, least_classes=1)
    except UsageError:
        raise
    except DataError as error:
        raise DataError(f"{error} (the model knows {', '.join(model.labels[:20])})") from None


def _is_annotated(data: Path) -> bool:
    return any(path.suffix.casefold() == ".xml" for _, path in walk_files(data)[0])


def _scan_boxes(data: Path, model: Model) -> SampleSet:
    """With the classes that the annotations name, or, if the model knows none of these, with those
    of the folders or of the files' names.
    """
    named = scan_voc(data, least_classes=1)
    if set(named.class_names) & set(model.labels):
        return named
    for label_from in ("folder", "prefix"):
        found = scan_voc(data, label_from=label_from, least_classes=0)
        if found.class_names and set(found.class_names) <= set(model.labels):
            log.info("the model knows no class of the annotations: taken from the %s", label_from)
            return found
    return named


def _tested(samples: SampleSet) -> SampleSet:
    if not samples.given_splits or not any(s.split == "test" for s in samples):
        return samples
    log.info("the folder has parts of its own: its test part is scored")
    return replace(samples, samples=tuple(s for s in samples if s.split == "test"))


def write_results(
    output: Path, model: str | Path, scored: Evaluation, samples: SampleSet, seconds: float
) -> None:
    """Write `metrics.json`, the tables, the confusion matrix and a report into a folder.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    folder = RunFolder(make_folder(output))
    folder.write_quarantine(samples.rejected)
    write_predictions(folder, scored)
    draw_confusion(scored.matrix, scored.class_names, folder.file(layout.CONFUSION_IMAGE))
    metrics = {"test": scored.metrics, "seconds": {"total": seconds}}
    folder.write_json(layout.METRICS, metrics)
    counts = samples.count_by_class()
    data = ReportData(
        title=samples.root.resolve().name or "pictures",
        facts=[("Data", f"{len(samples):,} pictures"), ("Model", str(model))],
        test=scored,
        metrics=metrics,
        counts={label: {"test": counts.get(label, 0)} for label in scored.class_names},
        rejected=samples.rejected,
        ignored=samples.ignored,
        notes=[_NO_BOXES] if scored.boxes is not None and scored.overlaps is None else [],
        commands=[("Ask it about a picture or a folder", f"sharpeye predict {model} PICTURE")],
        heats=mistake_heat_maps(load(model), scored),
    )
    folder.write_text(layout.REPORT, render_report(data))
