"""Fuzz the server's application: any method, path, headers and body, without a socket.

An input is a request as text: `METHOD PATH`, headers, an empty line, the body.
"""

import asyncio
import atexit
import base64
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from battery.valid_models import make_good_model
from sharpeye.artefact.session import open_model
from sharpeye.predict.predictor import Model
from sharpeye.serve.api import ServeSettings, build_app
from sharpeye.serve.limits import RequestLimits

TOKENS = (
    *(b"POST /v1/predict", b"/v1/models/trees:predict", b"/v2/models/trees/infer", b"/versions/1"),
    *(b"/v2/repository/index", b"/v2/models/stats", b"?top=", b"GET /metrics", b"/openapi.json"),
    *(b"content-type: multipart/form-data; boundary=x", b"--x\r\n", b"--x--\r\n", b"filename="),
    *(
        b"Content-Disposition: form-data; name=",
        b"inference-header-content-length: ",
        b"filename*=",
    ),
    *(b'"instances"', b'"b64"', b'"inputs"', b'"datatype"', b'"BYTES"', b'"UINT8"', b'"FP32"'),
    *(b'"shape"', b'"parameters"', b'"binary_data_size"', b'"value_range"', b'"data_format"'),
    *(b"data:image/png;base64,", b'"outputs"', b'"binary_data"', b"origin: http://a", b"host: b"),
    *(b"content-encoding: gzip", b"content-length: -1", b"1e999", b"9" * 400, b"[[[[", b"\\ud800"),
    *(b'"FP16"', b'"INT64"', b'"BOOL"', b'"channels_first"', b'"signature_name"', b'"top"'),
)
_FOLDER = Path(tempfile.mkdtemp(prefix="sharpeye-fuzz-"))
make_good_model(_FOLDER)
_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)
_APP = build_app(
    Model(open_model(_FOLDER / "good.onnx")),
    ServeSettings("trees", limits=RequestLimits(body_bytes=2**18, seconds=10), workers=1),
)
# h11 refuses other characters before a request reaches the application.
_TARGET = re.compile(rb"[\x21-\x7e]+")
_DOCUMENTED = {200, 204, 307, 400, 401, 403, 404, 405, 408, 411, 413, 415, 421, 422, 429, 431, 503}


def seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image, text = file.getvalue(), base64.b64encode(file.getvalue()).decode()

    def post(path: str, body: bytes | dict[str, Any], **headers: str) -> bytes:
        lines = [f"POST {path}", "host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        return "\n".join(lines).encode() + b"\n\n" + content

    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    form = (
        part % (b"file", b'; filename="a.png"', image) + part % (b"top", b"", b"2") + b"--x--\r\n"
    )
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 8, 9, 3]}
    in_json = {**tensor, "data": pixels.ravel().tolist()}
    files = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    binary = {**tensor, "parameters": {"binary_data_size": pixels.size}}
    head = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
    infer = "/v2/models/trees/infer"
    floats = {**tensor, "datatype": "FP32", "data": (pixels / 255).round(2).ravel().tolist()}
    return [
        post("/v1/predict?top=2", image),
        post("/v1/predict", form, content_type="multipart/form-data; boundary=x"),
        post("/v1/predict", {"images": [text, text[:40]], "top": 1}),
        post("/v1/predict", {"image": f"data:image/png;base64,{text}"}),
        post("/v1/models/trees:predict", {"instances": [{"b64": text}]}),
        post("/v1/models/trees/versions/1:predict", {"instances": [pixels[:2, :2].tolist()]}),
        post(infer, {"inputs": [files], "id": "1", "outputs": [{"name": "label"}]}),
        post(infer, {"inputs": [in_json]}),
        post(infer, {"inputs": [floats], "parameters": {"value_range": [0, 1]}}),
        post(infer, head + pixels.tobytes(), inference_header_content_length=str(len(head))),
        *(
            f"GET {path}\nhost: localhost\n\n".encode()
            for path in ("/", "/metrics", "/healthz", "/openapi.json", "/v2/models/trees/config")
        ),
    ]


def one_input(data: bytes) -> None:
    target = data.partition(b"\n")[0].partition(b" ")[2]
    if _TARGET.fullmatch(target):
        _LOOP.run_until_complete(_request(data))


def _scope(head: bytes) -> dict[str, Any]:
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    pairs = [line.partition(b":") for line in lines]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode("latin-1").upper(),
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.strip().lower(), value.strip()) for name, _, value in pairs],
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _request(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    half = len(body) // 2
    messages = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await _APP(_scope(head), receive, send)
    status = sent[0]["status"]
    response = b"".join(message.get("body", b"") for message in sent[1:])
    assert status in _DOCUMENTED, f"status {status}: {response[:300]!r}"
    if status >= 400 and response:
        assert "\n" not in json.loads(response)["error"]
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
