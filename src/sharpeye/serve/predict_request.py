"""The served model, and a parsed request for its predictions in any protocol."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL.Image import Image
from starlette.responses import Response

from sharpeye.core.types import Prediction
from sharpeye.predict.predictor import Model, PredictResult, UnreadableImage
from sharpeye.serve.limits import RequestLimits, RequestRefused

VERSION = "1"  # the model's version, in protocols with versions


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, its name in URLs, and the limits of a request to it."""

    name: str
    model: Model
    limits: RequestLimits


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One image of a request: a file's bytes, or an image of mode RGB."""

    name: str
    source: bytes | Image


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A parsed request; an image that proved unreadable keeps its position.

    `respond` turns the results, in the order of `images`, into the protocol's response.
    """

    images: list[ImageInput | UnreadableImage]
    top: int
    respond: Callable[[list[PredictResult]], Response]


def require_predictions(
    results: list[PredictResult], model: Model
) -> tuple[list[Prediction], list[list[float]]]:
    """The predictions, and each image's probabilities in the order of the model's classes.

    This is for protocols that cannot report an error for a single image.

    Raises:
        RequestRefused: an image cannot be read.
    """
    predictions, probs = [], []
    for result in results:
        if isinstance(result, UnreadableImage):
            raise RequestRefused(400, f"cannot read {result.path}: {result.error}")
        scores = dict(result.top)  # of all classes
        predictions.append(result)
        probs.append([scores[label] for label in model.labels])
    return predictions, probs
