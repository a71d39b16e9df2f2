"""Size, number, time: what is over a limit is refused, and what is within it is answered."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from http_client import StubModel, client_of

from sharpeye.serve.app import Settings
from sharpeye.serve.limits import RequestLimits

URL = "/v1/predict"


def settings(**limits: Any) -> Settings:
    return Settings("trees", limits=RequestLimits(**limits))


def wait_for(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


# --- size ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """A server that takes 100 kB."""
    with client_of(StubModel(), settings(body_bytes=100_000)) as client:
        yield client


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(small: httpx.Client) -> None:
    assert small.post(URL, content=b"x" * 100_000).status_code == 200
    response = small.post(URL, content=b"x" * 100_001)
    assert response.status_code == 413
    assert "over the limit of 0.0953674 MiB" in response.json()["error"]


def test_a_body_without_a_length_is_counted_as_it_comes(small: httpx.Client) -> None:
    def pieces(count: int) -> Iterator[bytes]:
        yield from (b"x" * 10_000 for _ in range(count))

    assert small.post(URL, content=pieces(10)).status_code == 200
    assert small.post(URL, content=pieces(11)).status_code == 413
    assert small.post(URL, content=pieces(1000)).status_code == 413


def test_a_length_that_lies_is_no_harm(small: httpx.Client) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n"
    for length, status in ((b"99999999999", b"413"), (b"-1", b"400"), (b"x", b"400")):
        with connect(small) as connection:
            connection.sendall(head % length)
            assert connection.recv(65536).split()[1] == status
    with connect(small) as connection:  # more is announced than comes
        connection.sendall(head % b"1000" + b"x" * 10)
    with connect(small) as connection:  # more comes than was announced: it is another request
        connection.sendall(head % b"1" + b"x" + b"yyyy\r\n\r\n")
        assert connection.recv(65536).split()[1] == b"200"
    assert small.get("/healthz").status_code == 200


def test_long_headers_are_refused(small: httpx.Client) -> None:
    with connect(small) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(65536).split()[1] in (b"400", b"431")
    assert small.get("/healthz").status_code == 200


# --- number --------------------------------------------------------------------------------------


def test_requests_beyond_the_limit_are_told_to_come_again() -> None:
    model = StubModel()
    with client_of(model, settings(requests=3)) as client, ThreadPoolExecutor(8) as pool:
        model.go_on.clear()
        waiting = [pool.submit(client.post, URL, content=b"x") for _ in range(3)]
        wait_for(lambda: "sharpeye_requests_inside 3.0" in client.get("/metrics").text)
        response = client.post(URL, content=b"x")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        model.go_on.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
        assert client.post(URL, content=b"x").status_code == 200


def test_bodies_that_fill_the_memory_are_told_to_come_again() -> None:
    model = StubModel()
    limits = settings(body_bytes=1000, bodies=2)
    with client_of(model, limits) as client, ThreadPoolExecutor(8) as pool:
        model.go_on.clear()
        waiting = [pool.submit(client.post, URL, content=b"x" * 900) for _ in range(2)]
        wait_for(lambda: "sharpeye_requests_inside 2.0" in client.get("/metrics").text)
        assert client.post(URL, content=b"x" * 900).status_code == 503
        model.go_on.set()
        assert [one.result().status_code for one in waiting] == [200] * 2
        assert client.post(URL, content=b"x" * 900).status_code == 200


def test_a_request_of_one_does_not_wait_for_all_of_a_request_of_many() -> None:
    class Slow(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            time.sleep(0.02)
            return super().predict(source, top)

    done: list[str] = []

    def ask(client: httpx.Client, name: str, count: int) -> None:
        files = [("file", ("x", b"x"))] * count
        assert client.post(URL, files=files).status_code == 200
        done.append(name)

    with client_of(Slow(), settings()) as client:
        many = threading.Thread(target=ask, args=(client, "many", 64))
        many.start()
        wait_for(lambda: "sharpeye_requests_inside 1.0" in client.get("/metrics").text)
        ask(client, "one", 1)
        many.join()
    assert done == ["one", "many"]


# --- time ----------------------------------------------------------------------------------------


def test_an_answer_that_takes_too_long_is_504_and_the_rest_is_dropped() -> None:
    model = StubModel()
    with client_of(model, settings(seconds=0.3)) as client:
        model.go_on.clear()
        before = model.begun
        response = client.post(URL, files=[("file", ("x", b"x"))] * 50)
        assert response.status_code == 504
        assert "no answer within 0.3 s" in response.json()["error"]
        model.go_on.set()
        assert client.post(URL, content=b"x").status_code == 200
        assert model.begun - before < 20


def test_a_body_that_does_not_come_is_408() -> None:
    with client_of(StubModel(), settings(seconds=0.3)) as client, connect(client) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx"
        )
        said = answer_of(connection)
        assert said.split()[1] == b"408"
        assert b"was not here within 0.3 s" in said
        assert "sharpeye_requests_inside 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_header_that_does_not_come_ends_the_connection(beginning: bytes) -> None:
    with client_of(StubModel(), settings(header_seconds=0.2)) as client:
        with connect(client) as connection:
            connection.sendall(beginning)
            started = time.monotonic()
            assert answer_of(connection) == b""
            assert 0.1 < time.monotonic() - started < 5
        # a header byte by byte is no better
        with connect(client) as connection, pytest.raises(OSError):
            for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 1000:
                connection.sendall(bytes([byte]))
                time.sleep(0.01)


def test_an_answer_may_take_longer_than_a_header() -> None:
    model = StubModel()
    with client_of(model, settings(header_seconds=0.1)) as client:
        model.go_on.clear()
        threading.Timer(0.6, model.go_on.set).start()
        assert client.post(URL, content=b"x").status_code == 200


def test_clients_that_leave_are_forgotten() -> None:
    model = StubModel()
    with client_of(model, settings()) as client:
        for length in (b"10", b"1"):  # in the middle of a body, and while it is answered
            for _ in range(20):
                with connect(client) as connection:
                    connection.sendall(
                        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                        + length
                        + b"\r\n\r\nx"
                    )
        wait_for(lambda: "sharpeye_requests_inside 0.0" in client.get("/metrics").text)
        assert client.post(URL, content=b"x").status_code == 200


def test_hundreds_of_half_open_connections_harm_nobody() -> None:
    with client_of(StubModel(), settings()) as client, contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(connect(client))
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: " * (number % 2))
        for _ in range(20):
            assert client.post(URL, content=b"x").status_code == 200


def test_a_bug_is_500_in_json_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            if isinstance(source, bytes) and source == b"bug":
                raise ZeroDivisionError("at work")
            return super().predict(source, top)

    with client_of(Broken(), settings()) as client:
        for files in ([("file", b"bug")], [("file", b"bug"), ("file", b"x")]):
            response = client.post(URL, files=files)
            assert response.status_code == 500
            assert "a bug in SharpEye" in response.json()["error"]
        assert client.post(URL, content=b"x").status_code == 200
    assert "ZeroDivisionError: at work" in caplog.text


def test_an_image_for_which_memory_is_short_is_named() -> None:
    class Short(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            if isinstance(source, bytes) and source == b"huge":
                raise MemoryError
            return super().predict(source, top)

    with client_of(Short(), settings()) as client:
        files = [("file", ("a", b"huge")), ("file", ("b", b"x"))]
        found = client.post(URL, files=files).json()["predictions"]
    assert found[0] == {"name": "a", "error": "it needs more memory than there is"}
    assert found[1]["label"] == "birch"
