"""retrain.py of TensorFlow-for-Poets on SharpEye's rooms: its flags, its files, its log lines.

The flags become a configuration, the main road trains, and a watcher beside it writes what people
and programs know from the original: log lines, TensorBoard's `train/` and `validation/`,
intermediate graphs. The frozen graph and the labels come last.
"""

import datetime
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone
from sharpeye.core.progress import StageProgress as Progress
from sharpeye.core.storage import make_folder, write_text
from sharpeye.core.types import SampleSet
from sharpeye.errors import DataError, UsageError, near_match
from sharpeye.jobs.train.train import train
from sharpeye.learn.heads.head import Head
from sharpeye.learn.heads.sgd import BatchScores, SgdStep
from sharpeye.models.registry import get_spec, list_models
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)

_QUANTIZED = "_quantized"
# label_image.py's defaults: graphs of ours take (pixel - 128) / 128, whatever the network takes.
MEAN, STD = 128.0, 128.0


@dataclass(frozen=True)
class Flags:
    """The original's flags under their names, with its defaults; and four of ours.

    Attributes:
        bottleneck_dir, model_dir: empty for SharpEye's cache and Keras' own.
        weights: `imagenet`, `none` or a file.
        seed: of batches, first weights and distortions.
        distortion_views: most views that are made of an image.
        output: the run directory; empty for one beside `output_graph`.
    """

    image_dir: str = ""
    output_graph: str = "/tmp/output_graph.pb"  # noqa: S108  the original's
    intermediate_output_graphs_dir: str = "/tmp/intermediate_graph/"  # noqa: S108
    intermediate_store_frequency: int = 0
    output_labels: str = "/tmp/output_labels.txt"  # noqa: S108
    summaries_dir: str = "/tmp/retrain_logs"  # noqa: S108
    how_many_training_steps: int = 4000
    learning_rate: float = 0.01
    testing_percentage: int = 10
    validation_percentage: int = 10
    eval_step_interval: int = 10
    train_batch_size: int = 100
    test_batch_size: int = -1
    validation_batch_size: int = 100
    print_misclassified_test_images: bool = False
    model_dir: str = ""
    bottleneck_dir: str = ""
    final_tensor_name: str = "final_result"
    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0
    architecture: str = "inception_v3"
    weights: str = "imagenet"
    seed: int = 0
    distortion_views: int = 8
    output: str = ""


def retrain(flags: Flags, progress: Progress | None = None) -> Run:
    """Train, and write the frozen graph, the labels and a run directory.

    Raises:
        UsageError: a flag is out of its range, or the architecture is unknown.
        DataError: no such folder, or too few images.
        And all that `sharpeye.train` raises.
    """
    config = to_config(flags)
    if not flags.image_dir:
        raise DataError("which pictures? Give --image_dir, a folder with one sub-folder a class")
    watcher = _Watcher(flags)
    run = train(
        flags.image_dir,
        output=flags.output or _beside(Path(flags.output_graph)),
        config=config,
        progress=progress,
        callbacks=[watcher],
    )
    _report_test(flags, run, watcher.names)
    watcher.finish()
    return run


def to_config(flags: Flags) -> Config:
    """The configuration that the flags stand for.

    Raises:
        UsageError: a flag is out of its range, or the architecture is unknown.
    """
    model, int8 = parse_architecture(flags.architecture)
    if flags.weights in ("none", "auto"):
        raise UsageError(
            "--weights must be imagenet or a file of weights: retrain never trains the network "
            f"itself. Received: {flags.weights}"
        )
    _check_ranges(flags)
    return Config().replace(
        {
            "seed": flags.seed,
            "data.features_folder": flags.bottleneck_dir,
            "split.rule": "path",
            "split.validation": flags.validation_percentage / 100,
            "split.test": flags.testing_percentage / 100,
            "model.name": model,
            "model.weights": flags.weights,
            "model.weights_folder": flags.model_dir,
            "model.fit": "stretch",
            "model.filter": "bilinear_asymmetric",
            "model.int8": int8,
            "head.solver": "sgd",
            "head.refit": False,
            "sgd.steps": flags.how_many_training_steps,
            "sgd.learning_rate": flags.learning_rate,
            "sgd.batch_size": flags.train_batch_size,
            "sgd.eval_every": flags.eval_step_interval,
            "sgd.validation_batch": max(0, flags.validation_batch_size),
            "distort.flip": flags.flip_left_right,
            "distort.crop": flags.random_crop,
            "distort.scale": flags.random_scale,
            "distort.brightness": flags.random_brightness,
            "distort.views": flags.distortion_views,
        }
    )


def parse_architecture(name: str) -> tuple[str, bool]:
    """A model of the zoo, and whether it is to be quantized to int8.

    Raises:
        UsageError: unknown; the message has the nearest name.
    """
    lowered = name.strip().lower()
    model = lowered.removesuffix(_QUANTIZED)
    known = [spec.name for spec in list_models()]
    try:
        return get_spec(model).name, model != lowered
    except UsageError:
        raise UsageError(
            f"--architecture must be inception_v3, mobilenet_WIDTH_SIZE with width 1.0, 0.75, 0.50 "
            f"or 0.25 and size 224, 192, 160 or 128, or another name that `sharpeye models` lists; "
            f"_quantized may follow. Received: {name}. {near_match(model, known)}"
        ) from None


def _check_ranges(flags: Flags) -> None:
    for name in ("testing_percentage", "validation_percentage"):
        if not 1 <= getattr(flags, name) <= 89:
            raise UsageError(f"--{name} must be from 1 to 89. Received: {getattr(flags, name)}")
    for name in ("test_batch_size", "validation_batch_size"):
        if getattr(flags, name) == 0 or getattr(flags, name) < -1:
            raise UsageError(
                f"--{name} must be -1 for all pictures, or at least 1. "
                f"Received: {getattr(flags, name)}"
            )
    if flags.intermediate_store_frequency < 0:
        raise UsageError(
            "--intermediate_store_frequency must be 0 for never, or at least 1. "
            f"Received: {flags.intermediate_store_frequency}"
        )


def _beside(graph: Path) -> Path:
    return graph.with_suffix("") if graph.suffix else graph.with_name(f"{graph.name}-run")


def output_names(labels: Sequence[str]) -> dict[str, str]:
    """The names that `--output_labels` gets, by class, in the graph's order.

    As the original has it: in the order of the folders' names, in lower case, all but a to z and
    0 to 9 replaced by a space. Where that would leave nothing, or two classes of one name, the
    folder's own name stays.
    """
    simple = {label: re.sub(r"[^a-z0-9]+", " ", label.lower()) for label in sorted(labels)}
    taken = list(simple.values())
    names = {
        label: name if name.strip() and taken.count(name) == 1 else label
        for label, name in simple.items()
    }
    kept = [label for label, name in names.items() if name != simple[label]]
    if kept:
        log.warning("labels that cannot be written plainly are kept: %s", ", ".join(kept[:10]))
    return names


class _Watcher:
    """Writes what the original wrote while it trained."""

    names: dict[str, str]

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def begin(self, backbone: Backbone, samples: SampleSet) -> None:
        flags = self._flags
        self.names = output_names(samples.class_names)
        self._order = [samples.class_names.index(label) for label in self.names]
        layer = "Mul" if backbone.name == "inception_v3" else "input"
        self._graph = GraphDefWriter(
            backbone.graph_file,
            input_name=layer,
            output_name=flags.final_tensor_name,
            mean=MEAN,
            std=STD,
            int8_weights=parse_architecture(flags.architecture)[1],
        )
        self._about = {
            "labels": list(self.names.values()),
            "input": backbone.input.to_dict(),
            "graph": {
                "input_layer": layer,
                "output_layer": flags.final_tensor_name,
                "mean": MEAN,
                "std": STD,
            },
        }
        for file in (flags.output_graph, flags.output_labels):
            make_folder(Path(file).parent)
        if flags.intermediate_store_frequency:
            make_folder(self._intermediate(0).parent)
        self._summaries = TrainingSummaries(Path(flags.summaries_dir))

    def step(self, step: SgdStep) -> None:
        if step.number == 0:
            self._summaries.graph(self._graph.outline(step.head()))
        if step.after and step.validation:
            _log_step(step.number, step.after, step.validation)
        self._summaries.write(step)
        every = self._flags.intermediate_store_frequency
        if every and step.number and step.number % every == 0:
            file = self._intermediate(step.number)
            log.info("Save intermediate result to : %s", file)
            self._write_graph(step.head(), file)
        if step.number + 1 == self._flags.how_many_training_steps:
            self._head = step.head()
            self._summaries.close()

    def finish(self) -> None:
        """The graph and its labels, when all else is done."""
        write_text(Path(self._flags.output_labels), "\n".join(self.names.values()) + "\n")
        self._write_graph(self._head, Path(self._flags.output_graph))

    def _intermediate(self, number: int) -> Path:
        # As in the original, the flag is put before the name as it is, with or without a slash.
        return Path(f"{self._flags.intermediate_output_graphs_dir}intermediate_{number}.pb")

    def _write_graph(self, head: Head, file: Path) -> None:
        ordered = replace(head, weights=head.weights[:, self._order], bias=head.bias[self._order])
        self._graph.write(ordered, file, self._about)


def _log_step(number: int, after: BatchScores, seen: BatchScores) -> None:
    start = f"{datetime.datetime.now()}: Step {number}:"
    log.info("%s Train accuracy = %.1f%%", start, after.accuracy * 100)
    log.info("%s Cross entropy = %f", start, after.log_loss)
    log.info("%s Validation accuracy = %.1f%% (N=%d)", start, seen.accuracy * 100, seen.count)


def _report_test(flags: Flags, run: Run, names: dict[str, str]) -> None:
    """The original's last lines, over all test images or some that are drawn."""
    rows: list[Any] = run.table(layout.PREDICTIONS)
    if flags.test_batch_size > 0:
        chosen = np.random.default_rng(flags.seed).integers(0, len(rows), flags.test_batch_size)
        rows = [rows[i] for i in chosen]
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    log.info("Final test accuracy = %.1f%% (N=%d)", 100 - 100 * len(wrong) / len(rows), len(rows))
    if flags.print_misclassified_test_images:
        log.info("=== MISCLASSIFIED TEST IMAGES ===")
        for row in wrong:
            path = str(Path(flags.image_dir) / row["path"])
            log.info("%70s  %s", path, names[row["predicted"]])
