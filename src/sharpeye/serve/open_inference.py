"""The Open Inference Protocol v2 over REST (KServe, Triton): infer, metadata, readiness.

Sources: kserve/open-inference-protocol, inference_rest.md; Triton's binary tensor data extension,
which Triton's own client uses unless told otherwise. A request has one input, of any name:
BYTES [N], the images' files, or UINT8 [N,H,W,channels], pixels 0..255 of any size.
"""

import math
from typing import Any

import numpy as np
from starlette.responses import Response

from sharpeye.core.version import __version__
from sharpeye.serve import tensors
from sharpeye.serve.json_values import as_image, parse_json
from sharpeye.serve.limits import RequestLimits, RequestRefused, check_count
from sharpeye.serve.requests import (
    VERSION,
    Answer,
    ImageInput,
    ModelInfo,
    PredictRequest,
    all_known,
    json_response,
    probabilities,
)


def read(
    body: bytes, json_length: str | None, about: ModelInfo, limits: RequestLimits
) -> PredictRequest:
    """Understand an `infer` request.

    Args:
        body: JSON, and after it binary tensors if there are any.
        json_length: the header Inference-Header-Content-Length, if there is one.
        about: the model.
        limits: `images` is used.

    Raises:
        Refusal: it cannot be understood, or is over a limit.
    """
    text, binary = _cut(body, json_length)
    raw = parse_json(text)
    inputs = raw.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RequestRefused(400, '"inputs" must be a list of one tensor: the pictures')
    wanted = _wanted_outputs(raw, tuple(_outputs(about)))
    items = _images(inputs[0], binary, limits)
    head: dict[str, Any] = {"model_name": about.name, "model_version": VERSION}
    if "id" in raw:
        head["id"] = str(raw["id"])[:1000]

    def reply(answers: list[Answer]) -> Response:
        known = all_known(answers)
        found: dict[str, Any] = {
            "probs": np.array([probabilities(one, about.labels) for one in known], np.float32),
            "label": [one.label for one in known],
        }
        if about.boxes:
            found["box"] = np.array([one.box for one in known], np.float32)
        if about.unknown:
            found["unknown_score"] = np.array([one.unknown_score for one in known], np.float32)
        return _response(head, [(name, found[name], as_bytes) for name, as_bytes in wanted])

    return PredictRequest(list(items), len(about.labels), reply)


def _outputs(about: ModelInfo) -> dict[str, tuple[str, list[int]]]:
    """Datatype and shape of each output by name; boxes are in pixels of the image."""
    found = {"probs": ("FP32", [-1, len(about.labels)]), "label": ("BYTES", [-1])}
    found |= {"box": ("FP32", [-1, 4])} if about.boxes else {}
    return found | ({"unknown_score": ("FP32", [-1])} if about.unknown else {})


def _cut(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
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


def _wanted_outputs(raw: dict[str, Any], known: tuple[str, ...]) -> list[tuple[str, bool]]:
    """(name, whether as binary) of each output that is asked for; all of them if none is."""
    binary = _parameters(raw).get("binary_data_output") is True
    outputs = raw.get("outputs")
    if outputs is None:
        return [(name, binary) for name in known]
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise RequestRefused(400, '"outputs" must be a list of objects with a name')
    names = [one.get("name") for one in outputs]
    for name in names:
        if name not in known:
            shown = repr(name)[:40]
            raise RequestRefused(400, f"unknown output {shown}. Allowed: {', '.join(known)}.")
    if len(set(names)) != len(names):
        raise RequestRefused(400, "an output is asked for twice")
    return [
        (str(one["name"]), _parameters(one).get("binary_data", binary) is True) for one in outputs
    ]


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    found = holder.get("parameters")
    return found if isinstance(found, dict) else {}


def _images(tensor: dict[str, Any], binary: memoryview, limits: RequestLimits) -> list[ImageInput]:
    """The images of the one input."""
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(name, str) or datatype not in ("BYTES", "UINT8"):
        raise RequestRefused(
            400,
            "an input must have a name and the datatype BYTES (files) or UINT8 (pixels). "
            f"Received: {str(datatype)[:40]!r}",
        )
    size = _parameters(tensor).get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(binary)):
        raise RequestRefused(
            400,
            f"binary_data_size must be {len(binary)}, what follows the JSON. "
            f"Received: {str(size)[:40]}",
        )
    data = tensor.get("data") if size is None else binary
    sizes, name = _sizes(shape), name[:100]
    try:
        if datatype == "BYTES":
            count = math.prod(sizes)  # Triton's clients write [N,1] for N strings
            check_count(count, limits)
            return [ImageInput(f"{name}[{i}]", f) for i, f in enumerate(tensors.files(data, count))]
        if len(sizes) < 3:
            raise ValueError(f"pixels have the shape [N,H,W,channels]. Received: {sizes}")
        sizes = [1, *sizes] if len(sizes) == 3 else sizes
        check_count(sizes[0], limits)
        images = [as_image(one) for one in tensors.pixels(data, sizes)]
    except ValueError as error:
        raise RequestRefused(400, f"{name}: {error}") from None
    return [ImageInput(f"{name}[{i}]", one) for i, one in enumerate(images)]


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, list) or len(shape) not in (1, 2, 3, 4):
        raise RequestRefused(400, "the input's shape must be a list of one to four sizes")
    if not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise RequestRefused(400, "the input's shape must hold whole numbers")
    return shape


def _response(head: dict[str, Any], outputs: list[tuple[str, Any, bool]]) -> Response:
    written: list[dict[str, Any]] = []
    tail = b""
    for name, value, as_bytes in outputs:
        is_text = isinstance(value, list)
        one: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if is_text else "FP32",
            "shape": [len(value)] if is_text else list(value.shape),
        }
        if as_bytes:
            data = tensors.packed(value) if is_text else value.astype("<f4").tobytes()
            one["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            one["data"] = value if is_text else [float(p) for p in value.ravel()]
        written.append(one)
    response = json_response({**head, "outputs": written})
    if not tail:
        return response
    text = bytes(response.body)
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(text + tail, 200, headers, media_type="application/octet-stream")


def server_metadata() -> dict[str, Any]:
    return {"name": "sharpeye", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(about: ModelInfo) -> dict[str, Any]:
    """The model's own tensors; BYTES [N] is taken in place of the input too."""
    spec = about.input
    shape = [-1, spec.height, spec.width, spec.channels]
    return {
        "name": about.name,
        "versions": [VERSION],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": shape}],
        "outputs": [
            {"name": name, "datatype": kind, "shape": sizes}
            for name, (kind, sizes) in _outputs(about).items()
        ],
    }
