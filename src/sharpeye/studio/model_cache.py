"""Keep the last few models open, so that a prediction need not load one."""

import threading
from collections import OrderedDict
from pathlib import Path

from sharpeye.artefact.manifest import MANIFEST_FILE, MODEL_FILE
from sharpeye.artefact.session import open_model
from sharpeye.core.inference import available_cores
from sharpeye.predict.predictor import Model

_MAX_MODELS = 3  # Each takes some 20 to 100 MB.


class ModelCache:
    """Open models by the folder of their run; the least recently used is closed first.

    A run that was trained again in the same folder is another model: its files' times differ.
    Safe from several threads.
    """

    def __init__(self, max_models: int = _MAX_MODELS) -> None:
        self._max_models = max_models
        self._lock = threading.Lock()
        self._models: OrderedDict[tuple[Path, int, int], Model] = OrderedDict()

    def open(self, run: Path) -> Model:
        """The model of a finished run, or of an `.onnx` file.

        Raises:
            UsageError: there is no model.
            ModelError: it is damaged, changed, or not SharpEye's.
        """
        run = run.resolve()
        key = (run, _modified_ns(run / MODEL_FILE), _modified_ns(run / MANIFEST_FILE))
        with self._lock:  # Also while a model opens: two tabs that ask get the same one.
            if key not in self._models:
                self._models[key] = Model(open_model(run, threads=available_cores()))
            self._models.move_to_end(key)
            while len(self._models) > self._max_models:
                self._models.popitem(last=False)
            return self._models[key]


def _modified_ns(file: Path) -> int:
    if file.parent.is_file():  # The path is that of a model file, not of a run.
        file = file.parent
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
