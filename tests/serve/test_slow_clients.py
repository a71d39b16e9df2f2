"""Clients that send or read slowly, or not at all, take nothing from others."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from http_client import StubModel, client_of, settings

URL = "/v1/predict"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
HALF_BODY = POST + b"Content-Length: 100000\r\n\r\nxyz"
FORM = POST + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxx'

# Everything that a client can begin and not finish.
UNFINISHED = {
    "nothing": b"",
    "half a request line": b"GET /heal",
    "half a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "half a body": HALF_BODY,
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nxyz",
    "chunks without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n",
    "a form without its end": FORM + PART,
    "100-continue without a body": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "a second request's half": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF_BODY,
    "half a body for no route": b"POST /none HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 100000\r\n\r\nxyz",
}


@contextlib.contextmanager
def connections(client: httpx.Client, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that send `data`, and nothing more."""
    address = (client.base_url.host, client.base_url.port)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(address, timeout=20))
            connection.sendall(data)
            opened.append(connection)
        yield opened


def read_all(connection: socket.socket, max_bytes: int = 2**30) -> bytes:
    """Read until the server closes, or for some bytes."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while len(received) < max_bytes and (chunk := connection.recv(65536)):
            received += chunk
    return bytes(received)


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the server closes a connection in time; reads what it sends."""
    connection.settimeout(0.05)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if not connection.recv(65536):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_requests_take_nothing_from_others(name: str) -> None:
    # more of them than active requests, bodies and connections are allowed
    limits = settings(requests=4, bodies=1, connections=30)
    with client_of(StubModel(), limits) as client:
        assert client.post(URL, content=b"x").status_code == 200  # a connection that is kept
        with connections(client, 40, UNFINISHED[name]):
            for _ in range(5):
                assert client.post(URL, content=b"x" * 1000).status_code == 200
            url = str(client.base_url.join(URL))
            for _ in range(5):  # a new connection each
                assert httpx.post(url, content=b"x" * 1000).status_code == 200
            assert "sharpeye_requests_inside 0.0" in client.get("/metrics").text


@pytest.mark.slow
@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_requests_end_after_a_time(name: str) -> None:
    limits = settings(header_seconds=0.15, rate_seconds=0.2)
    with (
        client_of(StubModel(), limits) as client,
        connections(client, 1, UNFINISHED[name]) as (connection,),
    ):
        started = time.monotonic()
        assert is_closed(connection, 5)
        assert time.monotonic() - started > 0.1


def trickle(connection: socket.socket, data: bytes, seconds: float) -> float:
    """Send `data` again and again until the server closes; returns the seconds."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            connection.sendall(data)
        except ConnectionError:
            break
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.parametrize(
    ("beginning", "data"),
    [(HALF_BODY, b"x"), (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")],
    ids=["length", "chunked"],
)
def test_a_body_below_the_rate_is_408_and_above_it_is_answered(
    beginning: bytes, data: bytes
) -> None:
    limits = settings(rate_seconds=0.3, body_bytes_per_second=1000)
    with client_of(StubModel(), limits) as client:
        with connections(client, 1, beginning) as (connection,):  # 50 bytes a second
            assert trickle(connection, data, 5) < 3
            with contextlib.suppress(ConnectionError):
                assert connection.recv(65536).split()[1] == b"408"
        with connections(client, 1, POST + b"Content-Length: 12000\r\n\r\n") as (connection,):
            for _ in range(12):  # longer than the window, and 10 times as fast
                connection.sendall(b"x" * 1000)
                time.sleep(0.06)
            assert connection.recv(65536).split()[1] == b"200"


def test_the_time_that_the_server_takes_is_not_counted_as_the_clients() -> None:
    limits = settings(rate_seconds=0.2, header_seconds=0.2)
    model = StubModel()
    with client_of(model, limits) as client:
        model.may_finish.clear()
        threading.Timer(0.7, model.may_finish.set).start()
        assert client.post(URL, content=b"x").status_code == 200


def test_the_slowest_body_makes_room_for_a_new_one() -> None:
    limits = settings(body_bytes=50_000, bodies=2)
    head = POST + b"Content-Length: 50000\r\n\r\n"
    with (
        client_of(StubModel(), limits) as client,
        connections(client, 2, head + b"x" * 49_000) as (first, second),
    ):
        time.sleep(0.2)  # both lie in the server
        second.sendall(b"x" * 10)
        for _ in range(3):
            assert client.post(URL, content=b"x" * 40_000).status_code == 200
        assert first.recv(65536).split()[1] == b"503"


def test_expect_continue_gets_its_answer(client: httpx.Client) -> None:
    head = POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with connections(client, 1, head) as (connection,):
        assert connection.recv(65536).split()[1] == b"100"
        connection.sendall(b"xyz")
        assert connection.recv(65536).split()[1] == b"422"  # it is no image
    head = POST + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
    with connections(client, 1, head) as (connection,):
        assert connection.recv(65536).split()[1] == b"413"  # without the body


def test_pipelined_requests_are_answered_in_their_order() -> None:
    requests = b"".join(
        POST + b"Content-Length: 1\r\n\r\nx" + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(50)
    )
    with client_of(StubModel(), settings()) as client:
        with connections(client, 1, requests) as (connection,):
            received = b""
            while received.count(b"HTTP/1.1 200") < 100:
                chunk = connection.recv(65536)
                assert chunk, received[-300:]
                received += chunk
        bodies = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200")[1:]]
        assert [b"predictions" in body for body in bodies] == [True, False] * 50


def with_small_buffers(client: httpx.Client) -> socket.socket:
    """A connection whose client can hold little of a response that it does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((client.base_url.host, client.base_url.port))
    return connection


@pytest.mark.slow
def test_a_client_that_does_not_read_is_dropped_and_a_slow_one_is_not() -> None:
    class Wide(StubModel):
        def __init__(self) -> None:
            super().__init__()
            self.labels = tuple(f"class {number:0300}" for number in range(1000))

        def predict(self, source: Any, top: int = 5) -> Any:
            prediction = super().predict(source, top)
            return type(prediction)("birch", 0.75, tuple((label, 0.0) for label in self.labels))

    files = b"".join(PART + b"\r\n" for _ in range(64)) + b"--b--\r\n"
    request = FORM.replace(b"9999", b"%d" % len(files)) + files
    request = request.replace(b"predict", b"predict?top=999")  # the response has 21 MB
    with client_of(Wide(), settings(header_seconds=0.3)) as client:
        with with_small_buffers(client) as connection:
            connection.sendall(request)
            time.sleep(2)
            assert len(read_all(connection)) < 10 * 2**20  # what lay in the sockets
        with with_small_buffers(client) as connection:
            connection.sendall(request)
            started, received = time.monotonic(), 0
            while time.monotonic() - started < 2:  # several of the server's checks
                received += len(connection.recv(8192))
                time.sleep(0.02)
            assert received + len(read_all(connection, 20 * 2**20)) > 20 * 2**20


def test_a_client_that_never_stops_sending_after_a_refusal_is_dropped() -> None:
    with client_of(StubModel(), settings(body_bytes=1000)) as client:
        with connections(client, 1, POST + b"Transfer-Encoding: chunked\r\n\r\n") as (connection,):
            sent, chunk = 0, b"100000\r\n" + b"x" * 2**20 + b"\r\n"
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    connection.sendall(chunk)
                    sent += 2**20
        assert sent < 64 * 2**20


@pytest.mark.slow
def test_a_server_that_ends_does_not_wait_for_slow_clients() -> None:
    with contextlib.ExitStack() as stack:
        with client_of(StubModel(), settings()) as client:
            bodies = stack.enter_context(connections(client, 3, HALF_BODY))
            stop = threading.Event()

            def send_slowly() -> None:
                while not stop.wait(0.3):
                    for body in bodies:
                        with contextlib.suppress(OSError):
                            body.sendall(b"x")

            sender = threading.Thread(target=send_slowly)
            sender.start()
            stack.callback(sender.join)
            stack.callback(stop.set)
            time.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 5
