"""Valid clients of a server in three protocols, and attackers beside them."""

import base64
import contextlib
import http.client
import json
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from battery.http_attacks import CHUNKED, FORM, GET, POST, exchange, form, part, with_length
from hostile_server import png_bomb

MODEL = "trees"
PACE = 0.05  # seconds between the requests of an attacker: both sides share few cores


@dataclass
class Load:
    """What valid clients got.

    Attributes:
        seconds: of each request that was answered.
        failures: what was wrong with others.
    """

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]

    def median(self) -> float:
        return statistics.median(self.seconds)


class Protocols:
    """One image in three protocols: a client checks that all give the same probabilities."""

    def __init__(self, image: bytes) -> None:
        text = base64.b64encode(image).decode()
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
        self._requests = (
            ("/v1/predict", image, _native_probs),
            (f"/v1/models/{MODEL}:predict", _json({"instances": [{"b64": text}]}), _tf_probs),
            (f"/v2/models/{MODEL}/infer", _json({"inputs": [tensor]}), _open_inference_probs),
        )
        self._expected: list[float] | None = None

    def send(self, connection: http.client.HTTPConnection, number: int) -> str:
        """Send a request; returns what is wrong with its response."""
        path, body, probs_of = self._requests[number % 3]
        connection.request("POST", path, body)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            return f"{path}: {response.status} {content[:200]!r}"
        probs = probs_of(json.loads(content))
        self._expected = self._expected or probs
        same = np.allclose(probs, self._expected, rtol=1e-5, atol=1e-6)
        return "" if same else f"{path}: {probs} instead of {self._expected}"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _native_probs(content: dict[str, Any]) -> list[float]:
    return sorted(score["score"] for score in content["predictions"][0]["top"])


def _tf_probs(content: dict[str, Any]) -> list[float]:
    return sorted(content["predictions"][0])


def _open_inference_probs(content: dict[str, Any]) -> list[float]:
    (probs,) = (tensor for tensor in content["outputs"] if tensor["name"] == "probs")
    return sorted(probs["data"])


def run_clients(port: int, protocols: Protocols, *, clients: int, requests: int) -> Load:
    """Send so many requests by so many threads, each with a connection that it keeps."""
    load, numbers, lock = Load(), iter(range(requests)), threading.Lock()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            started = time.perf_counter()
            try:
                failure = protocols.send(connection, number)
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"
                connection.close()
            if failure:
                load.failures.append(f"request {number}: {failure}")
            else:
                load.seconds.append(time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


# --- attackers ------------------------------------------------------------------------------------

HALF = POST + b"Content-Length: 100000\r\n\r\nxyz"


def _damaged_image(random: np.random.Generator, image: bytes) -> bytes:
    data = bytearray(image)
    for position in random.integers(0, len(data), 8):
        data[position] ^= 1 << int(random.integers(8))
    return with_length(POST, bytes(data[: int(random.integers(len(data)))]))


@dataclass
class Attackers:
    """Threads that attack a server until they are stopped.

    Attributes:
        slow: number of connections that send a body byte by byte; as many others are idle.
        statuses: of the responses that attackers got.
    """

    port: int
    image: bytes
    slow: int
    seed: int
    statuses: Counter[int] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        works: list[Callable[[], None]] = [self._hold_slow_bodies, self._hold_idle, self._leave]
        works += [self._send_hostile, self._send_endless_chunks]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def _send_hostile(self) -> None:
        random = np.random.default_rng(self.seed)
        many_parts = form(*[part(b"a.jpg")] * 10_000)
        requests: list[Callable[[], bytes]] = [
            lambda: many_parts,
            lambda: GET + b"A: " + b"b" * 2**20 + b"\r\n\r\n",
            lambda: form(part(b"n" * 65_536)),
            lambda: form(part(b"../../etc/passwd", self.image)),
            lambda: with_length(POST, png_bomb()),
            lambda: with_length(POST, b'{"images":' + b"[" * 100_000),
            lambda: POST + b"Content-Length: 99999999999\r\n\r\nxyz",
            lambda: CHUNKED + b"ZZ\r\n",
            lambda: POST.replace(b"localhost", b"evil.test") + b"\r\n",
            lambda: POST + b"Origin: http://evil.test\r\nContent-Length: 1\r\n\r\nx",
        ]
        while not self.stop.wait(PACE):
            kind = int(random.integers(2 * len(requests)))
            pick = requests[kind] if kind < len(requests) else None
            data = pick() if pick else _damaged_image(random, self.image)
            with contextlib.suppress(OSError):
                for response in exchange(self.port, data):
                    self.statuses[response.status] += 1

    def _leave(self) -> None:
        """Connect, send the half of a body or of a form, and go."""
        number = 0
        while not self.stop.wait(PACE):
            number += 1
            with contextlib.suppress(OSError), self._connect() as connection:
                connection.sendall((HALF, FORM + b"Content-Length: 9\r\n\r\n--b")[number % 2])

    def _send_endless_chunks(self) -> None:
        chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
        while not self.stop.wait(PACE):
            with contextlib.suppress(OSError), self._connect() as connection:
                connection.sendall(CHUNKED)
                while not self.stop.wait(PACE / 10):
                    connection.sendall(chunk)

    def _hold_slow_bodies(self) -> None:
        self._hold(HALF, every=0.5, more=b"x")

    def _hold_idle(self) -> None:
        self._hold(GET + b"\r\n", every=2.0)

    def _hold(self, first: bytes, *, every: float, more: bytes = b"") -> None:
        connections: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            while not self.stop.is_set():
                for connection in [*connections]:
                    try:
                        connection.sendall(more)
                    except OSError:
                        connections.remove(connection)
                while len(connections) < self.slow and not self.stop.is_set():
                    with contextlib.suppress(OSError):
                        connection = stack.enter_context(self._connect())
                        connection.sendall(first)
                        connections.append(connection)
                self.stop.wait(every)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)
