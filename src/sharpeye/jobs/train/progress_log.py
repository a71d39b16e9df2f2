"""What can be seen of training while it goes on: `history.csv`, TensorBoard's curves, a line."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sharpeye.jobs.train.prepare import Progress
from sharpeye.learn.nets.loop import Row
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter
from sharpeye.runs.run_directory import RunDir

log = logging.getLogger(__name__)

_IMAGES = 16
_TRAIN = ("log_loss", "accuracy", "mean_iou", "loss", "learning_rate")
# What a line says of a part: name in the row, how it is called, how it is written.
_TOLD = (
    ("log_loss", "loss", "{:.4f}"),
    ("accuracy", "accuracy", "{:.2%}"),
    ("mean_iou", "mean IoU", "{:.3f}"),
)
# Curves of a head on frozen maps are not those of a whole network.
_TAGS = {"box": "box"}


class ProgressLog:
    """Writes each epoch into the run directory as soon as it is over. Use as a context manager.

    Args:
        planned: epochs; 0 if a time limit decides how many.
        progress: told how many of them are done, of 0 if nobody knows how many there will be.
        earlier: rows that `history.csv` has already, from before the run was stopped.
    """

    def __init__(
        self, run_dir: RunDir, planned: int, progress: Progress | None, earlier: Sequence[Row] = ()
    ) -> None:
        self._run_dir, self._planned, self._progress = run_dir, planned, progress
        self._history: list[Row] = list(earlier)
        folder = run_dir.file(layout.TENSORBOARD)
        self._train = EventWriter(folder / "train")
        self._validation = EventWriter(folder / "validation")

    def images(self, material: TrainingArrays) -> None:
        """Show some training images as the network gets them."""
        rows = material.indices["train"]
        chosen = rows[np.linspace(0, len(rows) - 1, min(_IMAGES, len(rows))).astype(int)]
        for i, row in enumerate(chosen):
            self._train.image(f"pictures/{i:02d}", np.asarray(material.pixels[row]), 0)

    def graph(self, graph_def: bytes) -> None:
        """Show the network, as a serialized TensorFlow GraphDef."""
        self._train.graph(graph_def)

    def epoch(self, row: Row) -> None:
        """Tell of an epoch."""
        number, tag = int(row["epoch"]), _TAGS.get(row["stage"], "epoch")
        # Epochs after the last checkpoint are run again.
        self._history = [one for one in self._history if not _is_later(one, row)]
        self._history.append(row)
        self._run_dir.write_history(self._history)
        own = {name: float(row[name]) for name in _TRAIN if name in row}
        held_out = {
            name: float(row[f"validation_{name}"]) for name in own if f"validation_{name}" in row
        }
        self._train.scalars({f"{tag}/{name}": value for name, value in own.items()}, number)
        self._validation.scalars(
            {f"{tag}/{name}": value for name, value in held_out.items()}, number
        )
        log.info(
            "epoch %d%s: %s; validation: %s; %.1f s",
            number,
            f" of {self._planned}" if self._planned else "",
            _told(own),
            _told(held_out),
            row["seconds"],
        )
        if self._progress:
            self._progress("epochs", number, self._planned)

    def close(self) -> None:
        self._train.close()
        self._validation.close()

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _is_later(one: Row, row: Row) -> bool:
    """Whether a row is of the same stage, and of no earlier epoch."""
    return one.get("stage") == row["stage"] and int(one.get("epoch") or 0) >= int(row["epoch"])


def _told(values: Mapping[str, float]) -> str:
    known = [told for told in _TOLD if told[0] in values]
    return ", ".join(f"{name} {form.format(values[key])}" for key, name, form in known)
