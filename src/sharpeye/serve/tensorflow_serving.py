"""TensorFlow Serving's REST protocol: predict, status and metadata.

Source: tensorflow/serving, g3doc/api_rest.md. KServe's protocol v1 has the same `predict`.
There is one signature, so `signature_name` is ignored. Images are base64 of their files, or nested
lists of pixels of any size. What the pixels' values mean, the keys `value_range` and `data_format`
beside `instances` say where it is not clear (see `pixel_inputs`).
"""

from typing import Any

from starlette.responses import Response

from sharpeye.predict.predictor import PredictResult
from sharpeye.serve.limits import RequestRefused, check_image_count
from sharpeye.serve.pixel_inputs import PixelFormat
from sharpeye.serve.predict_request import (
    VERSION,
    ImageInput,
    PredictRequest,
    ServedModel,
    require_predictions,
)
from sharpeye.serve.request_values import json_type, parse_json, text_to_bytes
from sharpeye.serve.responses import json_response
from sharpeye.serve.tensor_values import lists_to_array


def parse(body: bytes, served: ServedModel) -> PredictRequest:
    """Parse a `:predict` request.

    Raises:
        RequestRefused: not a valid request, or over a limit.
    """
    content = parse_json(body)
    if ("instances" in content) == ("inputs" in content):
        raise RequestRefused(
            400, 'the JSON must have one of "instances" (rows) and "inputs" (columns)'
        )
    key = "instances" if "instances" in content else "inputs"
    values = content[key] if key == "instances" else _unwrap_column(content[key])
    if not isinstance(values, list):
        raise RequestRefused(400, f'"{key}" must hold a list. Received: {json_type(values)}')
    check_image_count(len(values), served.limits)
    pixels = PixelFormat.from_parameters(content)
    images = [_parse_image(value, f"{key}[{i}]", served, pixels) for i, value in enumerate(values)]

    def respond(results: list[PredictResult]) -> Response:
        predictions, probs = require_predictions(results, served.model)
        if not served.model.localizes:  # a single output has no name
            return json_response({"predictions" if key == "instances" else "outputs": probs})
        boxes = [prediction.box for prediction in predictions]
        if key == "inputs":
            return json_response({"outputs": {"probs": probs, "box": boxes}})
        return json_response(
            {"predictions": [{"probs": p, "box": b} for p, b in zip(probs, boxes, strict=True)]}
        )

    return PredictRequest(list(images), len(served.model.labels), respond)


def _unwrap_column(value: Any) -> Any:
    """The one input of a columnar request, with or without its name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        return [value] if name == "b64" else value[name]
    return value


def _parse_image(value: Any, name: str, served: ServedModel, pixels: PixelFormat) -> ImageInput:
    """An image from `{"b64": text}`, the text alone, pixels as nested lists, or one of these under
    the name of the input: `{"image_bytes": {"b64": text}}`.
    """
    if isinstance(value, dict) and len(value) == 1 and "b64" not in value:
        (value,) = value.values()
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    try:
        if isinstance(value, str):
            pixels.check_unused(name)
            return ImageInput(name, text_to_bytes(value))
        if isinstance(value, list):
            return pixels.to_input(lists_to_array(value), name, served)
    except ValueError as error:
        raise RequestRefused(400, f"{name}: {error}") from None
    raise RequestRefused(
        400,
        f'{name} must be {{"b64": ...}} or pixels as nested lists. Received: {json_type(value)}',
    )


def status() -> dict[str, Any]:
    """GetModelStatusResponse."""
    ok = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": ok}]}


def metadata(served: ServedModel) -> dict[str, Any]:
    """GetModelMetadataResponse."""

    def tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
        dim = [{"size": str(size), "name": ""} for size in (-1, *shape)]
        return {
            "dtype": dtype,
            "tensor_shape": {"dim": dim, "unknown_rank": False},
            "name": f"{name}:0",
        }

    model, spec = served.model, served.model.input
    outputs = {"probs": tensor("probs", "DT_FLOAT", len(model.labels))}
    if model.localizes:
        outputs["box"] = tensor("box", "DT_FLOAT", 4)
    signature = {
        "inputs": {"image": tensor("image", "DT_UINT8", spec.height, spec.width, spec.channels)},
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": served.name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
