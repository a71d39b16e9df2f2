"""SharpEye's own protocol: `POST /v1/predict`, with the output of `sharpeye predict`, and a page.

A body is multipart/form-data with files, a JSON object with base64, or one image file's bytes.
An unreadable image gets an error in its position; the others are predicted.
"""

from html import escape
from typing import Any

from starlette.responses import Response

from sharpeye.core.version import __version__
from sharpeye.errors import near_match
from sharpeye.predict.predictor import PredictResult, UnreadableImage
from sharpeye.serve.forms import parse_form
from sharpeye.serve.limits import RequestLimits, RequestRefused, check_image_count
from sharpeye.serve.predict_request import ImageInput, PredictRequest, ServedModel
from sharpeye.serve.request_values import json_type, parse_json, text_to_bytes
from sharpeye.serve.responses import error_response, json_response

_KEYS = ("image", "images", "top")


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
        images = [_decode_text(name, data) for name, data in form.files]
        body_top = form.fields.get("top")
    elif body.lstrip()[:1] == b"{":  # no image begins so; clients seldom send the right type
        content = parse_json(body)
        images, body_top = _parse_images(content, limits), content.get("top")
    else:
        images = [_decode_text("the image", body)] if body else []
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
        return ImageInput(name, text_to_bytes(value))
    except ValueError as error:
        return UnreadableImage(name, str(error))


def _decode_text(name: str, data: bytes) -> ImageInput | UnreadableImage:
    """A file's bytes, which may be a `data:` URL, as a canvas of a web page gives it."""
    if data[:100].lstrip()[:5].lower() == b"data:":
        return _decode_image(name, data.decode("latin-1"))
    return ImageInput(name, data)


def _parse_top(top: Any) -> int:
    if top is None:
        return 5
    text = str(top)
    if isinstance(top, bool) or not (text.isdecimal() and text.isascii() and 0 < len(text) < 7):
        raise RequestRefused(
            400, f"top must be a whole number of at least 1. Received: {text[:40]!r}"
        )
    return max(1, int(text))


def _respond(results: list[PredictResult]) -> Response:
    """Respond with 200 if any image was readable, else with 422."""
    predictions = []
    for result in results:
        values: dict[str, Any] = dict(result.to_dict())
        predictions.append({"name": values.pop("path"), **values})
    unreadable = [result for result in results if isinstance(result, UnreadableImage)]
    if len(unreadable) < len(results):
        return json_response({"predictions": predictions})
    names = unreadable[0].path if len(unreadable) == 1 else f"any of the {len(results)} images"
    message = f"cannot read {names}: {unreadable[0].error}"
    return error_response(message, 422, predictions=predictions)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name} - SharpEye</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto }}
pre {{ background: #f3f3f3; color: #222; padding: .8rem; overflow-x: auto }}
td {{ padding: .1rem 1rem .1rem 0 }}
</style></head><body>
<h1>{name}</h1>
<p>An image classifier of {count} classes ({model}, {width} x {height} pixels), served by
SharpEye {version}.</p>
<pre>curl -F file=@image.jpg {root}v1/predict</pre>
<table>
<tr><td><code>POST /v1/predict</code></td><td>files, base64 or an image's bytes</td></tr>
<tr><td><code>POST /v1/models/{name}:predict</code></td><td>TensorFlow Serving</td></tr>
<tr><td><code>POST /v2/models/{name}/infer</code></td><td>KServe and Triton</td></tr>
<tr><td><a href="openapi.json"><code>/openapi.json</code></a></td><td>for machines</td></tr>
<tr><td><a href="metrics"><code>/metrics</code></a></td><td>counts for Prometheus</td></tr>
<tr><td><a href="healthz"><code>/healthz</code></a></td><td>whether the server lives</td></tr>
</table>
<h2>Classes</h2>
<p>{class_names}</p>
</body></html>
"""
_MAX_LISTED_CLASSES = 1000


def front_page(served: ServedModel, base_url: str) -> str:
    """The page at `/`, which has no scripts and loads nothing; `base_url` ends with a slash."""
    model = served.model
    class_names = ", ".join(escape(label) for label in model.labels[:_MAX_LISTED_CLASSES])
    omitted = len(model.labels) - _MAX_LISTED_CLASSES
    return _PAGE.format(
        name=escape(served.name),
        count=f"{len(model.labels):,}",
        model=escape(model.manifest.model or "a network"),
        width=model.input.width,
        height=model.input.height,
        version=__version__,
        root=escape(base_url),
        class_names=class_names + (f" and {omitted:,} more" if omitted > 0 else ""),
    )
