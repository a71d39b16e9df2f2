"""Write the files of retrain.py beside a run directory, and replace earlier ones with it."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.compat import original_log
from sharpeye.compat.graph_reader import INCEPTION_INPUT, INPUT, MEAN, STD
from sharpeye.compat.retrain_flags import Flags, parse_architecture
from sharpeye.compat.retrain_paths import intermediate_file
from sharpeye.compat.training_summaries import TrainingSummaries
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import make_folder, os_errors_at, write_text
from sharpeye.core.temporaries import temporary_name
from sharpeye.core.types import SampleSet
from sharpeye.learn.heads.head import Head
from sharpeye.learn.heads.sgd import SgdStep
from sharpeye.runs import layout

log = logging.getLogger(__name__)


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


class RetrainFiles:
    """A callback of the training that writes the original's log lines and files.

    The graph and the labels are written under hidden names when the last step is done. As a context
    manager it gives them their names at the end, if the run directory has been replaced, too; else
    it deletes them, and the earlier ones remain.

    Attributes:
        names: `output_names` of the classes.
        new_graph: the complete graph under its hidden name.
    """

    names: dict[str, str]

    def __init__(self, flags: Flags, run_folder: Path) -> None:
        self._flags = flags
        self._graph_file, self._labels_file = Path(flags.output_graph), Path(flags.output_labels)
        self.new_graph = self._graph_file.with_name(temporary_name(".pb"))
        self._new_labels = self._labels_file.with_name(temporary_name(".txt"))
        self._bundle = run_folder / layout.BUNDLE
        self._earlier_run = _identity(self._bundle)
        self._summaries: TrainingSummaries | None = None
        self._intermediate_files: set[Path] = set()

    def begin(self, backbone: Backbone, samples: SampleSet) -> None:
        flags = self._flags
        original_log.small_folders(Counter(sample.label for sample in samples))
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
        for file in (self._graph_file, self._labels_file):
            make_folder(file.parent)
        if flags.intermediate_store_frequency:
            make_folder(intermediate_file(flags, 0).parent)
        self._summaries = TrainingSummaries(Path(flags.summaries_dir))

    def step(self, step: SgdStep) -> None:
        flags, summaries = self._flags, self._summaries
        if summaries is None:
            return
        if step.number == 0:
            summaries.graph(self._graph.outline(step.head()))
        original_log.step(step)
        summaries.write(step)
        every = flags.intermediate_store_frequency
        if every and step.number and step.number % every == 0:
            file = intermediate_file(flags, step.number)
            original_log.info("Save intermediate result to : %s", file)
            self._write_graph(step.head(), file)
            self._intermediate_files.add(file)
        if step.number + 1 == flags.how_many_training_steps:
            summaries.close()
            self._write_graph(step.head(), self.new_graph)
            write_text(self._new_labels, "\n".join(self.names.values()) + "\n")

    def __enter__(self) -> "RetrainFiles":
        return self

    def __exit__(self, *_: object) -> None:
        # After a signal, too, the files follow a run directory that has been replaced.
        is_new_run = _identity(self._bundle) not in (None, self._earlier_run)
        is_complete = is_new_run and self.new_graph.exists()
        if is_complete:
            self._replace_files()
        for file in (self.new_graph, self._new_labels):
            file.unlink(missing_ok=True)
        if self._summaries:
            self._summaries.finish(is_complete=is_complete)

    def _replace_files(self) -> None:
        replaced = self._graph_file.exists() or self._earlier_run is not None
        for new, file in (
            (self.new_graph, self._graph_file),
            (self._new_labels, self._labels_file),
        ):
            with os_errors_at(file):
                new.replace(file)
        if replaced:
            log.info("the earlier graph, labels and run are replaced")
        if self._intermediate_files:
            self._delete_earlier_intermediate_files()

    def _delete_earlier_intermediate_files(self) -> None:
        example = intermediate_file(self._flags, 0)
        prefix = example.name.removesuffix(example.name.rpartition("_")[2])
        pattern = re.compile(rf"{re.escape(prefix)}\d+\.pb")
        for file in set(example.parent.iterdir()) - self._intermediate_files:
            if pattern.fullmatch(file.name) and file.is_file():
                with os_errors_at(file):
                    file.unlink()

    def _write_graph(self, head: Head, file: Path) -> None:
        ordered = replace(head, weights=head.weights[:, self._order], bias=head.bias[self._order])
        self._graph.write(ordered, file, self._record)


def _identity(file: Path) -> tuple[int, int] | None:
    """Tells whether a file has been replaced; None without one."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
