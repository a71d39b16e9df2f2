"""A parsed request for predictions, whichever protocol it came by."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from sharpeye.core.arrays import Pixels
from sharpeye.core.types import InputSpec, Prediction
from sharpeye.predict.predictor import PredictResult, UnreadableImage
from sharpeye.serve.limits import RequestRefused

VERSION = "1"  # of the one model, where a protocol has versions


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the protocols need to know about the served model.

    Attributes:
        name: the model's name in URLs.
        input: the graph's input.
        class_names: in the order of the model's outputs.
        has_boxes: whether the model is a localizer.
        has_unknown_score: whether the model outputs unknown scores.
    """

    name: str
    input: InputSpec
    class_names: tuple[str, ...]
    has_boxes: bool = False
    has_unknown_score: bool = False


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One image of a request.

    Attributes:
        name: its name in responses and errors.
        source: a file's bytes, or uint8[H,W,3] RGB or uint8[H,W] grey, 0..255.
    """

    name: str
    source: bytes | Pixels


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A parsed request.

    Attributes:
        images: an image that is already known to be unreadable keeps its position.
        top: how many classes each prediction names.
        respond: turns the results, in the order of `images`, into the protocol's response.
    """

    images: list[ImageInput | UnreadableImage]
    top: int
    respond: Callable[[list[PredictResult]], Response]


def require_predictions(results: list[PredictResult]) -> list[Prediction]:
    """The predictions, for a protocol that cannot report an error for a single image.

    Raises:
        RequestRefused: an image cannot be read.
    """
    for result in results:
        if isinstance(result, UnreadableImage):
            raise RequestRefused(400, f"cannot read {result.path}: {result.error}")
    return [result for result in results if isinstance(result, Prediction)]


def class_probabilities(prediction: Prediction, class_names: tuple[str, ...]) -> list[float]:
    """Each class's probability, in the order of `class_names`; `prediction.top` must have all."""
    scores = dict(prediction.top)
    return [scores[name] for name in class_names]
