"""`POST /v1/predict`: SharpEye's own protocol, with the output of `sharpeye predict`.

A body is multipart/form-data with files, a JSON object with base64, or one image file's bytes.
An image that cannot be read gets an error in its place; the others are predicted.
"""

from typing import Any

from starlette.responses import Response

from sharpeye.errors import near_match
from sharpeye.predict.predictor import PredictResult, UnreadableImage
from sharpeye.serve.forms import parse_form
from sharpeye.serve.limits import RequestLimits, RequestRefused, check_image_count
from sharpeye.serve.predict_request import ImageInput, PredictRequest, ServedModel
from sharpeye.serve.request_values import decode_base64, json_type, parse_json
from sharpeye.serve.responses import json_response

_KEYS = ("image", "images", "top")
DEFAULT_TOP = 5


def parse(
    body: bytes, served: ServedModel, *, content_type: str, top: str | None
) -> PredictRequest:
    """Parse a request, whose query's `top` takes precedence over the body's.

    Raises:
        RequestRefused: not a valid request, or over a limit.
    """
    images: list[ImageInput | UnreadableImage]
    limits = served.limits
    body_top: Any = None
    if content_type.split(";")[0].strip().lower() == "multipart/form-data":
        form = parse_form(body, content_type, limits.images)
        images = [ImageInput(name, data) for name, data in form.files]
        body_top = form.fields.get("top")
    elif body.lstrip()[:1] == b"{":  # no image begins so; clients seldom send the right type
        content = parse_json(body)
        images, body_top = _parse_images(content, limits), content.get("top")
    else:
        images = [ImageInput("the picture", body)] if body else []
    check_image_count(len(images), limits)
    return PredictRequest(images, _parse_top(body_top if top is None else top), _respond)


def _parse_images(
    content: dict[str, Any], limits: RequestLimits
) -> list[ImageInput | UnreadableImage]:
    for key in content:
        if key not in _KEYS:
            raise RequestRefused(400, f"unknown key {key[:40]!r}. {near_match(key[:40], _KEYS)}")
    if ("image" in content) == ("images" in content):
        raise RequestRefused(
            400, 'the JSON must have one of "image": base64 and "images": [base64, ...]'
        )
    if "image" in content:
        return [_decode_image("image", content["image"])]
    values = content["images"]
    if not isinstance(values, list):
        raise RequestRefused(400, f'"images" must be a list. Received: {json_type(values)}')
    check_image_count(len(values), limits)
    return [_decode_image(f"images[{i}]", value) for i, value in enumerate(values)]


def _decode_image(name: str, value: Any) -> ImageInput | UnreadableImage:
    try:
        return ImageInput(name, decode_base64(value))
    except ValueError as error:
        return UnreadableImage(name, str(error))


def _parse_top(top: Any) -> int:
    if top is None:
        return DEFAULT_TOP
    text = str(top)
    if isinstance(top, bool) or not (text.isdecimal() and text.isascii() and 0 < len(text) < 7):
        raise RequestRefused(
            400, f"top must be a whole number of at least 1. Received: {text[:40]!r}"
        )
    return max(1, int(text))


def _respond(results: list[PredictResult]) -> Response:
    """Status 200 if any image was read, else 422."""
    predictions = []
    for result in results:
        values: dict[str, Any] = dict(result.to_dict())
        predictions.append({"name": values.pop("path"), **values})
    unreadable = [result for result in results if isinstance(result, UnreadableImage)]
    if len(unreadable) < len(results):
        return json_response({"predictions": predictions})
    names = unreadable[0].path if len(unreadable) == 1 else f"any of the {len(results)} pictures"
    error = f"cannot read {names}: {unreadable[0].error}"
    return json_response({"error": error, "predictions": predictions}, 422)
