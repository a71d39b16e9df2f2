"""What can be seen of training while it goes on: `history.csv`, TensorBoard's curves, a line."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter
from sharpeye.runs.rundir import RunDir
from sharpeye.training.fit import Row
from sharpeye.training.material import Material
from sharpeye.training.prepare import Progress

log = logging.getLogger(__name__)

_PICTURES = 16
_TRAIN = ("log_loss", "accuracy", "learning_rate")
_VALIDATION = {"validation_log_loss": "log_loss", "validation_accuracy": "accuracy"}


class LiveRun:
    """Writes each epoch into the run directory as soon as it is over. Use as a context manager.

    Args:
        planned: epochs; 0 if a time limit decides how many.
        progress: told how many of them are done.
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

    def pictures(self, material: Material) -> None:
        """Show some training pictures as the network gets them."""
        rows = material.rows["train"]
        chosen = rows[np.linspace(0, len(rows) - 1, min(_PICTURES, len(rows))).astype(int)]
        for i, row in enumerate(chosen):
            self._train.image(f"pictures/{i:02d}", np.asarray(material.pixels[row]), 0)

    def graph(self, graph_def: bytes) -> None:
        """Show the network, as a serialized TensorFlow GraphDef."""
        self._train.graph(graph_def)

    def epoch(self, row: Row) -> None:
        """Tell of an epoch."""
        number = int(row["epoch"])
        # Epochs after the last checkpoint are run again.
        before = [one for one in self._history if int(one.get("epoch") or 0) < number]
        self._history = [*before, row]
        self._run_dir.write_history(self._history)
        self._train.scalars({f"epoch/{name}": float(row[name]) for name in _TRAIN}, number)
        self._validation.scalars(
            {f"epoch/{tag}": float(row[name]) for name, tag in _VALIDATION.items()}, number
        )
        log.info(
            "epoch %d%s: loss %.4f, accuracy %.1f%%; validation: loss %.4f, accuracy %.2f%%; "
            "%.1f s",
            number,
            f" of {self._planned}" if self._planned else "",
            row["log_loss"],
            100 * row["accuracy"],
            row["validation_log_loss"],
            100 * row["validation_accuracy"],
            row["seconds"],
        )
        if self._progress and self._planned:
            self._progress("epochs", number, self._planned)

    def close(self) -> None:
        self._train.close()
        self._validation.close()

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
