"""Uploads and other bodies of the studio that arrive slowly take nothing from others."""

import contextlib
import io
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from studios import STUDIO_LIMITS, Studio

UNFINISHED = {
    "an upload": b"POST /api/upload?label=rose HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nxyz',
    "an image to try": b"POST /api/try?run=x HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 100000\r\n\r\nxyz",
    "a form": b"POST /api/collect/class HTTP/1.1\r\nHost: localhost\r\n"
    b'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"na',
    "chunks": b"POST /api/collect/class HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\r\n",
    "a header": b"GET / HTTP/1.1\r\nHost: ",
    "nothing": b"",
}


@pytest.fixture
def studio(
    studio_at: Callable[..., Studio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Studio]:
    """A studio with short limits."""
    limits = replace(STUDIO_LIMITS, rate_seconds=0.4, header_seconds=0.4, connections=60)
    monkeypatch.setattr("studios.STUDIO_LIMITS", limits)
    yield studio_at(tmp_path / "pictures")


@contextlib.contextmanager
def connections(studio: Studio, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    url = httpx.URL(studio.url)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = socket.create_connection((url.host, url.port), timeout=20)
            opened.append(stack.enter_context(connection))
            connection.sendall(data)
        yield opened


def photograph() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_requests_take_nothing_from_others_and_end(studio: Studio, name: str) -> None:
    with connections(studio, 80, UNFINISHED[name]) as opened, studio.client() as client:
        form = {"file": ("rose.png", photograph(), "image/png")}
        response = client.post("/api/upload?label=rose", files=form)
        assert response.json()["files"][0]["status"] == "added", response.text
        for _ in range(5):
            assert client.get("/").status_code == 200
        last = opened[-1]
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            response_line = last.recv(65536)
            assert not response_line or response_line.split()[1] == b"408"
        assert time.monotonic() - started < 5


def test_a_slow_upload_that_keeps_the_rate_is_added(studio: Studio) -> None:
    """It takes much longer than the window in which the rate is measured."""
    image = photograph()
    head = UNFINISHED["an upload"].replace(b"xyz", b"")
    start, _, part = head.partition(b"\r\n\r\n")
    body = part + image + b"\r\n--b--\r\n"
    head = start.replace(b"100000", b"%d" % len(body)) + b"\r\n\r\n"
    with connections(studio, 1, head) as (connection,):
        for position in range(0, len(body), 1000):
            connection.sendall(body[position : position + 1000])
            time.sleep(0.12)
        response = connection.recv(65536)
        assert response.split()[1] == b"200"
        assert b'"added"' in response + connection.recv(65536) * (b"added" not in response)
