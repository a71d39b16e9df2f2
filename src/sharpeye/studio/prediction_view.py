"""Format predictions of finished runs for the pages: a sentence, scores, a box, a heat map."""

import base64
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from sharpeye.artefact.manifest import MANIFEST_FILE, MODEL_FILE
from sharpeye.artefact.session import open_model
from sharpeye.core.formatting import percent
from sharpeye.core.inference import available_cores
from sharpeye.core.types import Box, Prediction
from sharpeye.images.boxes import from_pixels
from sharpeye.images.decode import decode_with_size
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.predictor import Model
from sharpeye.studio.thumbnails import encode_jpeg, file_version

_MAX_MODELS = 3  # Each model takes about 20 to 100 MB.
_MAX_SIDE = 1024  # Pixels of an image on the page.


class ModelCache:
    """Open models; the least recently used is closed first. Safe from several threads.

    A run that was trained again in the same folder counts as another model, by its files' versions.
    """

    def __init__(self, max_models: int = _MAX_MODELS) -> None:
        self._lock = threading.Lock()
        self._open = lru_cache(maxsize=max_models)(_open_model)

    def open(self, run: Path) -> Model:
        """The model of a finished run, or of an `.onnx` file; for errors see `open_model`."""
        run = run.resolve()
        files = [run] if run.is_file() else [run / MODEL_FILE, run / MANIFEST_FILE]
        with self._lock:  # Held while a model opens, so that two tabs get the same one.
            return self._open(run, tuple(map(file_version, files)))


def _open_model(run: Path, versions: tuple[str, ...]) -> Model:
    return Model(open_model(run, threads=available_cores()))


def predict_for_page(model: Model, data: bytes, name: str) -> dict[str, Any]:
    """The page's JSON for the bytes of an image file; errors contain its name."""
    prediction = model.predict(data, top=5)
    return {
        "label": prediction.label,
        "score": prediction.score,
        "top": [{"label": label, "score": score} for label, score in prediction.top],
        "box": box_fractions(prediction),
        "unknown": bool(prediction.unknown),
        "tells_unknown": prediction.unknown is not None,
        "sentence": _sentence(prediction),
        "name": name,
    }


def box_fractions(prediction: Prediction) -> Box | None:
    """The predicted box in fractions 0..1 of the image, if there is one."""
    if prediction.box is None or prediction.size is None:
        return None
    return from_pixels(prediction.box, prediction.size)


def _sentence(prediction: Prediction) -> str:
    label, sure, top = prediction.label, percent(prediction.score), prediction.top
    if prediction.unknown:
        return (
            "Unknown: this looks like nothing that the model has learned. If it had to choose, it "
            f"would say {label} ({sure})."
        )
    if prediction.score >= 0.9:
        return f"This is {label}: {sure} sure."
    if prediction.score >= 0.6:
        return f"This is probably {label}: {sure} sure."
    second = f", or {top[1][0]} ({percent(top[1][1])})" if len(top) > 1 else ""
    return f"Not sure: perhaps {label} ({sure}){second}."


def page_image(data: bytes, name: str, bit_depth: int | None = None) -> Image.Image:
    """An image for the pages: RGB, upright, at most `_MAX_SIDE` pixels a side.

    `bit_depth` is that of the model to which it is shown.
    """
    # A JPEG is decoded at at least twice this size.
    half = _MAX_SIDE // 2
    image, _ = decode_with_size(data, name, display_size=(half, half), bit_depth=bit_depth)
    image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BICUBIC)
    return image


def heat_map_image(model: Model, data: bytes, name: str, *, label: str | None) -> Image.Image:
    """A grey image under the heat map of a class, by default of the predicted class."""
    image = page_image(data, name, model.input.bit_depth)
    return colorize(image, model.explain(image, label).heat)


def data_url(image: Image.Image) -> str:
    """The image as a `data:` URL."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
