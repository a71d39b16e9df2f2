"""TensorBoard's files as retrain.py wrote them: `train/` and `validation/`, with its tags.

Scalars come with every step, the four histograms with every look at validation: thirty buckets of
a thousand weights cost more than the step itself.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import make_folder, os_errors_at
from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.heads.sgd import BatchScores, SgdStep
from sharpeye.runs.events import EventWriter

log = logging.getLogger(__name__)

_LAYER = "final_training_ops"


class TrainingSummaries:
    """The two event files of a run."""

    def __init__(self, folder: Path) -> None:
        clear_events(folder)
        self._train = EventWriter(folder / "train")
        self._validation = EventWriter(folder / "validation")

    def graph(self, graph_def: bytes) -> None:
        """Add the network that is trained; see `GraphDefWriter.outline`."""
        self._train.graph(graph_def)

    def write(self, step: SgdStep) -> None:
        """Add what there is to know after one step."""
        parameters = _scalars("weights", step.weights) | _scalars("biases", step.bias)
        self._train.scalars(_look(step.batch) | parameters, step.number)
        if step.validation is None:
            return
        self._validation.scalars(_look(step.validation) | parameters, step.number)
        for writer, look in ((self._train, step.batch), (self._validation, step.validation)):
            for tag, values in (
                (f"{_LAYER}/weights/summaries/histogram", step.weights),
                (f"{_LAYER}/biases/summaries/histogram", step.bias),
                (f"{_LAYER}/Wx_plus_b/pre_activations", look.logits),
                ("activations", softmax(look.logits)),
            ):
                writer.histogram(tag, values, step.number)

    def close(self) -> None:
        self._train.close()
        self._validation.close()


def _look(look: BatchScores) -> dict[str, float]:
    return {"accuracy_1": look.accuracy, "cross_entropy_1": look.log_loss}


def _scalars(name: str, values: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    start = f"{_LAYER}/{name}/summaries"
    return {
        f"{start}/mean": float(values.mean()),
        f"{start}/stddev_1": float(values.std()),
        f"{start}/max": float(values.max()),
        f"{start}/min": float(values.min()),
    }


def clear_events(folder: Path) -> None:
    """Make room for new curves: delete old event files, if there is nothing else.

    Raises:
        EnvironmentFault: the folder cannot be made or changed.
    """
    make_folder(folder)
    with os_errors_at(folder):
        files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        strangers = [path for path in files if "tfevents" not in path.name]
        if strangers:
            log.warning(
                "%s holds more than event files, such as %s: nothing in it is deleted",
                folder,
                strangers[0].relative_to(folder),
            )
            return
        for path in files:
            path.unlink()
