"""Write TensorBoard's files as retrain.py did: `train/` and `validation/`, with its tags.

Scalars are written at every step, the four histograms at every validation: thirty buckets of a
thousand weights cost more than the step itself.
"""

import logging
import math
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.storage import make_folder, os_errors_at
from sharpeye.core.temporaries import TEMPORARY_PREFIX
from sharpeye.learn.heads.sgd import BatchScores, SgdStep
from sharpeye.runs.events import EventWriter

log = logging.getLogger(__name__)

_LAYER = "final_training_ops"
# No temporary name: the files of an earlier run outlive a process that is killed.
_HIDDEN_PREFIX = ".sharpeye-earlier-"


class TrainingSummaries:
    """The two event files of a run; those of an earlier one are hidden until it is finished.

    Raises:
        EnvironmentFault: the folder cannot be created or changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._earlier = _hide_events(folder)
        self._train = EventWriter(folder / "train")
        self._validation = EventWriter(folder / "validation")

    def graph(self, graph_def: bytes) -> None:
        """Add the network's graph; see `GraphDefWriter.outline`."""
        self._train.graph(graph_def)

    def write(self, step: SgdStep) -> None:
        """Add the curves and histograms of one step."""
        parameters = _parameter_scalars("weights", step.weights)
        parameters |= _parameter_scalars("biases", step.bias)
        self._train.scalars(_batch_scalars(step.batch) | parameters, step.number)
        if step.validation is None:
            return
        self._validation.scalars(_batch_scalars(step.validation) | parameters, step.number)
        for writer, scores in ((self._train, step.batch), (self._validation, step.validation)):
            histograms = {
                f"{_LAYER}/weights/summaries/histogram": step.weights,
                f"{_LAYER}/biases/summaries/histogram": step.bias,
                f"{_LAYER}/Wx_plus_b/pre_activations": scores.logits,
                "activations": scores.probs,
            }
            writer.histograms(histograms, step.number)

    def close(self) -> None:
        self._train.close()
        self._validation.close()

    def finish(self, *, is_complete: bool) -> None:
        """Delete the earlier event files, or these ones and restore the earlier."""
        self.close()
        with os_errors_at(self._folder):
            if not is_complete:
                for writer in (self._train, self._validation):
                    writer.path.unlink(missing_ok=True)
            for file, hidden in self._earlier.items():
                if is_complete:
                    hidden.unlink(missing_ok=True)
                else:
                    hidden.rename(file)


def _batch_scalars(scores: BatchScores) -> dict[str, float]:
    return {"accuracy_1": scores.accuracy, "cross_entropy_1": scores.log_loss}


def _parameter_scalars(name: str, values: Floats) -> dict[str, float]:
    prefix, numbers = f"{_LAYER}/{name}/summaries", values.ravel()
    mean = float(np.add.reduce(numbers)) / numbers.size
    centered = numbers - np.float32(mean)
    return {
        f"{prefix}/mean": mean,
        # `numpy.std` takes twice as long, at each of thousands of steps.
        f"{prefix}/stddev_1": math.sqrt(float(centered @ centered) / numbers.size),
        f"{prefix}/max": float(np.maximum.reduce(numbers)),
        f"{prefix}/min": float(np.minimum.reduce(numbers)),
    }


def _hide_events(folder: Path) -> dict[Path, Path]:
    """Give old event files hidden names, under which TensorBoard does not see them.

    If a run was killed after it had done so, its own files are deleted, and those that it has
    hidden are still the earlier ones. Nothing is changed if the folder also holds others.

    Returns:
        the hidden name of each.
    """
    make_folder(folder)
    with os_errors_at(folder):
        files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        stale = [path for path in files if path.name.startswith(TEMPORARY_PREFIX)]
        hidden = {
            path.with_name(path.name.removeprefix(_HIDDEN_PREFIX)): path
            for path in files
            if path.name.startswith(_HIDDEN_PREFIX)
        }
        events = [path for path in files if "tfevents" in path.name and path not in hidden.values()]
        others = set(files) - set(stale) - set(events) - set(hidden.values())
        if others:
            message = "%s holds more than event files, such as %s: nothing in it is deleted"
            log.warning(message, folder, min(others).relative_to(folder))
            return {}
        for path in (*stale, *(events if hidden else ())):
            path.unlink()
        if not hidden:
            hidden = {path: path.with_name(_HIDDEN_PREFIX + path.name) for path in events}
            for path, name in hidden.items():
                path.rename(name)
    return hidden
