"""`POST /v1/predict`: SharpEye's own protocol, which says what `sharpeye predict` says.

A body is multipart/form-data with files, a JSON object with base64, or an image's bytes as they
are. An image that cannot be read is named in its place; the others are answered.
"""

from typing import Any

from starlette.responses import Response

from sharpeye.errors import near_match
from sharpeye.predict.predictor import UnreadableImage
from sharpeye.serve.forms import parse_form
from sharpeye.serve.json_values import from_base64, kind_of, parse_json
from sharpeye.serve.limits import RequestLimits, RequestRefused, check_count
from sharpeye.serve.requests import Answer, ImageInput, PredictRequest, json_response

_KEYS = ("image", "images", "top")
DEFAULT_TOP = 5


def read(body: bytes, content_type: str, top: str | None, limits: RequestLimits) -> PredictRequest:
    """Understand a request.

    Args:
        body: the whole body.
        content_type: the header's value; empty if there is none.
        top: of the query, if it has one; it goes before the body's.
        limits: `images` is used.

    Raises:
        Refusal: it cannot be understood, or is over a limit.
    """
    items: list[ImageInput | UnreadableImage]
    if content_type.split(";")[0].strip().lower() == "multipart/form-data":
        form = parse_form(body, content_type, limits.images)
        items = [ImageInput(name, data) for name, data in form.files]
        wanted: Any = form.fields.get("top")
    elif body.lstrip()[:1] == b"{":  # no image begins so; clients seldom send the right type
        items, wanted = _read_json(parse_json(body), limits)
    else:
        items, wanted = ([ImageInput("the picture", body)] if body else []), None
    check_count(len(items), limits)
    return PredictRequest(items, _whole(wanted if top is None else top), _reply)


def _read_json(
    raw: dict[str, Any], limits: RequestLimits
) -> tuple[list[ImageInput | UnreadableImage], Any]:
    for key in raw:
        if key not in _KEYS:
            raise RequestRefused(400, f"unknown key {key[:40]!r}. {near_match(key[:40], _KEYS)}")
    if ("image" in raw) == ("images" in raw):
        raise RequestRefused(
            400, 'the JSON must have one of "image": base64 and "images": [base64, ...]'
        )
    values = raw["images"] if "images" in raw else [raw["image"]]
    if not isinstance(values, list):
        raise RequestRefused(400, f'"images" must be a list. Received: {kind_of(values)}')
    check_count(len(values), limits)
    names = [f"images[{i}]" for i in range(len(values))] if "images" in raw else ["image"]
    return [_decoded(n, v) for n, v in zip(names, values, strict=True)], raw.get("top")


def _decoded(name: str, value: Any) -> ImageInput | UnreadableImage:
    try:
        return ImageInput(name, from_base64(value))
    except ValueError as error:
        return UnreadableImage(name, str(error))


def _whole(top: Any) -> int:
    if top is None:
        return DEFAULT_TOP
    text = str(top)
    if isinstance(top, bool) or not (text.isdecimal() and text.isascii() and 0 < len(text) < 7):
        raise RequestRefused(
            400, f"top must be a whole number of at least 1. Received: {text[:40]!r}"
        )
    return max(1, int(text))


def _reply(answers: list[Answer]) -> Response:
    """200 if any image is answered, 422 if none could be read."""
    lines = [_line(answer) for answer in answers]
    unread = [a for a in answers if isinstance(a, UnreadableImage)]
    if len(unread) < len(answers):
        return json_response({"predictions": lines})
    what = unread[0].path if len(unread) == 1 else f"any of the {len(unread)} pictures"
    error = f"cannot read {what}: {unread[0].error}"
    return json_response({"error": error, "predictions": lines}, 422)


def _line(answer: Answer) -> dict[str, Any]:
    line = dict(answer.to_dict())
    return {"name": line.pop("path"), **line}
