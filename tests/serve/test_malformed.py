"""A thousand malformed requests: never a 500, no memory kept, valid ones answered between them."""

import io
import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from http_client import RunningServer, base64_of, serving

SEED = 20240229
URLS = ("/v1/predict", "/v1/models/trees:predict", "/v2/models/trees/infer")
KINDS = (
    "application/json",
    "image/jpeg",
    "application/octet-stream",
    "multipart/form-data; boundary=xyz",
    "multipart/form-data; boundary=",
    "text/plain; charset=utf-7",
    "",
)
MAX_GROWTH = 24 * 2**20  # bytes: freed pages that the allocator did not return yet

Random = np.random.Generator
Malformed = tuple[str, bytes, dict[str, str]]  # URL, body, headers
MakeRequest = Callable[[Random, list[bytes]], Malformed]


def good_files() -> list[bytes]:
    """One image in all supported formats."""
    pixels = np.random.default_rng(3).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    files = []
    for kind, options in (
        ("JPEG", {"quality": 90}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        files.append(file.getvalue())
    return files


def damaged(random: Random, files: list[bytes]) -> bytes:
    """An image's file: cut, with flipped bits or a wrong header; or something else."""
    data = bytearray(files[random.integers(len(files))])
    kind = random.integers(6)
    if kind == 0:
        return bytes(data[: random.integers(len(data))])
    if kind == 1:
        for position in random.integers(0, len(data), random.integers(1, 30)):
            data[position] ^= 1 << random.integers(8)
    elif kind == 2:  # the header holds the sizes
        for position in random.integers(0, min(200, len(data)), 8):
            data[position] = random.integers(256)
    elif kind == 3:
        data = bytearray(random.bytes(random.integers(2000)))
    elif kind == 4:
        position = random.integers(len(data))
        data[position:position] = random.bytes(random.integers(300))
    else:
        data += bytes(files[0]) + random.bytes(100)
    return bytes(data)


def any_value(random: Random, depth: int = 0) -> Any:
    """A meaningless JSON value."""
    kind = random.integers(9 if depth < 4 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return bool(random.integers(2))
    if kind == 2:
        return [0, -1, 256, 10**40, 1e308, float("nan"), 0.5][random.integers(7)]
    if kind == 3:
        return ["", "!", "aGFsbG8=", "\ud800", "x" * 3000, "data:;base64,"][random.integers(6)]
    if kind < 6:
        return base64_of(random.bytes(random.integers(50)))
    if kind == 6:
        return [any_value(random, depth + 1) for _ in range(random.integers(5))]
    keys = ("image", "images", "instances", "inputs", "b64", "shape", "datatype", "data", "name")
    return {
        keys[random.integers(len(keys))]: any_value(random, depth + 1)
        for _ in range(random.integers(5))
    }


def malformed_image(random: Random, files: list[bytes]) -> Malformed:
    return URLS[0], damaged(random, files), {"Content-Type": KINDS[random.integers(len(KINDS))]}


def malformed_json(random: Random, files: list[bytes]) -> Malformed:
    raw = {["image", "images", "instances", "inputs"][random.integers(4)]: any_value(random)}
    body = json.dumps(raw).encode("utf-8")
    if random.integers(2):
        body = body[: random.integers(len(body) + 1)] + random.bytes(random.integers(4))
    return URLS[random.integers(3)], body, {"Content-Type": "application/json"}


def malformed_image_in_json(random: Random, files: list[bytes]) -> Malformed:
    text = base64_of(damaged(random, files))
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    url, raw = [
        (URLS[0], {"images": [text, text[:-3]]}),
        (URLS[1], {"instances": [{"b64": text}]}),
        (URLS[2], {"inputs": [tensor]}),
    ][random.integers(3)]
    return url, json.dumps(raw).encode(), {}


def malformed_form(random: Random, files: list[bytes]) -> Malformed:
    part = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
    body = bytearray()
    for _ in range(random.integers(4)):
        body += part % (random.bytes(random.integers(20)), damaged(random, files))
    body += b"--xyz--\r\n"
    for position in random.integers(0, len(body), random.integers(6)):
        body[position] = random.integers(256)
    return URLS[0], bytes(body[: random.integers(len(body) + 1)]), {"Content-Type": KINDS[3]}


def malformed_tensor(random: Random, files: list[bytes]) -> Malformed:
    shape = [int(size) for size in random.integers(-1, 4, random.integers(6))]
    tail = random.bytes(random.integers(60))
    size = [len(tail), len(tail) + 1, -1, "x", 2**70][random.integers(5)]
    tensor = {
        "name": "x",
        "datatype": ["UINT8", "BYTES", "FP32"][random.integers(3)],
        "shape": shape,
    }
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}).encode()
    length = str(len(head) + [0, 0, 0, 1, -1, 10**6][random.integers(6)])
    return URLS[2], head + tail, {"Inference-Header-Content-Length": length}


MALFORMED: tuple[MakeRequest, ...] = (
    malformed_image,
    malformed_json,
    malformed_image_in_json,
    malformed_form,
    malformed_tensor,
)


def malformed_http(random: Random, port: int) -> None:
    """Send bytes that are hardly HTTP; the response must not be a 500."""
    lines = [
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n",
        b"GET /%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing?\xf5 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        random.bytes(200) + b"\r\n\r\n",
        b"GET /?top=" + b"9" * 5000 + b" HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(lines[random.integers(len(lines))])
        connection.shutdown(socket.SHUT_WR)
        try:
            response = connection.recv(65536)
        except ConnectionError:
            return
    assert not response.split(b" ")[1:2] or response.split(b" ")[1] < b"500", response


def send_malformed(running: RunningServer, count: int, image: bytes) -> Counter[int]:
    """Send malformed requests with valid ones between them; returns the count of each status."""
    random, files = np.random.default_rng(SEED), good_files()
    statuses: Counter[int] = Counter()
    with running.client() as client:
        expected = client.post(URLS[0], content=image).json()
        for number in range(count):
            if number % 10 == 9:
                malformed_http(random, running.port)
                continue
            url, body, headers = MALFORMED[number % len(MALFORMED)](random, files)
            response = client.post(url, content=body, headers=headers)
            statuses[response.status_code] += 1
            assert response.status_code < 500, (number, url, headers, body[:200], response.text)
            if response.status_code >= 400:
                assert "\n" not in response.json()["error"]
            if number % 50 == 0:
                assert client.post(URLS[0], content=image).json() == expected
    return statuses


@pytest.mark.slow
def test_a_thousand_malformed_requests_leave_nothing_behind(
    trained: Path, cache: Path, image: bytes
) -> None:
    with serving(trained, "--name", "trees", cache=cache) as running:
        send_malformed(running, 200, image)  # lets memory grow to its steady size
        memory, files = running.memory(), running.open_files()
        statuses = send_malformed(running, 1000, image)
        growth = running.memory() - memory
        with running.client() as client:
            text = client.get("/metrics").text
        assert sum(statuses.values()) == 900
        assert statuses[200]  # an image survives some damage
        assert {400, 422} <= set(statuses)
        assert growth < MAX_GROWTH, f"{growth / 2**20:.1f} MiB"
        assert running.open_files() <= files + 1
        assert "sharpeye_requests_inside 0.0" in text
        assert not [line for line in text.splitlines() if 'status="5' in line]
        running.process.terminate()
        _, stderr = running.process.communicate(timeout=30)
        # libtiff prints its own warnings
        lines = [line for line in stderr.splitlines() if not line.startswith("tempfile.tif: ")]
        assert lines == ["stopped"]


@pytest.mark.slow
def test_memory_of_large_images_is_released(trained: Path, cache: Path) -> None:
    """Forty megapixels each, of few bytes: decoded within the limits, then freed.

    A band of them is above 32 MiB, which glibc returns to the system at once.
    """
    file = io.BytesIO()
    Image.new("RGB", (8000, 5000), (200, 10, 10)).save(file, "JPEG", quality=30)
    bomb = io.BytesIO()
    Image.new("L", (15000, 15000)).save(bomb, "PNG")
    with serving(trained, cache=cache) as running, httpx.Client(timeout=60) as client:
        url = running.url + URLS[0]
        assert client.post(url, content=file.getvalue()).status_code == 200
        memory = running.memory()
        for _ in range(3):
            assert client.post(url, content=file.getvalue()).status_code == 200
            response = client.post(url, content=bomb.getvalue())
            assert response.status_code == 422
            assert "megapixels" in response.json()["error"]
        assert running.memory() - memory < MAX_GROWTH
