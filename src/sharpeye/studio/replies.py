"""A model's answer for one image, as the page shows it: in words, bars, a box, a heat map."""

import base64
import io
from typing import Any

from PIL import Image

from sharpeye.core.formatting import percent
from sharpeye.core.types import Prediction
from sharpeye.images.decode import decode
from sharpeye.images.heat_overlay import colorize
from sharpeye.predict.predictor import Model

# The longer side of an image on the page, in pixels.
_SIDE = 1024
_TOP = 5


def reply(model: Model, data: bytes, name: str) -> dict[str, Any]:
    """What a model says of an image.

    Args:
        data: the image's file.
        name: how errors call it.

    Returns:
        `label`, `score`, `top`, `box` (shares 0..1 of the image, or None), `unknown`, `sentence`.

    Raises:
        ImageReadError: the image cannot be read.
    """
    found = model.predict(data, top=_TOP)
    box = None
    if found.box is not None and found.size is not None:
        box = [edge / found.size[i % 2] for i, edge in enumerate(found.box)]
    return {
        "label": found.label,
        "score": found.score,
        "top": [{"label": label, "score": score} for label, score in found.top],
        "box": box,
        "unknown": bool(found.unknown),
        "tells_unknown": found.unknown is not None,
        "sentence": sentence(found),
        "name": name,
    }


def sentence(found: Prediction) -> str:
    """An answer in plain words."""
    sure = percent(found.score)
    if found.unknown:
        return (
            "Unknown: this looks like nothing that the model has learned. If it had to choose, it "
            f"would say {found.label} ({sure})."
        )
    if found.score >= 0.9:
        return f"This is {found.label}: {sure} sure."
    if found.score >= 0.6:
        return f"This is probably {found.label}: {sure} sure."
    rest = f", or {found.top[1][0]} ({percent(found.top[1][1])})" if len(found.top) > 1 else ""
    return f"Not sure: perhaps {found.label} ({sure}){rest}."


def shown(data: bytes, name: str) -> Image.Image:
    """An image as the page shows it: RGB, upright, not larger than a screen.

    Raises:
        ImageReadError: it cannot be read.
    """
    # A JPEG is decoded at twice this size or more.
    image = decode(data, name, display_size=(_SIDE // 2, _SIDE // 2))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return image


def heated(model: Model, data: bytes, name: str, label: str | None) -> Image.Image:
    """An image in grey under the heat map of a class; of the answer if none is given.

    Raises:
        ImageReadError: the image cannot be read.
        UsageError: the model does not know the class.
    """
    image = shown(data, name)
    return colorize(image, model.explain(image, label).heat)


def jpeg(image: Image.Image) -> bytes:
    """An image as JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def data_address(image: Image.Image) -> str:
    """An image as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode()
