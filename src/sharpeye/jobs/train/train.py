"""Train a model: a folder of images becomes a run directory."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharpeye.artefact.model_card import render_model_card
from sharpeye.artefact.parity import bundle_record
from sharpeye.core.config import Config
from sharpeye.core.config_paths import features_path, locate, on_folder, with_typed_paths
from sharpeye.core.inference import available_cores
from sharpeye.core.own_code import allow_own_code, is_own_code, short_name
from sharpeye.core.paths import require_outside, user_path
from sharpeye.core.progress import StageProgress
from sharpeye.core.types import SampleSet
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.summary import dataset_name
from sharpeye.errors import GateError, ModelError, UsageError
from sharpeye.images.decode_limits import configured_limits, use_limits
from sharpeye.jobs.train.box_head import add_box_head
from sharpeye.jobs.train.context import EpochObserver, StageClock, TrainContext, TrainedModel
from sharpeye.jobs.train.data_notes import data_notes, log_notes
from sharpeye.jobs.train.distill import open_teacher
from sharpeye.jobs.train.earlier_weights import overlap_notes
from sharpeye.jobs.train.extend import ExtendedData, extended_config, load_dataset
from sharpeye.jobs.train.finetune import fine_tune
from sharpeye.jobs.train.head_on_features import fit_head_on_features
from sharpeye.jobs.train.learning_check import learning_notes
from sharpeye.jobs.train.load_arrays import arrays_of
from sharpeye.jobs.train.mistake_heat_maps import mistake_heat_maps
from sharpeye.jobs.train.network_on_pixels import fit_network_on_pixels, initial_weights
from sharpeye.jobs.train.ood import fit_and_test_ood
from sharpeye.jobs.train.own_network_check import check_own_network
from sharpeye.jobs.train.resolve import require_longer, require_same, resolve
from sharpeye.jobs.train.results import RunSummary, write_results
from sharpeye.jobs.train.resume_advice import resume_advice, resume_command
from sharpeye.jobs.train.split_dataset import require_same_images, split_dataset
from sharpeye.jobs.train.trackers import report_scores, require_tracker, tracking
from sharpeye.jobs.train.unused_knobs import unused_knobs
from sharpeye.jobs.train.write_artefact import (
    WrittenModel,
    evaluate_split,
    verify_artefact,
    write_artefact,
)
from sharpeye.learn.heads.sgd import StepCallback
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.predict.predictor import Model
from sharpeye.report.comparison import Comparison
from sharpeye.report.comparison_wording import worse_warning
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run, RunWriter
from sharpeye.runs.run_folder import IfExists, folder_of_runs

log = logging.getLogger(__name__)


def train(
    data: str | Path,
    *,
    add: str | Path | Run | None = None,
    model: str | None = None,
    output: str | Path | None = None,
    config: Config | None = None,
    min_accuracy: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: StageProgress | None = None,
    callbacks: Sequence[StepCallback | EpochObserver] = (),
    track: str | None = None,
    **knobs: Any,
) -> Run:
    """Train a classifier or a localizer on a folder of images.

    Args:
        data: a folder with one sub-folder of images per class, or with `train/ val/ test/`.
        add: an earlier run, to which the images in `data` are added; it is not changed. Its
            configuration is used, except for the given knobs.
        model: a name that `sharpeye models` lists, or own code, see docs/training.md; by default
            the configuration's.
        output: the run directory, which must be free: it does not exist, is empty, or has what a
            run left that ended before its first checkpoint. By default `runs/<data>-<model>`,
            numbered if it is not free.
        config: all knobs; see `sharpeye.Config`. With `add`, its `data.folder` and `data.added`
            locate the earlier images.
        min_accuracy: the test accuracy, 0..1, below which GateError is raised after all files are
            written.
        resume: continue the unfinished run in `output`, whose configuration must be the same; or a
            finished one of a network from scratch, with more epochs, which replaces it at the end.
        overwrite: replace the run in `output`; a finished one when the new one is complete.
        progress: called with (stage, done, total).
        callbacks: objects with `on_epoch_end(metrics)`, which is called with each epoch's row of
            `history.csv`; and functions that are called at the steps of a head that is fitted by
            gradient descent.
        track: `mlflow`, `wandb` or `trackio`: the tracker that is told of the epochs and scores.
        knobs: changes by dotted key, with `__` for the dot: `head__views=4`, `seed=1`.

    Returns:
        the finished run.

    Raises:
        SharpEyeError: see `sharpeye.errors` for all kinds with their exit codes.
    """
    clock = StageClock()
    _require_sense(resume=resume, overwrite=overwrite, min_accuracy=min_accuracy, track=track)
    config = _resolved(data, config, knobs, add=add, model=model)
    folder = run_folder(output, config)
    earlier_run = _earlier_run(folder, config) if resume else None
    if not resume:
        require_outside_of_images(folder, config)
    _check_before_reading(config, folder if resume else None)
    limits = configured_limits(config.images)
    with use_limits(limits):
        dataset = load_dataset(config)
    clock.lap("scan")
    if_exists = _if_exists(
        output, resume=resume and not earlier_run, overwrite=overwrite or bool(earlier_run)
    )
    observers = [c for c in callbacks if isinstance(c, EpochObserver)]
    with contextlib.ExitStack() as stack:
        run_dir = RunWriter(folder, if_exists=if_exists)
        with use_limits(limits), resume_advice(run_dir, config), run_dir:
            if track:  # Not for a run that is refused.
                title = run_dir.final_path.name
                tracker = stack.enter_context(tracking(track, title, config))
                observers.append(tracker)
            run_dir.write_text(layout.CONFIG, config.to_toml())
            context = TrainContext(config, run_dir, progress, clock, earlier_run, observers)
            if config.from_scratch:
                trained = _train_network(context, dataset.samples)
            else:
                steps = [c for c in callbacks if not isinstance(c, EpochObserver)]
                trained = _train_head(context, dataset.samples, steps)
            run_dir.write_history(trained.head.history)
            _write_run(context, dataset, trained)
        _require_proven(run_dir, config)
        run = Run(run_dir.path)
        if track:
            report_scores(tracker, run.metrics)
    _require_accuracy(run, min_accuracy)
    return run


def _require_sense(
    *, resume: bool, overwrite: bool, min_accuracy: float | None, track: str | None
) -> None:
    if resume and overwrite:
        raise UsageError(
            "--resume goes on with a run and --overwrite begins anew; give one of them"
        )
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"the least accuracy must be from 0 to 1. Received: {min_accuracy}")
    if track:
        require_tracker(track)


def _resolved(
    data: str | Path,
    config: Config | None,
    knobs: Mapping[str, Any],
    *,
    add: str | Path | Run | None,
    model: str | None,
) -> Config:
    """The configuration that a call of `train` means."""
    changes = {key.replace("__", "."): value for key, value in knobs.items()}
    if model is not None:
        changes["model.name"] = model
    changes |= allow_own_code(changes)
    if add is None:
        config = with_typed_paths(on_folder(config or Config(), str(data)), changes)
    else:
        earlier = add if isinstance(add, Run) else Run(add)
        config = extended_config(
            with_typed_paths(config or earlier.config, changes), earlier, str(data)
        )
    return resolve(config)


def _earlier_run(folder: Path, config: Config) -> Run | None:
    """The finished run that goes on with more epochs; None if an unfinished one is resumed."""
    if (folder / layout.BUNDLE).is_file():
        run = Run(folder)
        require_longer(run, config)
        return run
    require_same(folder, config)
    return None


def _check_before_reading(config: Config, resumed: Path | None) -> None:
    """Check what can be checked before any image is read; `resumed` is the run that goes on."""
    initial_weights(config, resumed)
    check_own_network(config)
    if config.from_scratch and config.distill.teacher:
        open_teacher(config)
    for sentence in unused_knobs(config):
        log.warning("%s", sentence)


def _write_run(context: TrainContext, dataset: ExtendedData, trained: TrainedModel) -> None:
    """Write the model file, compare it with the training, and write the report."""
    config, clock, run_dir = context.config, context.clock, context.run_dir
    # A head on a frozen network takes a second or two from here on, a network longer.
    level = logging.INFO if config.from_scratch else logging.DEBUG
    log.log(level, "the out-of-distribution detector is fitted")
    ood = fit_and_test_ood(trained, config)
    clock.lap("unknown")
    log.log(level, "the model file is written, and compared with the training")
    written = write_artefact(context, trained, ood)
    clock.lap("write")
    try:
        parity = verify_artefact(trained, written)
    except ModelError as error:  # What was trained is not lost: see `_require_proven`.
        parity = {}
        run_dir.mark_unproven(str(error))
    clock.lap("verify")
    log.log(level, "the report is written")
    _report(context, dataset, trained, written=written, parity=parity)
    if not run_dir.unproven:
        trained.remove_temporary_paths()


def _require_accuracy(run: Run, min_accuracy: float | None) -> None:
    accuracy = run.metrics["test"]["accuracy"]
    if min_accuracy is not None and accuracy < min_accuracy:
        raise GateError(
            f"test accuracy {accuracy:.4f} is below the {min_accuracy:g} that was asked; "
            f"the run is in {run.path}, its report shows the mistakes"
        )


def _require_proven(run_dir: RunWriter, config: Config) -> None:
    """Raise ModelError if the model file of the written run is not proven."""
    if run_dir.unproven:
        again = resume_command(run_dir.path, config)
        raise ModelError(
            f"{run_dir.unproven}; weights, history and report are kept in {run_dir.path}, without "
            f"{layout.BUNDLE}, so that no program takes the model for a proven one. To write and "
            f"prove it again: {again}"
        )


def run_folder(output: str | Path | None, config: Config, *, ending: str = "") -> Path:
    """The folder of a command: `output`, else `runs/<data>-<model><ending>`, beside the images."""
    if output is not None:
        return user_path(output)
    images = locate(config, config.data.folder)
    name = config.model.name
    if is_own_code(name):
        name = short_name(name).replace(".py:", "-").replace(":", "-")
    return folder_of_runs(images) / f"{dataset_name(images)}-{name}{ending}"


def _if_exists(output: str | Path | None, *, resume: bool, overwrite: bool) -> IfExists:
    if resume or overwrite:
        return "resume" if resume else "replace"
    return "number" if output is None else "error"


def require_outside_of_images(folder: Path, config: Config) -> None:
    """Raise UsageError for an output among the images of a configuration."""
    for images in (config.data.folder, *config.data.added):
        require_outside(folder, locate(config, images), "--output")


def _train_head(
    context: TrainContext, samples: SampleSet, callbacks: Sequence[StepCallback]
) -> TrainedModel:
    """Digest, features, split, fit; then boxes and fine-tuning, if configured."""
    config, clock = context.config, context.clock
    source = BackboneConfig.from_config(config)
    backbone = load_backbone(source, log.info)
    clock.lap("backbone")
    samples = add_digests(samples, available_cores())
    backbone = backbone.with_bit_depth(samples.bit_depth)
    clock.lap("digests")
    progress, root = context.progress_of("features"), features_path(config)
    features = extract_features(samples.samples, backbone, progress=progress, root=root)
    clock.lap("features")
    samples = split_dataset(samples, features.rejected, config, run_dir=context.run_dir)
    log.info(
        "%d images in %d classes; features: %d computed, %d from the cache",
        len(samples),
        len(samples.class_names),
        len(features.features) - features.from_store,
        features.from_store,
    )
    notes = data_notes(samples, config)
    log_notes(notes)
    clock.lap("split")
    trained = fit_head_on_features(
        context, samples, backbone, extracted=features, callbacks=callbacks
    )
    trained = replace(trained, notes=notes)
    if not backbone.graph_file.exists():  # The cache was cleared meanwhile.
        backbone = load_backbone(source).with_bit_depth(backbone.input.bit_depth)
        trained = replace(trained, backbone=backbone)
    box_head = None
    if config.task == "localize":
        trained, box_head = add_box_head(context, trained)
    if config.finetune.epochs:
        trained = fine_tune(context, trained, source, box_head=box_head)
    return trained


def _train_network(context: TrainContext, samples: SampleSet) -> TrainedModel:
    """Digest, pixels, split, fit: the whole network, from random weights."""
    config, clock = context.config, context.clock
    samples, arrays = arrays_of(
        samples, config, context.progress, clock=clock, run_dir=context.run_dir
    )
    boxes = sum(sample.box is not None for sample in samples)
    with_boxes = f", {boxes} with a box" if config.task == "localize" else ""
    log.info("%d images in %d classes%s", len(samples), len(samples.class_names), with_boxes)
    overlaps, notes = overlap_notes(config, samples), data_notes(samples, config)
    for note in overlaps:
        log.warning("%s", note)
    log_notes(notes)
    if context.earlier:
        require_same_images(context.earlier.path / layout.SPLIT, samples)
    clock.lap("split")
    trained = fit_network_on_pixels(context, samples, arrays)
    learning = learning_notes(trained.head.history, samples, config)
    for note in learning:
        log.warning("%s", note)
    return replace(trained, notes=(*overlaps, *learning, *notes))


def _report(
    context: TrainContext,
    dataset: ExtendedData,
    trained: TrainedModel,
    *,
    written: WrittenModel,
    parity: dict[str, Any],
) -> None:
    """Evaluate the model on the held-out images, and write the report, the card and the record.

    Without a proof, card and record are missing.
    """
    config, run_dir = context.config, context.run_dir
    validation, test = (evaluate_split(trained, written, s) for s in ("validation", "test"))
    heat_maps = mistake_heat_maps(Model(written.model), test, config.report.max_pictures)
    context.clock.lap("explain")
    comparison, notes = None, (*dataset.notes, *trained.notes)
    if run_dir.unproven:
        notes = (f"Do not use this model: {run_dir.unproven}.", *notes)
    if dataset.extension is not None:
        comparison = Comparison(dataset.extension, dataset.earlier, test, trained.feature_counts)
        if comparison.worse:
            warning = worse_warning(comparison)
            log.warning(warning)
            notes = (f"{warning[0].upper()}{warning[1:]}.", *notes)
    summary = RunSummary(
        title=dataset_name(locate(config, config.data.folder)),
        trained=trained,
        written=written,
        validation=validation,
        test=test,
        notes=notes,
        parity=parity,
        heat_maps=heat_maps,
        comparison=comparison,
    )
    metrics = write_results(context, summary)
    if run_dir.unproven:
        return
    manifest = written.model.manifest
    run_dir.write_text(layout.CARD, render_model_card(manifest, metrics, summary.title))
    # `bundle.json` marks the run as complete, so it comes last.
    run_dir.write_json(layout.BUNDLE, bundle_record(manifest, parity, run_dir.path))
