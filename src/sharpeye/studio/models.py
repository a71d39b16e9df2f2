"""Opened models of finished runs: a few are kept, so that an answer takes no loading."""

import threading
from collections import OrderedDict
from pathlib import Path

from sharpeye.artefact.manifest import MANIFEST_FILE, MODEL_FILE
from sharpeye.artefact.session import open_model
from sharpeye.core.inference import available_cores
from sharpeye.core.types import Box
from sharpeye.images.decode import read_file
from sharpeye.predict.predictor import Model

_MOST = 3  # some 20 to 100 MB each


class Models:
    """Models by the folder of their run, the latest used are kept. Safe from several threads.

    A run that was trained anew in the same folder is another model: its files' times differ.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Path, int, int], Model] = OrderedDict()

    def open(self, run: Path) -> Model:
        """The model of a finished run, or of an `.onnx` file.

        Raises:
            UsageError: nothing is there.
            ModelError: it is damaged, changed, or not SharpEye's.
        """
        run = run.resolve()
        key = (run, _modified(run / MODEL_FILE), _modified(run / MANIFEST_FILE))
        with self._lock:  # also while it is being opened: two tabs that ask get the same
            if key not in self._open:
                self._open[key] = Model(open_model(run, threads=available_cores()))
            self._open.move_to_end(key)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
            return self._open[key]

    def close(self) -> None:
        """Let go of all of them."""
        with self._lock:
            self._open.clear()

    def suggest(self, run: Path, path: Path) -> list[tuple[str, Box, float]]:
        """What a localizer would draw on an image: (class, box, score 0..1), the best first.

        Returns:
            nothing if the model finds no boxes, or calls the image unknown.

        Raises:
            ImageReadError: the image cannot be read.
            UsageError, ModelError: see `open`.
        """
        model = self.open(run)
        if not model.localizes:
            return []
        found = model.predict(read_file(path, path.name), top=1)
        if found.box is None or found.size is None or found.unknown:
            return []
        width, height = found.size
        left, top, right, bottom = found.box
        return [
            (found.label, (left / width, top / height, right / width, bottom / height), found.score)
        ]


def _modified(file: Path) -> int:
    if file.parent.is_file():  # it is the model itself that was given
        file = file.parent
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
