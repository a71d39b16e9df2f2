"""Score a model on a folder of labelled images."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.parallel import parallel_map
from sharpeye.core.paths import user_path
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import make_folder
from sharpeye.core.types import Box, Rejected, Sample, SampleSet
from sharpeye.data.file_walk import walk_files
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.sample_image import read_image
from sharpeye.data.summary import dataset_name
from sharpeye.errors import DataError, ImageReadError
from sharpeye.images.boxes import from_input
from sharpeye.images.resize import fit_image
from sharpeye.jobs.train.mistake_heat_maps import mistake_heat_maps
from sharpeye.jobs.train.results import write_predictions
from sharpeye.predict.predictor import Model, load
from sharpeye.report.evaluation import Evaluation, OodMetrics
from sharpeye.report.run_page import ReportData, render_report
from sharpeye.runs import layout
from sharpeye.runs.run_directory import ResultWriter

log = logging.getLogger(__name__)

_NO_BOXES = (
    "The images have no boxes (Pascal VOC files), so only the classes are scored, "
    "not where the model saw them."
)


class _Prediction(NamedTuple):
    """For one image: float32[C]; shares 0..1 of the upright image; 0..1."""

    probs: Floats
    box: Box | None
    unknown_score: float | None


def evaluate(
    model: str | Path | Model, data: str | Path, *, progress: StageProgress | None = None
) -> tuple[Evaluation, SampleSet, float]:
    """Score a model on a folder with one sub-folder of images per class, or of array files.

    A localizer's boxes are scored too if the folder has Pascal VOC files. If the folder has splits
    (`train/ test/`), the test split is used.

    Args:
        model: a run directory, a bundle, an `.onnx` file of SharpEye, or the result of
            `sharpeye.load`.
        data: the folder. Its classes must be among the model's.
        progress: called with (stage, done, total).

    Returns:
        the evaluation, the images with the rejected ones, and the seconds.

    Raises:
        DataError: no readable image, or a class that the model lacks.
    """
    started = time.perf_counter()
    opened = model if isinstance(model, Model) else load(model)
    dataset = _test_split(_scan(user_path(data), opened))
    unknown = sorted({sample.label for sample in dataset} - set(opened.labels))
    if unknown:
        raise DataError(
            f"the model does not know {', '.join(unknown[:10])}; "
            f"it knows {', '.join(opened.labels[:20])}"
        )
    samples, predictions, rejected = [], [], list(dataset.rejected)
    results = parallel_map(lambda sample: _predict(opened, sample), dataset)
    for done, (sample, result) in enumerate(results, start=1):
        if isinstance(result, Rejected):
            rejected.append(result)
        else:
            samples.append(replace(sample, bit_depth=opened.input.bit_depth))
            predictions.append(result)
        if progress:
            progress("pictures", done, len(dataset))
    if not samples:
        raise DataError(f"no image in {data} can be read; the first: {rejected[0].reason}")
    dataset = replace(dataset, samples=tuple(samples), rejected=tuple(rejected))
    evaluation = _score(opened, dataset, predictions)
    if _lacks_boxes(evaluation):
        log.info(_NO_BOXES)
    return evaluation, dataset, time.perf_counter() - started


def _scan(data: Path, model: Model) -> SampleSet:
    try:
        if model.localizes and data.is_dir():
            files = [path for _, path in walk_files(data)[0]]
            if any(path.suffix.casefold() == ".xml" for path in files):
                return _scan_boxes(data, model)
        return scan_folder(data, min_classes=1)
    except DataError as error:
        raise DataError(f"{error} (the model knows {', '.join(model.labels[:20])})") from None


def _scan_boxes(data: Path, model: Model) -> SampleSet:
    """Scan with the classes of the annotations; if none is known, of the folders or file names."""
    dataset = scan_voc(data, min_classes=1)
    if set(dataset.class_names) & set(model.labels):
        return dataset
    for label_from in ("folder", "prefix"):
        renamed = scan_voc(data, label_from=label_from, min_classes=0)
        if renamed.class_names and set(renamed.class_names) <= set(model.labels):
            log.info("the model knows no class of the annotations: taken from the %s", label_from)
            return renamed
    return dataset


def _test_split(dataset: SampleSet) -> SampleSet:
    tested = tuple(sample for sample in dataset if sample.split == "test")
    if not dataset.given_splits or not tested:
        return dataset
    log.info("the folder is split already: its test split is scored")
    return replace(dataset, samples=tested)


def _predict(model: Model, sample: Sample) -> _Prediction | Rejected:
    try:
        image = read_image(sample, bit_depth=model.input.bit_depth)
    except ImageReadError as error:
        return Rejected(sample.path, error.reason)
    outputs = model.run(fit_image(image, model.input)[None])
    box = None if outputs.boxes is None else outputs.boxes[0]
    return _Prediction(
        outputs.probs[0],
        None if box is None else from_input(box, image.size, model.input),
        None if outputs.unknown_scores is None else float(outputs.unknown_scores[0]),
    )


def _score(model: Model, dataset: SampleSet, predictions: list[_Prediction]) -> Evaluation:
    probs = np.stack([p.probs for p in predictions]).astype(np.float64)
    boxes = np.array([p.box for p in predictions], np.float64) if model.localizes else None
    unknown_scores = [p.unknown_score for p in predictions if p.unknown_score is not None]
    ood = None
    if unknown_scores:
        calibrated_on = int(model.manifest.unknown.get("calibrated_on", 0))
        ood = OodMetrics(np.array(unknown_scores), model.coverage, calibrated_on)
    return Evaluation(model.labels, dataset.samples, probs, boxes, ood)


def _lacks_boxes(evaluation: Evaluation) -> bool:
    """Whether the model predicts boxes that cannot be scored."""
    return evaluation.boxes is not None and evaluation.ious is None


def write_evaluation(
    output: Path, model: str | Path, evaluation: Evaluation, *, dataset: SampleSet, seconds: float
) -> None:
    """Write `metrics.json`, the tables, the confusion matrix and a report into a folder.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    folder = ResultWriter(make_folder(output))
    folder.write_quarantine(dataset.rejected)
    write_predictions(folder, evaluation)
    metrics = {"test": evaluation.metrics, "seconds": {"total": seconds}}
    folder.write_json(layout.METRICS, metrics)
    counts = dataset.count_by_class()
    data = ReportData(
        title=dataset_name(dataset.root),
        summary=[("Data", f"{len(dataset):,} images"), ("Model", str(model))],
        test=evaluation,
        metrics=metrics,
        counts={name: {"test": counts.get(name, 0)} for name in evaluation.class_names},
        rejected=dataset.rejected,
        ignored=dataset.ignored,
        notes=[_NO_BOXES] if _lacks_boxes(evaluation) else [],
        commands=[("Ask it about an image or a folder", f"sharpeye predict {model} PICTURE")],
        heat_maps=mistake_heat_maps(load(model), evaluation),
    )
    folder.write_text(layout.REPORT, render_report(data))
