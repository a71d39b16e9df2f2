"""A folder of images becomes a run directory: the main road, from end to end."""

import logging
import os
import shlex
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharpeye.artefact.graph import write_model
from sharpeye.artefact.heat_nodes import add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.model_card import write_card
from sharpeye.artefact.ood_nodes import ood_addition
from sharpeye.artefact.parity import bundle_record, verify_ood_parity, verify_parity
from sharpeye.artefact.session import open_model
from sharpeye.core.config import Config
from sharpeye.core.formatting import plain_percent
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.core.types import SPLITS, Split
from sharpeye.errors import GateError, UsageError
from sharpeye.jobs.train.extend import ExtendedData, extended_config, load_dataset, run_config
from sharpeye.jobs.train.heat import mistake_heat_maps
from sharpeye.jobs.train.int8 import ship_int8
from sharpeye.jobs.train.localize import in_images
from sharpeye.jobs.train.modes import TrainedModel, from_scratch, transferred
from sharpeye.jobs.train.ood import fit_and_test_ood
from sharpeye.jobs.train.prepare import FitResult, Progress
from sharpeye.jobs.train.resolve import is_from_scratch, require_same, resolve
from sharpeye.jobs.train.results import RunSummary, write_evaluation
from sharpeye.learn.heads.sgd import StepCallback
from sharpeye.learn.ood.detector import OodDetector
from sharpeye.models.registry import get_spec
from sharpeye.predict.predictor import Model
from sharpeye.report.comparison import Comparison
from sharpeye.report.comparison_wording import change_lines, worse_warning
from sharpeye.report.evaluation import Evaluation
from sharpeye.report.wording import box_line
from sharpeye.runs import layout, provenance
from sharpeye.runs.run_directory import Run, RunDir

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
    progress: Progress | None = None,
    watchers: Sequence[StepCallback] = (),
    **knobs: Any,
) -> Run:
    """Train a classifier on a folder of images.

    Args:
        data: a folder with one sub-folder of images a class, or with `train/ val/ test/`.
        add: an earlier run, to which the images in `data` are added; it stays as it is. All its
            knobs are taken but for those that are given.
        model: a name that `sharpeye models` lists; by default the configuration's.
        output: the run directory; by default `runs/<data>-<model>`, numbered if it exists.
        config: all knobs; see `sharpeye.core.config`. With `add`, its `data.folder` and
            `data.added` say where the earlier images are now.
        min_accuracy: the test accuracy, 0..1, below which GateError is raised, after everything
            was written.
        resume: go on with the unfinished run in `output`, whose configuration must be the same.
        progress: called with (stage, done, total).
        watchers: follow the steps of a head that is trained by steps.
        knobs: changes by dotted key, with `__` for the dot: `head__views=4`, `seed=1`.

    Returns:
        the finished run.

    Raises:
        UsageError, DataError, ModelError, EnvironmentFault, BusyError, DivergedError, GateError:
        see `sharpeye.errors`.
    """
    started = time.perf_counter()
    changes = {key.replace("__", "."): value for key, value in knobs.items()}
    if model is not None:
        changes["model.name"] = model
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"the least accuracy must be from 0 to 1. Received: {min_accuracy}")
    config = resolve(_configured(data, add, config, changes))
    folder = run_folder(output, config)
    if resume:
        require_same(folder, config)
    images = load_dataset(config)
    scanned = time.perf_counter() - started
    with RunDir(folder, resume=resume) as run_dir:
        run_dir.write_text(layout.CONFIG, config.to_toml())
        way = from_scratch if is_from_scratch(config) else transferred
        outcome = way(run_dir, images.samples, config, progress, watchers)
        seconds = {"scan": scanned, **outcome.learned.seconds}
        _finish(run_dir, outcome, images, config, seconds, started)
    run = Run(run_dir.path)
    accuracy = run.metrics["test"]["accuracy"]
    if min_accuracy is not None and accuracy < min_accuracy:
        raise GateError(
            f"test accuracy {accuracy:.4f} is below the {min_accuracy:g} that was asked; "
            f"the run is in {run.path}, its report shows the mistakes"
        )
    return run


def _configured(
    data: str | Path, add: str | Path | Run | None, config: Config | None, changes: dict[str, Any]
) -> Config:
    if add is None:
        return (config or Config()).on_folder(str(data)).replace(changes)
    run = add if isinstance(add, Run) else Run(add)
    return extended_config((config or run_config(run)).replace(changes), run, str(data))


def run_folder(output: str | Path | None, config: Config) -> Path:
    """The run directory: `output`, else `runs/<data>-<model>`."""
    if output is not None:
        return Path(output)
    return (
        Path("runs")
        / f"{Path(config.data.folder).resolve().name or 'pictures'}-{config.model.name}"
    )


def _finish(
    run_dir: RunDir,
    outcome: TrainedModel,
    images: ExtendedData,
    config: Config,
    seconds: dict[str, float],
    started: float,
) -> None:
    """Write the model and everything that is known of it; `bundle.json` comes last."""
    learned, backbone = outcome.learned, outcome.backbone
    run_dir.write_history(learned.head.history)
    asked = time.perf_counter()
    taught = fit_and_test_ood(outcome, config)
    seconds["unknown"] = time.perf_counter() - asked
    manifest = replace(_manifest(backbone, learned, config), unknown=taught.unknown.to_dict())
    model_file = run_dir.file(layout.MODEL)
    probs: dict[Split, Any] = dict(learned.probs)
    quantization = None
    if config.model.int8:
        float_file = run_dir.file(f"{TEMPORARY_PREFIX}float.onnx")
        _write(outcome, manifest, taught.unknown, float_file)
        quantized = time.perf_counter()
        probs, quantization = ship_int8(float_file, model_file, learned)
        taught = taught.by(open_model(model_file))
        seconds["int8"] = time.perf_counter() - quantized
        float_file.unlink()
    else:
        _write(outcome, manifest, taught.unknown, model_file)
    test, validation = (_scored(outcome, part, probs[part]) for part in ("test", "validation"))
    test = replace(test, ood=taught.strangers)
    boxes = learned.boxes.get("test")
    opened = open_model(model_file)
    parity = verify_parity(opened, test.samples, test.probs, boxes)
    if quantization is None:
        gap = verify_ood_parity(opened, taught.samples, taught.features, taught.unknown)
        parity["max_unknown_difference"] = gap
    explained = time.perf_counter()
    heats = mistake_heat_maps(Model(opened), test, config.report.max_pictures)
    seconds["explain"] = time.perf_counter() - explained
    title = Path(config.data.folder).resolve().name or "pictures"
    changes = None
    if images.growth:
        changes = Comparison(images.growth, images.earlier, test, learned.features)
    facts = RunSummary(
        title=title,
        config=config,
        samples=learned.samples,
        history=learned.head.history,
        notes=(*_warnings(changes), *images.notes, *learned.notes),
        seconds=seconds,
        started=started,
        manifest=manifest,
        parity=parity,
        quantization=quantization,
        heats=heats,
        changes=changes,
    )
    metrics = write_evaluation(run_dir, facts, validation, test)
    run_dir.write_text(layout.CARD, write_card(manifest, metrics, title))
    run_dir.write_json(layout.BUNDLE, bundle_record(manifest, parity, run_dir.path))
    outcome.clear()


def _warnings(changes: Comparison | None) -> tuple[str, ...]:
    """What to know before this model replaces the earlier one; it is logged, too."""
    if changes is None or not changes.worse:
        return ()
    text = worse_warning(changes)
    log.warning(text)
    return (f"{text[0].upper()}{text[1:]}.",)


def _write(outcome: TrainedModel, manifest: Manifest, unknown: OodDetector, file: Path) -> None:
    """Write the model with all that it can tell beside its answer; `heat` comes last."""
    head, additions = outcome.learned.head.final_head, (ood_addition(unknown), add_heat)
    write_model(outcome.backbone, head, manifest, file, outcome.box_head, additions)


def _scored(outcome: TrainedModel, part: Split, probs: Any) -> Evaluation:
    learned, samples = outcome.learned, outcome.learned.in_split(part)
    found = learned.boxes.get(part)
    boxes = None if found is None else in_images(found, samples, outcome.backbone)
    return Evaluation(learned.samples.class_names, samples, probs, boxes)


def _manifest(backbone: Backbone, learned: FitResult, config: Config) -> Manifest:
    counts = {part: len(learned.in_split(part)) for part in SPLITS}
    pretrained = get_spec(backbone.name).imagenet
    licenses = {
        "imagenet": pretrained.license if pretrained else "",
        "none": "none: all were learned from these pictures",
        "random": "none",
    }
    return Manifest(
        labels=learned.samples.class_names,
        input=backbone.input,
        task=config.task,
        model=backbone.name,
        calibration={"temperature": learned.head.final_head.temperature},
        weights_license=licenses.get(config.model.weights, "that of the weights' file"),
        versions=provenance.versions(),
        created=provenance.now(),
        data={"pictures": counts, "seed": config.seed},
    )


def _program() -> str:
    """How this program is called: by its name where the shell finds it, else by its path."""
    if shutil.which("sharpeye") or Path(sys.argv[0]).name != "sharpeye":
        return "sharpeye"
    return os.path.relpath(sys.argv[0])


def _next(run: Run) -> str:
    """A command that goes on from here: to ask about a test image, or about all of them."""
    folder = tomllib.loads((run.path / layout.CONFIG).read_text(encoding="utf-8"))["data"]["folder"]
    tested = [row["path"] for row in run.table(layout.PREDICTIONS)]
    image = Path(folder) / next((path for path in tested if ".." not in path), tested[0])
    if image.is_file():
        return f"{_program()} predict {run.path} {shlex.quote(str(image))}"
    return f"{_program()} evaluate {run.path} {shlex.quote(folder)}"  # of array files


def summary(run: Run) -> Mapping[str, str]:
    """The lines that the command line prints when a run is done."""
    test = run.metrics["test"]
    low, high = (plain_percent(end) for end in test["accuracy_ci95"])
    hits = round(test["accuracy"] * test["count"])
    return {
        "accuracy": f"{plain_percent(test['accuracy'])} of {test['count']} test pictures "
        f"({hits} right), 95 % interval {low} to {high}",
        **({"boxes": box_line(test)} if "mean_iou" in test else {}),
        **(change_lines(run.metrics["changes"]) if "changes" in run.metrics else {}),
        "report": str(run.path / layout.REPORT),
        "next": _next(run),
    }
