"""The Open Inference Protocol v2 over REST (KServe, Triton): infer, metadata, readiness.

Sources: kserve/open-inference-protocol, inference_rest.md; Triton's binary tensor data extension,
the default of Triton's own client. A request has one input, of any name: BYTES [N], the image
files, or UINT8 [N,H,W,channels], pixels 0..255 of any size. Pixels of another datatype may need the
parameters `value_range` and `data_format`, of the request or the tensor (see `pixel_inputs`).
"""

import math
from typing import Any

import numpy as np
from starlette.responses import Response

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import Model, PredictResult
from sharpeye.serve.limits import RequestRefused, check_image_count
from sharpeye.serve.pixel_inputs import PixelFormat
from sharpeye.serve.predict_request import (
    VERSION,
    ImageInput,
    PredictRequest,
    ServedModel,
    require_predictions,
)
from sharpeye.serve.request_values import parse_json
from sharpeye.serve.responses import json_response
from sharpeye.serve.tensor_values import DTYPES, decode_files, decode_numbers, encode_texts
from sharpeye.serve.triton import EXTENSIONS

_WITH_USUAL_RANGE = ("BOOL", "UINT8", "UINT16", "FP16", "FP32", "FP64")


def parse(body: bytes, served: ServedModel, *, json_length: str | None) -> PredictRequest:
    """Parse an `infer` request.

    Args:
        body: JSON, followed by any binary tensors.
        json_length: the header Inference-Header-Content-Length, if there is one.

    Raises:
        RequestRefused: not a valid request, or over a limit.
    """
    model = served.model
    text, binary = _split_body(body, json_length)
    content = parse_json(text)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RequestRefused(400, '"inputs" must be a list of one tensor: the images')
    outputs = _parse_outputs(content, tuple(output_specs(model)))
    tensor = inputs[0]
    pixels = PixelFormat.from_parameters(_parameters(content), _parameters(tensor))
    images = _parse_images(tensor, binary, pixels, served=served)
    header: dict[str, Any] = {"model_name": served.name, "model_version": VERSION}
    if "id" in content:
        header["id"] = str(content["id"])[:1000]

    def respond(results: list[PredictResult]) -> Response:
        predictions, probs = require_predictions(results, model)
        values: dict[str, list[Any]] = {
            "probs": probs,
            "label": [prediction.label for prediction in predictions],
            "box": [prediction.box for prediction in predictions],
            "box_score": [prediction.box_score for prediction in predictions],
            "unknown_score": [prediction.unknown_score for prediction in predictions],
        }
        chosen = [(name, values[name], as_binary) for name, as_binary in outputs]
        return _build_response(header, chosen)

    return PredictRequest(list(images), len(model.labels), respond)


def output_specs(model: Model) -> dict[str, tuple[str, list[int]]]:
    """Datatype and shape of each output by name; boxes are in pixels of the image."""
    specs = {"probs": ("FP32", [-1, len(model.labels)]), "label": ("BYTES", [-1])}
    if model.localizes:
        specs["box"] = ("FP32", [-1, 4])
    if model.has_box_score:
        specs["box_score"] = ("FP32", [-1])
    if model.has_unknown_score:
        specs["unknown_score"] = ("FP32", [-1])
    return specs


def _split_body(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    if json_length is None:
        return body, memoryview(b"")
    length = int(json_length) if json_length.isdecimal() and len(json_length) < 12 else -1
    if not 0 <= length <= len(body):
        raise RequestRefused(
            400,
            f"Inference-Header-Content-Length must be 0 to {len(body)}, the body's length. "
            f"Received: {json_length[:40]!r}",
        )
    return body[:length], memoryview(body)[length:]


def _parse_outputs(content: dict[str, Any], known: tuple[str, ...]) -> list[tuple[str, bool]]:
    """(name, whether binary) of each requested output; by default of all outputs."""
    binary = _parameters(content).get("binary_data_output") is True
    outputs = content.get("outputs")
    if outputs is None:
        return [(name, binary) for name in known]
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise RequestRefused(400, '"outputs" must be a list of objects with a name')
    names = [output.get("name") for output in outputs]
    for name in names:
        if name not in known:
            shown = repr(name)[:40]
            raise RequestRefused(400, f"unknown output {shown}. Allowed: {', '.join(known)}.")
    if len(set(names)) != len(names):
        raise RequestRefused(400, "an output is requested twice")
    return [
        (name, _parameters(output).get("binary_data", binary) is True)
        for name, output in zip(names, outputs, strict=True)
    ]


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _parse_images(
    tensor: dict[str, Any], binary: memoryview, pixels: PixelFormat, *, served: ServedModel
) -> list[ImageInput]:
    name, datatype = tensor.get("name"), tensor.get("datatype")
    if not isinstance(name, str) or datatype not in ("BYTES", *DTYPES):
        raise RequestRefused(
            400,
            "an input must have a name and the datatype BYTES (files) or UINT8 (pixels), or "
            f"another one of numbers. Received: {str(datatype)[:40]!r}",
        )
    size = _parameters(tensor).get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(binary)):
        raise RequestRefused(
            400,
            f"binary_data_size must be {len(binary)}, what follows the JSON. "
            f"Received: {str(size)[:40]}",
        )
    data = tensor.get("data") if size is None else binary
    shape, name = _parse_shape(tensor.get("shape")), name[:100]
    try:
        if datatype == "BYTES":
            pixels.check_unused(name)
            count = math.prod(shape)  # Triton's clients write [N,1] for N strings
            check_image_count(count, served.limits)
            files = decode_files(data, count)
            return [ImageInput(f"{name}[{i}]", file) for i, file in enumerate(files)]
        if len(shape) < 3:
            raise ValueError(f"pixels have the shape [N,H,W,channels]. Received: {shape}")
        shape = [1, *shape] if len(shape) == 3 else shape
        check_image_count(shape[0], served.limits)
        _check_has_range(datatype, pixels)
        array = decode_numbers(data, datatype, shape)
    except ValueError as error:
        raise RequestRefused(400, f"{name}: {error}") from None
    return [pixels.to_input(image, f"{name}[{i}]", served=served) for i, image in enumerate(array)]


def _check_has_range(datatype: str, pixels: PixelFormat) -> None:
    """Refuse integers without a usual range: clients send quantized values as INT8 or INT32."""
    if datatype not in _WITH_USUAL_RANGE and pixels.value_range is None:
        raise ValueError(
            f'{datatype} pixels have no usual range; give "parameters": {{"value_range": [0, 255]}}'
            " or [0, 1], or send UINT8"
        )


def _parse_shape(shape: Any) -> list[int]:
    if not isinstance(shape, list) or len(shape) not in (1, 2, 3, 4):
        raise RequestRefused(400, "the input's shape must be a list of one to four sizes")
    if not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise RequestRefused(400, "the input's shape must hold whole numbers")
    return shape


def _build_response(header: dict[str, Any], outputs: list[tuple[str, list[Any], bool]]) -> Response:
    """The response to (name, values, whether binary) of each output."""
    encoded, tail = [], b""
    for name, values, binary in outputs:
        is_text, array = name == "label", np.array(values)
        tensor: dict[str, Any] = {"name": name, "datatype": "BYTES" if is_text else "FP32"}
        tensor["shape"] = array.shape
        if binary:
            data = encode_texts(values) if is_text else array.astype("<f4").tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            tensor["data"] = values if is_text else array.astype(np.float32).ravel().tolist()
        encoded.append(tensor)
    response = json_response({**header, "outputs": encoded})
    if not tail:
        return response
    text = bytes(response.body)
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(text + tail, 200, headers, media_type="application/octet-stream")


def server_metadata() -> dict[str, Any]:
    return {"name": "sharpeye", "version": __version__, "extensions": [*EXTENSIONS]}


def model_metadata(served: ServedModel) -> dict[str, Any]:
    """The tensors at the model's own size; the server also accepts BYTES [N] as input."""
    spec = served.model.input
    shape = [-1, spec.height, spec.width, spec.channels]
    return {
        "name": served.name,
        "versions": [VERSION],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": shape}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": sizes}
            for name, (datatype, sizes) in output_specs(served.model).items()
        ],
    }
