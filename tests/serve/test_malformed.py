"""A thousand requests that are wrong in some way: never a 500, nothing kept, others served."""

import io
import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from http_client import Running, serving, text64
from PIL import Image

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
MAX_KEPT = 24 * 2**20  # bytes: freed pages that the allocator did not give back yet

Random = np.random.Generator
Wrong = Callable[[Random, list[bytes]], tuple[str, bytes, dict[str, str]]]


def good_files() -> list[bytes]:
    """One image in all the formats that are read."""
    pixels = np.random.default_rng(3).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    found = []
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
        found.append(file.getvalue())
    return found


def damaged(random: Random, files: list[bytes]) -> bytes:
    """An image's file, cut, with wrong bits, with a lie in its head, or something else."""
    data = bytearray(files[random.integers(len(files))])
    way = random.integers(6)
    if way == 0:
        return bytes(data[: random.integers(len(data))])
    if way == 1:
        for place in random.integers(0, len(data), random.integers(1, 30)):
            data[place] ^= 1 << random.integers(8)
    elif way == 2:  # the head holds the sizes
        for place in random.integers(0, min(200, len(data)), 8):
            data[place] = random.integers(256)
    elif way == 3:
        data = bytearray(random.bytes(random.integers(2000)))
    elif way == 4:
        place = random.integers(len(data))
        data[place:place] = random.bytes(random.integers(300))
    else:
        data += bytes(files[0]) + random.bytes(100)
    return bytes(data)


def any_value(random: Random, depth: int = 0) -> Any:
    """A value of JSON that means nothing."""
    way = random.integers(9 if depth < 4 else 6)
    if way == 0:
        return None
    if way == 1:
        return bool(random.integers(2))
    if way == 2:
        return [0, -1, 256, 10**40, 1e308, float("nan"), 0.5][random.integers(7)]
    if way == 3:
        return ["", "!", "aGFsbG8=", "\ud800", "x" * 3000, "data:;base64,"][random.integers(6)]
    if way < 6:
        return text64(random.bytes(random.integers(50)))
    if way == 6:
        return [any_value(random, depth + 1) for _ in range(random.integers(5))]
    keys = ("image", "images", "instances", "inputs", "b64", "shape", "datatype", "data", "name")
    return {
        keys[random.integers(len(keys))]: any_value(random, depth + 1)
        for _ in range(random.integers(5))
    }


def wrong_image(random: Random, files: list[bytes]) -> tuple[str, bytes, dict[str, str]]:
    return URLS[0], damaged(random, files), {"Content-Type": KINDS[random.integers(len(KINDS))]}


def wrong_json(random: Random, files: list[bytes]) -> tuple[str, bytes, dict[str, str]]:
    raw = {["image", "images", "instances", "inputs"][random.integers(4)]: any_value(random)}
    body = json.dumps(raw).encode("utf-8")
    if random.integers(2):
        body = body[: random.integers(len(body) + 1)] + random.bytes(random.integers(4))
    return URLS[random.integers(3)], body, {"Content-Type": "application/json"}


def wrong_image_in_json(random: Random, files: list[bytes]) -> tuple[str, bytes, dict[str, str]]:
    text = text64(damaged(random, files))
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    url, raw = [
        (URLS[0], {"images": [text, text[:-3]]}),
        (URLS[1], {"instances": [{"b64": text}]}),
        (URLS[2], {"inputs": [tensor]}),
    ][random.integers(3)]
    return url, json.dumps(raw).encode(), {}


def wrong_form(random: Random, files: list[bytes]) -> tuple[str, bytes, dict[str, str]]:
    part = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
    body = bytearray()
    for _ in range(random.integers(4)):
        body += part % (random.bytes(random.integers(20)), damaged(random, files))
    body += b"--xyz--\r\n"
    for place in random.integers(0, len(body), random.integers(6)):
        body[place] = random.integers(256)
    return URLS[0], bytes(body[: random.integers(len(body) + 1)]), {"Content-Type": KINDS[3]}


def wrong_tensor(random: Random, files: list[bytes]) -> tuple[str, bytes, dict[str, str]]:
    shape = [int(size) for size in random.integers(-1, 4, random.integers(6))]
    tail = random.bytes(random.integers(60))
    size = [len(tail), len(tail) + 1, -1, "x", 2**70][random.integers(5)]
    one = {"name": "x", "datatype": ["UINT8", "BYTES", "FP32"][random.integers(3)], "shape": shape}
    head = json.dumps({"inputs": [one | {"parameters": {"binary_data_size": size}}]}).encode()
    length = str(len(head) + [0, 0, 0, 1, -1, 10**6][random.integers(6)])
    return URLS[2], head + tail, {"Inference-Header-Content-Length": length}


WRONGS: tuple[Wrong, ...] = (
    wrong_image,
    wrong_json,
    wrong_image_in_json,
    wrong_form,
    wrong_tensor,
)


def wrong_http(random: Random, port: int) -> None:
    """Something that is hardly HTTP; whatever is answered is no 500."""
    lines = [
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n",
        b"GET /%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
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
            said = connection.recv(65536)
        except ConnectionError:
            return
    assert not said.split(b" ")[1:2] or said.split(b" ")[1] < b"500", said


def throw(running: Running, count: int, image: bytes) -> Counter[int]:
    """Send so many wrong requests, with good ones between; returns how they were answered."""
    random, files = np.random.default_rng(SEED), good_files()
    seen: Counter[int] = Counter()
    with running.client() as client:
        right = client.post(URLS[0], content=image).json()
        for number in range(count):
            if number % 10 == 9:
                wrong_http(random, running.port)
                continue
            url, body, headers = WRONGS[number % len(WRONGS)](random, files)
            response = client.post(url, content=body, headers=headers)
            seen[response.status_code] += 1
            assert response.status_code < 500, (number, url, headers, body[:200], response.text)
            if response.status_code >= 400:
                assert "\n" not in response.json()["error"]
            if number % 50 == 0:
                assert client.post(URLS[0], content=image).json() == right
    return seen


def test_a_thousand_are_refused_and_leave_nothing_behind(
    trained: Path, cache: Path, image: bytes
) -> None:
    with serving(trained, "--name", "trees", cache=cache) as running:
        throw(running, 200, image)  # what grows once and stays
        memory, files = running.memory(), running.open_files()
        seen = throw(running, 1000, image)
        kept = running.memory() - memory
        with running.client() as client:
            text = client.get("/metrics").text
        assert sum(seen.values()) == 900
        assert seen[200]  # an image survives some damage
        assert {400, 422} <= set(seen)
        assert kept < MAX_KEPT, f"{kept / 2**20:.1f} MiB"
        assert running.open_files() <= files + 1
        assert "sharpeye_requests_inside 0.0" in text
        assert not [line for line in text.splitlines() if 'status="5' in line]
        running.process.terminate()
        _, said = running.process.communicate(timeout=30)
        # libtiff speaks for itself
        assert [s for s in said.splitlines() if not s.startswith("tempfile.tif: ")] == ["stopped"]


def test_large_images_are_given_back(trained: Path, cache: Path) -> None:
    """Forty megapixels each, of few bytes: decoded within the limits, then forgotten."""
    file = io.BytesIO()
    Image.new("RGB", (8000, 5000), (200, 10, 10)).save(file, "JPEG", quality=30)
    bomb = io.BytesIO()
    Image.new("L", (15000, 15000)).save(bomb, "PNG")
    with serving(trained, cache=cache) as running, httpx.Client(timeout=60) as client:
        url = running.url + URLS[0]
        assert client.post(url, content=file.getvalue()).status_code == 200
        memory = running.memory()
        for _ in range(5):
            assert client.post(url, content=file.getvalue()).status_code == 200
            response = client.post(url, content=bomb.getvalue())
            assert response.status_code == 422
            assert "megapixels" in response.json()["error"]
        assert running.memory() - memory < MAX_KEPT
