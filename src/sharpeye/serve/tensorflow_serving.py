"""TensorFlow Serving's REST protocol: predict, status and metadata.

Source: tensorflow/serving, g3doc/api_rest.md. KServe's protocol v1 is the same in `predict`.
There is one signature, so `signature_name` is not looked at. Images come as base64 of their
files, or as nested lists of pixels 0..255 of any size.
"""

from typing import Any

from starlette.responses import Response

from sharpeye.serve.json_values import image_of, kind_of, parse_json
from sharpeye.serve.limits import RequestLimits, RequestRefused, check_count
from sharpeye.serve.requests import (
    VERSION,
    Answer,
    ModelInfo,
    PredictRequest,
    all_known,
    json_response,
    probabilities,
)


def read(body: bytes, about: ModelInfo, limits: RequestLimits) -> PredictRequest:
    """Understand a `:predict` request.

    Raises:
        Refusal: it cannot be understood, or is over a limit.
    """
    raw = parse_json(body)
    if ("instances" in raw) == ("inputs" in raw):
        raise RequestRefused(
            400, 'the JSON must have one of "instances" (rows) and "inputs" (columns)'
        )
    key = "instances" if "instances" in raw else "inputs"
    values = raw[key] if key == "instances" else _column(raw[key])
    if not isinstance(values, list):
        raise RequestRefused(400, f'"{key}" must hold a list. Received: {kind_of(values)}')
    check_count(len(values), limits)
    items = [image_of(value, f"{key}[{i}]") for i, value in enumerate(values)]

    def reply(answers: list[Answer]) -> Response:
        known = all_known(answers)
        rows = [probabilities(one, about.labels) for one in known]
        if not about.boxes:  # one named output goes without its name
            return json_response({"predictions" if key == "instances" else "outputs": rows})
        boxes = [one.box for one in known]
        if key == "inputs":
            return json_response({"outputs": {"probs": rows, "box": boxes}})
        return json_response(
            {"predictions": [{"probs": p, "box": b} for p, b in zip(rows, boxes, strict=True)]}
        )

    return PredictRequest(list(items), len(about.labels), reply)


def _column(value: Any) -> Any:
    """The one input of a columnar request, with or without its name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        return [value] if name == "b64" else value[name]
    return value


def status() -> dict[str, Any]:
    """GetModelStatusResponse."""
    fine = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": fine}]}


def metadata(about: ModelInfo) -> dict[str, Any]:
    """GetModelMetadataResponse."""

    def tensor(title: str, dtype: str, *shape: int) -> dict[str, Any]:
        dim = [{"size": str(size), "name": ""} for size in (-1, *shape)]
        return {
            "dtype": dtype,
            "tensor_shape": {"dim": dim, "unknown_rank": False},
            "name": f"{title}:0",
        }

    spec = about.input
    outputs = {"probs": tensor("probs", "DT_FLOAT", len(about.labels))}
    if about.boxes:
        outputs["box"] = tensor("box", "DT_FLOAT", 4)
    signature = {
        "inputs": {"image": tensor("image", "DT_UINT8", spec.height, spec.width, spec.channels)},
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": about.name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
