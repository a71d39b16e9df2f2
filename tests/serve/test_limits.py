"""Limits on size, number and time: over a limit a request is refused, within it answered."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from http_client import StubModel, client_of, settings

URL = "/v1/predict"


def wait_for(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


# --- size ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """A server that accepts bodies up to 100 kB."""
    with client_of(StubModel(), settings(body_bytes=100_000)) as client:
        yield client


def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_not(small: httpx.Client) -> None:
    assert small.post(URL, content=b"x" * 100_000).status_code == 200
    response = small.post(URL, content=b"x" * 100_001)
    assert response.status_code == 413
    assert "over the limit of 0.0953674 MiB" in response.json()["error"]


def test_a_body_without_a_length_is_counted_while_it_arrives(small: httpx.Client) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield from (b"x" * 10_000 for _ in range(count))

    assert small.post(URL, content=chunks(10)).status_code == 200
    assert small.post(URL, content=chunks(11)).status_code == 413
    assert small.post(URL, content=chunks(1000)).status_code == 413


def test_a_wrong_content_length_does_no_harm(small: httpx.Client) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n"
    for length, status in ((b"99999999999", b"413"), (b"-1", b"400"), (b"x", b"400")):
        with connect(small) as connection:
            connection.sendall(head % length)
            assert connection.recv(65536).split()[1] == status
    with connect(small) as connection:  # more is announced than sent
        connection.sendall(head % b"1000" + b"x" * 10)
    with connect(small) as connection:  # more is sent than announced: it is another request
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


def test_requests_beyond_the_limit_get_503_with_retry_after() -> None:
    model = StubModel()
    with client_of(model, settings(requests=3)) as client, ThreadPoolExecutor(8) as pool:
        model.may_finish.clear()
        waiting = [pool.submit(client.post, URL, content=b"x") for _ in range(3)]
        wait_for(lambda: "sharpeye_requests_inside 3.0" in client.get("/metrics").text)
        response = client.post(URL, content=b"x")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        model.may_finish.set()
        assert [future.result().status_code for future in waiting] == [200] * 3
        assert client.post(URL, content=b"x").status_code == 200


def test_bodies_beyond_the_memory_limit_get_503() -> None:
    model = StubModel()
    limits = settings(body_bytes=1000, bodies=2)
    with client_of(model, limits) as client, ThreadPoolExecutor(8) as pool:
        model.may_finish.clear()
        waiting = [pool.submit(client.post, URL, content=b"x" * 900) for _ in range(2)]
        wait_for(lambda: "sharpeye_requests_inside 2.0" in client.get("/metrics").text)
        assert client.post(URL, content=b"x" * 900).status_code == 503
        model.may_finish.set()
        assert [future.result().status_code for future in waiting] == [200] * 2
        assert client.post(URL, content=b"x" * 900).status_code == 200


def test_a_request_of_one_image_does_not_wait_for_all_of_a_request_of_many() -> None:
    class Slow(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            time.sleep(0.02)
            return super().predict(source, top)

    done: list[str] = []

    def send(client: httpx.Client, name: str, count: int) -> None:
        files = [("file", ("x", b"x"))] * count
        assert client.post(URL, files=files).status_code == 200
        done.append(name)

    with client_of(Slow(), settings()) as client:
        many = threading.Thread(target=send, args=(client, "many", 64))
        many.start()
        wait_for(lambda: "sharpeye_requests_inside 1.0" in client.get("/metrics").text)
        send(client, "one", 1)
        many.join()
    assert done == ["one", "many"]


# --- time ----------------------------------------------------------------------------------------


def test_a_prediction_over_the_time_limit_is_504_and_queued_images_are_dropped() -> None:
    model = StubModel()
    with client_of(model, settings(seconds=0.3)) as client:
        model.may_finish.clear()
        before = model.calls
        response = client.post(URL, files=[("file", ("x", b"x"))] * 50)
        assert response.status_code == 504
        assert "no answer within 0.3 s" in response.json()["error"]
        model.may_finish.set()
        assert client.post(URL, content=b"x").status_code == 200
        assert model.calls - before < 20


def test_a_body_that_does_not_arrive_is_408() -> None:
    with client_of(StubModel(), settings(seconds=0.3)) as client, connect(client) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx"
        )
        response = read_all(connection)
        assert response.split()[1] == b"408"
        assert b"did not arrive within 0.3 s" in response
        assert "sharpeye_requests_inside 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_header_that_does_not_arrive_ends_the_connection(beginning: bytes) -> None:
    with client_of(StubModel(), settings(header_seconds=0.2)) as client:
        with connect(client) as connection:
            connection.sendall(beginning)
            started = time.monotonic()
            assert read_all(connection) == b""
            assert 0.1 < time.monotonic() - started < 5
        # a header that comes byte by byte ends, too
        with connect(client) as connection, pytest.raises(OSError):
            for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 1000:
                connection.sendall(bytes([byte]))
                time.sleep(0.01)


def test_a_prediction_may_take_longer_than_the_header_limit() -> None:
    model = StubModel()
    with client_of(model, settings(header_seconds=0.1)) as client:
        model.may_finish.clear()
        threading.Timer(0.6, model.may_finish.set).start()
        assert client.post(URL, content=b"x").status_code == 200


def test_requests_of_clients_that_leave_are_dropped() -> None:
    model = StubModel()
    with client_of(model, settings()) as client:
        for length in (b"10", b"1"):  # in the middle of a body, and during the prediction
            for _ in range(20):
                with connect(client) as connection:
                    connection.sendall(
                        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                        + length
                        + b"\r\n\r\nx"
                    )
        wait_for(lambda: "sharpeye_requests_inside 0.0" in client.get("/metrics").text)
        assert client.post(URL, content=b"x").status_code == 200


def test_hundreds_of_half_open_connections_do_not_affect_others() -> None:
    with client_of(StubModel(), settings()) as client, contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(connect(client))
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: " * (number % 2))
        for _ in range(20):
            assert client.post(URL, content=b"x").status_code == 200


def test_a_bug_is_500_in_json_and_the_server_continues(caplog: pytest.LogCaptureFixture) -> None:
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


def test_an_image_that_needs_too_much_memory_is_named() -> None:
    class Short(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            if isinstance(source, bytes) and source == b"huge":
                raise MemoryError
            return super().predict(source, top)

    with client_of(Short(), settings()) as client:
        files = [("file", ("a", b"huge")), ("file", ("b", b"x"))]
        first, second = client.post(URL, files=files).json()["predictions"]
    assert first == {"name": "a", "error": "it needs more memory than there is"}
    assert second["label"] == "birch"
