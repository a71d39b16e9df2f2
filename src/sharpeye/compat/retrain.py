"""Replace retrain.py of TensorFlow-for-Poets: its flags, files and log lines.

The flags become a configuration for `train`. A callback of the training writes the original's log
lines, TensorBoard's `train/` and `validation/`, and intermediate graphs; the frozen graph and the
labels follow at the end.
"""

import datetime
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.compat.graph_reader import INCEPTION_INPUT, INPUT, MEAN, STD
from sharpeye.compat.retrain_flags import Flags, parse_architecture, to_config
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.core.inference import Backbone
from sharpeye.core.progress import StageProgress
from sharpeye.core.storage import make_folder, write_text
from sharpeye.core.types import SampleSet
from sharpeye.errors import DataError
from sharpeye.jobs.train.train import train
from sharpeye.learn.heads.head import Head
from sharpeye.learn.heads.sgd import SgdStep
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)


def retrain(flags: Flags, progress: StageProgress | None = None) -> Run:
    """Train, and write the frozen graph, the labels and a run directory.

    Raises:
        UsageError: a flag is out of its range, or the architecture is unknown.
        All errors of `sharpeye.train`.
    """
    config = to_config(flags)
    if not flags.image_dir:
        raise DataError("which images? Give --image_dir, a folder with one sub-folder a class")
    files, graph = _OriginalFiles(flags), Path(flags.output_graph)
    run_folder = graph.with_suffix("") if graph.suffix else graph.with_name(f"{graph.name}-run")
    run = train(
        flags.image_dir,
        output=flags.output or run_folder,
        overwrite=not flags.output,  # as the graph is, whose name it has
        config=config,
        progress=progress,
        callbacks=[files],
    )
    _log_test(flags, run, files.names)
    files.finish()
    return run


def output_names(class_names: Sequence[str]) -> dict[str, str]:
    """The names in `--output_labels`, by class, in the graph's order.

    As in the original: sorted by the folders' names, in lower case, each run of characters other
    than a to z and 0 to 9 replaced by a space. A class keeps its folder's name if the result would
    be empty or equal to that of another class.
    """
    simple = {label: re.sub(r"[^a-z0-9]+", " ", label.lower()) for label in sorted(class_names)}
    counts = Counter(simple.values())
    names = {
        label: name if name.strip() and counts[name] == 1 else label
        for label, name in simple.items()
    }
    unchanged = [label for label, name in names.items() if name != simple[label]]
    if unchanged:
        log.warning("labels that cannot be written plainly are kept: %s", ", ".join(unchanged[:10]))
    return names


class _OriginalFiles:
    """A callback of the training that writes the original's log lines and files.

    Attributes:
        names: `output_names` of the classes.
    """

    names: dict[str, str]

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def begin(self, backbone: Backbone, samples: SampleSet) -> None:
        flags = self._flags
        self.names = output_names(samples.class_names)
        self._order = [samples.class_names.index(label) for label in self.names]
        input_name = INCEPTION_INPUT if backbone.name == "inception_v3" else INPUT
        output_name = flags.final_tensor_name
        self._graph = GraphDefWriter(
            backbone.graph_file,
            input_name=input_name,
            output_name=output_name,
            mean=MEAN,  # label_image.py's defaults, for any network
            std=STD,
            int8_weights=parse_architecture(flags.architecture)[1],
        )
        nodes = {"input_layer": input_name, "output_layer": output_name}
        self._record = {
            "labels": list(self.names.values()),
            "input": backbone.input.to_dict(),
            "graph": nodes | {"mean": MEAN, "std": STD},
        }
        for file in (flags.output_graph, flags.output_labels):
            make_folder(Path(file).parent)
        if flags.intermediate_store_frequency:
            make_folder(self._intermediate_file(0).parent)
        self._summaries = TrainingSummaries(Path(flags.summaries_dir))

    def step(self, step: SgdStep) -> None:
        if step.number == 0:
            self._summaries.graph(self._graph.outline(step.head()))
        if (after := step.after) and (validation := step.validation):
            start = f"{datetime.datetime.now()}: Step {step.number}:"
            log.info("%s Train accuracy = %.1f%%", start, after.accuracy * 100)
            log.info("%s Cross entropy = %f", start, after.log_loss)
            accuracy, count = validation.accuracy * 100, validation.count
            log.info("%s Validation accuracy = %.1f%% (N=%d)", start, accuracy, count)
        self._summaries.write(step)
        every = self._flags.intermediate_store_frequency
        if every and step.number and step.number % every == 0:
            file = self._intermediate_file(step.number)
            log.info("Save intermediate result to : %s", file)
            self._write_graph(step.head(), file)
        if step.number + 1 == self._flags.how_many_training_steps:
            self._head = step.head()
            self._summaries.close()

    def finish(self) -> None:
        """Write the labels and the graph after the run directory."""
        write_text(Path(self._flags.output_labels), "\n".join(self.names.values()) + "\n")
        self._write_graph(self._head, Path(self._flags.output_graph))

    def _intermediate_file(self, number: int) -> Path:
        # As in the original, the flag is a prefix of the file's name, with or without a slash.
        return Path(f"{self._flags.intermediate_output_graphs_dir}intermediate_{number}.pb")

    def _write_graph(self, head: Head, file: Path) -> None:
        ordered = replace(head, weights=head.weights[:, self._order], bias=head.bias[self._order])
        self._graph.write(ordered, file, self._record)


def _log_test(flags: Flags, run: Run, names: dict[str, str]) -> None:
    """Log the original's last lines, for all test images or a random batch of them."""
    rows: list[Any] = run.table(layout.PREDICTIONS)
    if flags.test_batch_size > 0:
        batch = np.random.default_rng(flags.seed).integers(0, len(rows), flags.test_batch_size)
        rows = [rows[i] for i in batch]
    mistakes = [row for row in rows if row["label"] != row["predicted"]]
    accuracy = 100 - 100 * len(mistakes) / len(rows)
    log.info("Final test accuracy = %.1f%% (N=%d)", accuracy, len(rows))
    if flags.print_misclassified_test_images:
        log.info("=== MISCLASSIFIED TEST IMAGES ===")
        for row in mistakes:
            path = str(Path(flags.image_dir) / row["path"])
            log.info("%70s  %s", path, names[row["predicted"]])
