"""A prediction as the pages show it: a sentence, scores, a box, an image, a heat map."""

import base64
from typing import Any

from PIL import Image

from sharpeye.core.formatting import percent
from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode_with_size
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.predictor import Model
from sharpeye.studio.thumbnails import encode_jpeg

_MAX_SIDE = 1024  # Pixels of an image on the page.
_TOP_CLASSES = 5


def predict_for_page(model: Model, data: bytes, name: str) -> dict[str, Any]:
    """Predict one image.

    Args:
        data: the image's file.
        name: how errors call it.

    Returns:
        `label`, `score`, `top`, `box` (fractions 0..1 of the image, or None), `unknown`,
        `tells_unknown`, `sentence`, `name`.

    Raises:
        ImageReadError: the image cannot be read.
    """
    prediction = model.predict(data, top=_TOP_CLASSES)
    box = None
    if prediction.box is not None and prediction.size is not None:
        box = [edge / prediction.size[i % 2] for i, edge in enumerate(prediction.box)]
    return {
        "label": prediction.label,
        "score": prediction.score,
        "top": [{"label": label, "score": score} for label, score in prediction.top],
        "box": box,
        "unknown": bool(prediction.unknown),
        "tells_unknown": prediction.unknown is not None,
        "sentence": _sentence(prediction),
        "name": name,
    }


def _sentence(prediction: Prediction) -> str:
    """A prediction in plain words."""
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


def page_image(data: bytes, name: str) -> Image.Image:
    """An image as the pages show it: RGB, upright, at most `_MAX_SIDE` pixels a side.

    Raises:
        ImageReadError: it cannot be read.
    """
    # A JPEG is decoded at no less than twice the size given here.
    image, _ = decode_with_size(data, name, display_size=(_MAX_SIDE // 2, _MAX_SIDE // 2))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BICUBIC)
    return image


def heat_map_image(model: Model, data: bytes, name: str, *, label: str | None) -> Image.Image:
    """An image in grey under the heat map of a class; of the predicted class if none is given.

    Raises:
        ImageReadError: the image cannot be read.
        UsageError: the model does not know the class.
    """
    image = page_image(data, name)
    return colorize(image, model.explain(image, label).heat)


def data_url(image: Image.Image) -> str:
    """The image as a `data:` URL."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
