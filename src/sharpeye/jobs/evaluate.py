"""Score a model on a folder of labelled images, and tell unseen images from training images."""

import logging
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.config import Config
from sharpeye.core.config_paths import locate
from sharpeye.core.inference import available_cores
from sharpeye.core.numerics import finite_or_null
from sharpeye.core.parallel import parallel_map
from sharpeye.core.paths import shell_quote, user_path
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.storage import make_folder
from sharpeye.core.types import Box, Rejected, Sample, SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.sample_image import read_image
from sharpeye.data.summary import dataset_name
from sharpeye.data.training_overlap import Rows, find_training_overlap
from sharpeye.errors import DataError, ImageReadError
from sharpeye.images.boxes import from_input
from sharpeye.images.resize import fit_image
from sharpeye.jobs.evaluation_output import require_evaluation_output
from sharpeye.jobs.labelled_images import read_labelled_images
from sharpeye.jobs.train.mistake_heat_maps import mistake_heat_maps
from sharpeye.jobs.train.results import write_predictions
from sharpeye.predict.predictor import Model, load
from sharpeye.report.evaluation import Evaluation, OodMetrics
from sharpeye.report.exposure_wording import NOT_KNOWN, accuracy_line, exposure_rows
from sharpeye.report.run_page import ReportData, render_report
from sharpeye.runs import layout
from sharpeye.runs.lineage import training_rows
from sharpeye.runs.run_directory import ResultWriter, Run

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
    model: str | Path | Model,
    data: str | Path,
    *,
    label_from: str | None = None,
    progress: StageProgress | None = None,
) -> tuple[Evaluation, SampleSet, float]:
    """Score a model on labelled images that it was not trained on.

    The run directory of the model tells by digest which images it was trained on; near-duplicates
    of them count as such. Labels are read as training read them: from folders, file names or
    Pascal VOC files, which also have the boxes that a localizer is scored on. If the folder has
    splits (`train/ test/`), the test split is used.

    Args:
        model: a run directory, a bundle, an `.onnx` file of SharpEye, or the result of
            `sharpeye.load`. Without a run directory, no image is known to be trained on.
        data: the folder. Its classes must be among the model's.
        label_from: `folder`, `prefix` or `xml`: where the class of an image is read.
        progress: called with (stage, done, total).

    Returns:
        the evaluation of the unseen images, all images with the rejected ones, and the seconds.
        `Evaluation.overlap` is the evaluation of the images that the model was trained on, and
        `Evaluation.exposures` tells what each image was in the run: `new`, `test`, or of the
        others `train`, `validation`, `near_copy`. Both are None without a run directory. Without
        an unseen image, `metrics["count"]` is 0 and the accuracy is NaN.

    Raises:
        DataError: no readable image, a class that the model lacks, or a damaged run directory.
        UsageError: `label_from` is none of these.
    """
    started = time.perf_counter()
    opened = model if isinstance(model, Model) else load(model)
    run = _run_of(opened)
    config = None if run is None else _config_of(run)
    rows = [*run.table(layout.SPLIT), *training_rows(run.path)] if run else []
    dataset = read_labelled_images(user_path(data), opened, config, label_from=label_from)
    dataset = add_digests(dataset, available_cores()) if run else dataset
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
    if run:
        evaluation = _divide(evaluation, dataset, run, rows=rows, progress=progress)
    if evaluation.exposures is None:
        log.info(NOT_KNOWN.format(model=opened.path))
    return evaluation, dataset, time.perf_counter() - started


def _run_of(model: Model) -> Run | None:
    """The run directory that a model is in; None if it is elsewhere, or of another run.

    A folder without `split.csv` is taken for none, as it has nothing to tell images by.
    """
    folder = model.path if model.path.is_dir() else model.path.parent
    if not ((folder / layout.BUNDLE).is_file() and (folder / layout.SPLIT).exists()):
        return None
    is_same = model.path == folder or load(folder).manifest.created == model.manifest.created
    return Run(folder) if is_same else None


def _config_of(run: Run) -> Config | None:
    """The configuration of a run; None without `config.toml`, as only the digests are needed."""
    return run.config if (run.path / layout.CONFIG).is_file() else None


def _divide(
    evaluation: Evaluation,
    dataset: SampleSet,
    run: Run,
    *,
    rows: Rows,
    progress: StageProgress | None,
) -> Evaluation:
    """Divide the images into unseen ones and those that the run was trained on.

    Args:
        rows: those of the run's `split.csv`, and of `training_rows`.
    """
    config = _config_of(run)
    root = None if config is None else locate(config, config.data.folder)
    overlap = find_training_overlap(rows, dataset, root, progress=of_stage(progress, "near copies"))
    if overlap.compared < overlap.training_images:
        missing = f"neither in the cache nor in {root}"
        if root is None:
            missing = f"not in the cache, and {run.path} has no {layout.CONFIG} with their folder"
        log.info(
            "copies with small changes could be looked for of %d of the %d images that the model "
            "was trained on: the others are %s",
            overlap.compared,
            overlap.training_images,
            missing,
        )
    return evaluation.divided(overlap.exposures)


def run_test_metrics(model: str | Path | Model) -> dict[str, Any] | None:
    """The entry `test` of the `metrics.json` of a model's run; None without a run directory."""
    run = _run_of(model if isinstance(model, Model) else load(model))
    return run.metrics.get("test") if run else None


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


def evaluation_record(evaluation: Evaluation, seconds: float | None = None) -> dict[str, Any]:
    """The content of `metrics.json`.

    `test` has the scores of the unseen images, so that a script never takes a score on training
    images for one on new images; `count` is 0 and `accuracy` null if there are none. `seen` has
    those of the images that the model was trained on, and `images` the accuracy by kind; both are
    missing if that is not known.
    """
    record: dict[str, Any] = {"test": evaluation.metrics}
    if evaluation.overlap is not None:
        record |= {"seen": evaluation.overlap.metrics, "images": evaluation.by_exposure}
    if seconds is not None:
        record["seconds"] = {"total": seconds}
    finite: dict[str, Any] = finite_or_null(record)
    return finite


def write_evaluation(
    output: Path, model: str | Path, evaluation: Evaluation, *, dataset: SampleSet, seconds: float
) -> None:
    """Write `metrics.json`, the tables, the confusion matrix and a report into a folder.

    The report shows the unseen images, or the others if there are none; the tables have all.

    Raises:
        UsageError: see `require_evaluation_output`.
        EnvironmentFault: it cannot be written.
    """
    require_evaluation_output(output, dataset.root)
    folder = ResultWriter(make_folder(output))
    metrics = evaluation_record(evaluation, seconds)
    folder.write_json(layout.METRICS, metrics)  # first, see `require_evaluation_output`
    folder.write_quarantine(dataset.rejected)
    write_predictions(folder, evaluation)
    shown = evaluation.reported
    counts = Counter(sample.label for sample in shown.samples)
    notes = [_NO_BOXES] if _lacks_boxes(shown) else []
    if evaluation.exposures is None:
        text = NOT_KNOWN.format(model=model)
        notes.append(f"{text[0].upper()}{text[1:]}.")
    data = ReportData(
        title=dataset_name(dataset.root),
        summary=[("Data", f"{len(dataset):,} images"), ("Model", str(model))],
        test=shown,
        metrics=metrics,
        counts={name: {"test": counts[name]} for name in evaluation.class_names},
        rejected=dataset.rejected,
        ignored=dataset.ignored,
        notes=notes,
        commands=[
            ("Ask it about an image or a folder", f"sharpeye predict {shell_quote(model)} PICTURE")
        ],
        heat_maps=mistake_heat_maps(load(model), shown),
        exposures=exposure_rows(evaluation),
        training_only=""
        if shown is evaluation
        else accuracy_line(evaluation, run_test_metrics(model)),
    )
    folder.write_text(layout.REPORT, render_report(data))
