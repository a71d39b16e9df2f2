"""A server of its own under image bombs and half-sent bodies: others get their answers in time."""

import contextlib
import io
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from http_client import RunningServer, serving
from sharpeye.core.inference import available_cores

URL = "/v1/predict"
HALF_BODY = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nxyz"
BOMBS = (("PNG", "1"), ("PNG", "P"), ("WEBP", "RGB"))
BUDGET = 250e6 + 64e6 * available_cores()  # of decoding, as `serve` sets it
SECONDS, CLIENTS, PAUSE = 8.0, 3, 0.05


def encoded(image: Image.Image, format_: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **({"lossless": True} if format_ == "WEBP" else {}))
    return file.getvalue()


def photograph() -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    return encoded(Image.fromarray(coarse).resize((520, 390)), "JPEG")


def measure_clients(running: RunningServer, seconds: float) -> tuple[float, Counter[int]]:
    """The 99th percentile of the seconds in which valid clients get an answer; all statuses."""
    data, times, statuses = photograph(), [], Counter[int]()

    def ask() -> None:
        end = time.monotonic() + seconds
        with running.client() as client:
            while time.monotonic() < end:
                started = time.perf_counter()
                statuses[client.post(URL, content=data).status_code] += 1
                times.append(time.perf_counter() - started)
                time.sleep(PAUSE)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.quantiles(times, n=100)[98], statuses


@contextlib.contextmanager
def attack(running: RunningServer, bomb: bytes) -> Iterator[Counter[int]]:
    """Send eight bombs and 64 half-sent bodies, again and again; yields the bombs' statuses."""
    stop, statuses = threading.Event(), Counter[int]()

    def send_bombs() -> None:
        while not stop.is_set():
            with contextlib.suppress(httpx.HTTPError):
                statuses[httpx.post(running.url + URL, content=bomb, timeout=60).status_code] += 1

    def send_half_bodies() -> None:
        while not stop.is_set():
            with contextlib.ExitStack() as stack:
                for _ in range(64):
                    address = ("127.0.0.1", running.port)
                    connection = stack.enter_context(socket.create_connection(address))
                    connection.sendall(HALF_BODY)
                stop.wait(1.5)

    threads = [threading.Thread(target=send_bombs) for _ in range(8)]
    threads.append(threading.Thread(target=send_half_bodies))
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_valid_clients_are_served_while_bombs_and_half_bodies_come(
    trained: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(trained, cache=cache) as running:
        measure_clients(running, 2)  # warms up
        idle, statuses = measure_clients(running, SECONDS)
        assert set(statuses) == {200}
        for format_, mode in BOMBS:
            side = 7000 if format_ == "PNG" else 3800
            bomb = encoded(Image.new(mode, (side, side)), format_)
            with running.peak_memory() as peak, attack(running, bomb) as bombs:
                loaded, statuses = measure_clients(running, SECONDS)
            time.sleep(0.5)
            with capsys.disabled():
                print(
                    f"\n{format_} {mode}, {len(bomb):,} bytes: p99 {1000 * loaded:.0f} ms, idle "
                    f"{1000 * idle:.0f} ms; {statuses.total()} answers, bombs {dict(bombs)}; "
                    f"memory at most {peak[0] / 1e6:.0f} MB, then {running.memory() / 1e6:.0f} MB"
                )
            assert set(statuses) == {200}
            assert loaded <= 3 * idle
            assert peak[0] <= BUDGET + 250e6
            assert running.memory() <= 350e6  # given back
        assert set(bombs) <= {200, 422, 503}


@pytest.mark.slow
def test_a_thousand_connections_do_not_shut_others_out(trained: Path, cache: Path) -> None:
    with serving(trained, cache=cache) as running, contextlib.ExitStack() as stack:
        files = running.open_files()
        for number in range(1000):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
            stack.enter_context(connection)
            connection.sendall((b"", b"GET / HT", HALF_BODY)[number % 3])
        for _ in range(20):
            assert httpx.post(running.url + URL, content=photograph()).status_code == 200
        assert running.open_files() - files <= 920
        stack.close()
        time.sleep(1)
        assert running.open_files() - files <= 5


@pytest.mark.slow
def test_the_limits_of_an_image_are_those_of_a_server_and_can_be_raised(
    trained: Path, cache: Path
) -> None:
    bomb = encoded(Image.new("1", (8500, 8500)), "PNG")  # 72 megapixels
    with serving(trained, cache=cache) as running:
        response = httpx.post(running.url + URL, content=bomb, timeout=60)
        assert response.status_code == 422
        assert "limit" in response.json()["error"]
    options = ("--max-megapixels", "80", "--max-decode-memory", "500")
    with serving(trained, *options, cache=cache) as running:
        assert httpx.post(running.url + URL, content=bomb, timeout=60).status_code == 200
