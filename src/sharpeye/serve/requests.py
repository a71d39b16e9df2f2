"""What a request asks for, whichever protocol it came by."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.responses import Response

from sharpeye.core.types import InputSpec, Prediction
from sharpeye.predict.predictor import UnreadableImage
from sharpeye.serve.limits import RequestRefused

VERSION = "1"  # of the one model, where a protocol has versions

Pixels = npt.NDArray[np.uint8]
Answer = Prediction | UnreadableImage


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that is asked.

    Attributes:
        name: in addresses.
        input: of its graph.
        labels: in the order of its outputs.
        boxes: whether it is a localizer.
        unknown: whether it has unknown scores.
    """

    name: str
    input: InputSpec
    labels: tuple[str, ...]
    boxes: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One image to answer for.

    Attributes:
        name: how answers and errors call it.
        source: a file's bytes, or uint8[H,W,3] RGB or uint8[H,W] grey, 0..255.
    """

    name: str
    source: bytes | Pixels


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A request, understood.

    Attributes:
        items: its images; one that is known to be unreadable stands in its place.
        top: how many classes to name.
        reply: turns the answers, in the order of `items`, into the protocol's response.
    """

    items: list[ImageInput | UnreadableImage]
    top: int
    reply: Callable[[list[Answer]], Response]


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """JSON in ASCII: names may hold half a character, which UTF-8 cannot write."""
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def all_known(answers: list[Answer]) -> list[Prediction]:
    """The answers of a protocol that has no place for an error beside them.

    Raises:
        Refusal: an image cannot be read.
    """
    for answer in answers:
        if isinstance(answer, UnreadableImage):
            raise RequestRefused(400, f"cannot read {answer.path}: {answer.error}")
    return [answer for answer in answers if isinstance(answer, Prediction)]


def probabilities(answer: Prediction, labels: tuple[str, ...]) -> list[float]:
    """The probability of each class in the order of `labels`; `answer.top` must hold them all."""
    scores = dict(answer.top)
    return [scores[label] for label in labels]
