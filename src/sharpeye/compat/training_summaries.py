"""Write TensorBoard's files as retrain.py did: `train/` and `validation/`, with its tags.

Scalars are written at every step, the four histograms at every validation: thirty buckets of a
thousand weights cost more than the step itself.
"""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.arrays import Floats
from sharpeye.core.numerics import softmax
from sharpeye.core.storage import make_folder, os_errors_at, temporary_name
from sharpeye.learn.heads.sgd import BatchScores, SgdStep
from sharpeye.runs.events import EventWriter

log = logging.getLogger(__name__)

_LAYER = "final_training_ops"


class TrainingSummaries:
    """The two event files of a run; those of an earlier one move away.

    Raises:
        EnvironmentFault: the folder cannot be created or changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._earlier = _move_events_away(folder)
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
            for tag, values in (
                (f"{_LAYER}/weights/summaries/histogram", step.weights),
                (f"{_LAYER}/biases/summaries/histogram", step.bias),
                (f"{_LAYER}/Wx_plus_b/pre_activations", scores.logits),
                ("activations", softmax(scores.logits)),
            ):
                writer.histogram(tag, values, step.number)

    def close(self) -> None:
        self._train.close()
        self._validation.close()

    def finish(self, *, is_complete: bool) -> None:
        """Delete the earlier event files, or these ones and restore the earlier."""
        self.close()
        if not is_complete:
            with os_errors_at(self._folder):
                for writer in (self._train, self._validation):
                    writer.path.unlink(missing_ok=True)
                if self._earlier:
                    _move(_files(self._earlier), self._earlier, self._folder)
        if self._earlier:
            shutil.rmtree(self._earlier, ignore_errors=True)


def _batch_scalars(scores: BatchScores) -> dict[str, float]:
    return {"accuracy_1": scores.accuracy, "cross_entropy_1": scores.log_loss}


def _parameter_scalars(name: str, values: Floats) -> dict[str, float]:
    prefix = f"{_LAYER}/{name}/summaries"
    return {
        f"{prefix}/mean": float(values.mean()),
        f"{prefix}/stddev_1": float(values.std()),
        f"{prefix}/max": float(values.max()),
        f"{prefix}/min": float(values.min()),
    }


def _move_events_away(folder: Path) -> Path | None:
    """Move old event files into a hidden folder beside it, unless the folder also holds others."""
    make_folder(folder)
    with os_errors_at(folder):
        files = _files(folder)
        others = [path.relative_to(folder) for path in files if "tfevents" not in path.name]
        if others:
            message = "%s holds more than event files, such as %s: nothing in it is deleted"
            log.warning(message, folder, others[0])
            return None
        if not files:
            return None
        hidden = folder.with_name(temporary_name())
        _move(files, folder, hidden)
    return hidden


def _move(files: Iterable[Path], source: Path, target: Path) -> None:
    for file in files:
        moved = target / file.relative_to(source)
        moved.parent.mkdir(parents=True, exist_ok=True)
        file.rename(moved)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
