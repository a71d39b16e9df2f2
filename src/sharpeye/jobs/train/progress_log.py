"""Report the epochs of a running training: `history.csv`, TensorBoard's curves, a log line."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from sharpeye.core.tables import read_table
from sharpeye.jobs.train.context import TrainContext
from sharpeye.learn.nets.loop import EpochRow
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.runs import layout
from sharpeye.runs.events import EventWriter

log = logging.getLogger(__name__)

_MAX_IMAGES = 16
_CURVES = ("log_loss", "accuracy", "mean_iou", "loss", "learning_rate")
# The text of a log line about a split, by column.
_LOGGED = {"log_loss": "loss {:.4f}", "accuracy": "accuracy {:.2%}", "mean_iou": "mean IoU {:.3f}"}


class ProgressLog:
    """Writes each epoch into the run directory when it ends. Use as a context manager.

    Args:
        stage: the stage in the rows: `train`, `box` or `fine-tune`.
        epochs: the planned number; 0 if a time limit decides.
        history: rows of the earlier stages. In a resumed run, the rows of this stage in
            `history.csv` follow.
    """

    def __init__(
        self, context: TrainContext, *, stage: str, epochs: int, history: Sequence[EpochRow] = ()
    ) -> None:
        self._run_dir, self._progress, self._epochs = context.run_dir, context.progress, epochs
        self._observers, self._stage = context.observers, stage
        file = self._run_dir.file(layout.HISTORY)
        earlier = read_table(file) if self._run_dir.resumed and file.exists() else []
        self._history: list[EpochRow] = [*history]
        self._history += [row for row in earlier if row.get("stage") == stage]
        folder = self._run_dir.file(layout.TENSORBOARD)
        # A resumed stage writes its curves anew: points after the last checkpoint come once more.
        for file in folder.glob(f"*/*.{stage}"):
            file.unlink()
        self._train = EventWriter(folder / "train", f".{stage}")
        self._validation = EventWriter(folder / "validation", f".{stage}")
        self._has_earlier_points = False

    def images(self, arrays: TrainingArrays) -> None:
        """Show some training images as input to the network."""
        indices = arrays.indices["train"]
        count = min(_MAX_IMAGES, len(indices))
        chosen = indices[np.linspace(0, len(indices) - 1, count).astype(int)]
        for number, index in enumerate(chosen):
            self._train.image(f"pictures/{number:02d}", np.asarray(arrays.pixels[index]), 0)

    def graph(self, graph_def: bytes) -> None:
        """Show the network, as a serialized TensorFlow GraphDef."""
        self._train.graph(graph_def)

    def trained_images(self, done: int, total: int) -> None:
        """Report how many of the images of all epochs were trained on."""
        if self._progress:
            self._progress("training", done, total)

    def epoch(self, row: EpochRow) -> None:
        """Record an epoch. A run with a checkpoint keeps its files when it is stopped."""
        number = int(row["epoch"])
        # Epochs after the last checkpoint are trained again.
        self._history = [
            earlier
            for earlier in self._history
            if earlier.get("stage") != row["stage"] or int(earlier.get("epoch") or 0) < number
        ]
        self._add_earlier_points()
        self._history.append(row)
        self._run_dir.write_history(self._history)
        train, validation = self._add_points(row)
        log.info(
            "epoch %d%s: %s; validation: %s; %.1f s",
            number,
            f" of {self._epochs}" if self._epochs else "",
            _format(train),
            _format(validation),
            row["seconds"],
        )
        self._run_dir.keep |= self._run_dir.file(layout.CHECKPOINTS).exists()
        for observer in self._observers:  # One that raises ends the training.
            observer.on_epoch_end(row)

    def _add_earlier_points(self) -> None:
        """Add the epochs before the first new one to the curves."""
        if not self._has_earlier_points:
            for row in self._history:
                if row.get("stage") == self._stage:
                    self._add_points(row)
        self._has_earlier_points = True

    def _add_points(self, row: EpochRow) -> tuple[dict[str, float], dict[str, float]]:
        """Add an epoch to the curves; returns its values of the training and of the validation."""
        missing = (None, "")  # an empty cell of a resumed history
        train = {name: float(row[name]) for name in _CURVES if row.get(name) not in missing}
        names = [name for name in train if row.get(f"validation_{name}") not in missing]
        validation = {name: float(row[f"validation_{name}"]) for name in names}
        # TensorBoard shows the curves of a box head separately from those of a whole network.
        tag = "box" if row["stage"] == "box" else "epoch"
        for writer, values in ((self._train, train), (self._validation, validation)):
            points = {f"{tag}/{name}": value for name, value in values.items()}
            writer.scalars(points, int(row["epoch"]))
        return train, validation

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(self, *_: object) -> None:
        with self._train, self._validation:
            self._add_earlier_points()  # No epoch may have been left.


def _format(values: Mapping[str, float]) -> str:
    return ", ".join(text.format(values[key]) for key, text in _LOGGED.items() if key in values)
