"""Raw requests that are hostile or hardly HTTP, with the statuses that they may get.

A server that refuses a request before it was sent may close the connection, whereupon the response
is lost: `may_close`.
"""

import contextlib
import socket
from dataclasses import dataclass

POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
FORM = POST + b"Content-Type: multipart/form-data; boundary=b\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def with_length(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def part(name: bytes, data: bytes = b"x", field: bytes = b"file") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
    return head % (field, name) + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return with_length(FORM, b"".join(parts) + b"--b--\r\n")


@dataclass(frozen=True)
class RawRequest:
    """Bytes to send, and the statuses that are allowed for the last of `count` responses."""

    data: bytes
    statuses: frozenset[int]
    may_close: bool = False
    count: int = 1


def _request(data: bytes, *statuses: int, may_close: bool = False, count: int = 1) -> RawRequest:
    return RawRequest(data, frozenset(statuses), may_close, count)


IMAGE = with_length(POST, b"x")  # for a stub that predicts whatever it gets

# By name. A request that the server answers before it was sent may lose its response.
RAW_REQUESTS = {
    # --- lengths ---
    "a length of 20 GB": _request(POST + b"Content-Length: 21474836480\r\n\r\nxyz", 413),
    "a length of 40 digits": _request(
        POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400, 413
    ),
    "a negative length": _request(POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length with a plus": _request(POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a length in hexadecimal": _request(POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "a list of lengths": _request(POST + b"Content-Length: 5, 6\r\n\r\nhello", 400),
    "two lengths": _request(POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "a length and chunks": _request(
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 400
    ),
    "two codings": _request(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": _request(POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    # --- chunks ---
    "a chunk size that is no number": _request(CHUNKED + b"ZZ\r\nxyz\r\n", 400),
    "a negative chunk": _request(CHUNKED + b"-1\r\n\r\n", 400),
    "a chunk size of 40 digits": _request(CHUNKED + b"f" * 40 + b"\r\nxyz", 400, 413),
    "a chunk longer than its size": _request(CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n", 400),
    "a chunk extension of 100 kB": _request(
        CHUNKED + b"1;" + b"a" * 100_000 + b"\r\nx\r\n0\r\n\r\n", 200, 400, 431, may_close=True
    ),
    "trailers of 100 kB": _request(
        CHUNKED + b"1\r\nx\r\n0\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        200,
        400,
        431,
        may_close=True,
    ),
    "chunks that do not end, then a bad one": _request(
        CHUNKED + b"100000\r\n" + bytes(2**20) + b"\r\n" + b"ZZ\r\n", 400, 413, may_close=True
    ),
    "a bad chunk after a refusal": _request(
        POST.replace(b"localhost", b"evil.test") + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        400,
        421,
    ),
    # --- headers ---
    "a header of 1 MB": _request(GET + b"A: " + b"b" * 2**20 + b"\r\n\r\n", 431, may_close=True),
    "20,000 headers": _request(GET + b"A: b\r\n" * 20_000 + b"\r\n", 431, may_close=True),
    "a request line of 1 MB": _request(
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 431, may_close=True
    ),
    "no host": _request(b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": _request(GET + b"Host: localhost\r\n\r\n", 400),
    "a header without a colon": _request(GET + b"nonsense\r\n\r\n", 400),
    "a space before the colon": _request(GET + b"A : b\r\n\r\n", 400),
    "NUL in a header": _request(GET + b"A: b\0c\r\n\r\n", 400),
    "a bare carriage return": _request(GET + b"A: b\rc\r\n\r\n", 400),
    "a folded header": _request(GET + b"A: b\r\n c\r\n\r\n", 200, 400),
    "a name that is no token": _request(GET + b"A(: b\r\n\r\n", 400),
    "an upgrade to a web socket": _request(
        GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        200,
    ),
    "an upgrade to HTTP/2": _request(
        GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
        200,
    ),
    "HTTP/2 with prior knowledge": _request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 421),
    "HTTP/9.9": _request(b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 200, 400, 505),
    "TLS": _request(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60) + b"\r\n\r\n", 400),
    "an expectation of nonsense": _request(GET + b"Expect: a-miracle\r\n\r\n", 200, 400, 417),
    # --- paths ---
    "a path out of the root": _request(
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404
    ),
    "an encoded path out of the root": _request(
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404
    ),
    "NUL in the path": _request(b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "bytes that are no UTF-8": _request(b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "a line break in the path": _request(
        b"GET /%0d%0aSet-Cookie:a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", 404
    ),
    "a path of another server": _request(
        b"GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404
    ),
    "a path with two slashes": _request(
        b"GET //evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404
    ),
    "a tunnel": _request(
        b"CONNECT evil.test:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 404, 405, may_close=True
    ),
    "an asterisk": _request(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, 405),
    "a model of 64 KiB": _request(
        b"GET /v1/models/" + b"m" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, 431
    ),
    # --- forms ---
    "10,000 files": _request(form(*[part(b"a.jpg")] * 10_000), 413),
    "10,000 fields": _request(
        form(*[b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'] * 10_000), 413
    ),
    "a file name of 64 KiB": _request(form(part(b"n" * 65_536)), 400, 431),
    "a file name of 7 KiB": _request(form(part(b"n" * 7_000)), 200, 400),
    "a file name that leads out": _request(form(part(b"../../../etc/passwd")), 200),
    "NUL in a file name": _request(form(part(b"a\0.jpg")), 200, 400),
    "a script as a file name": _request(form(part(b"<script>alert(1)</script>")), 200),
    "a line break in a file name": _request(form(part(b"a%0d%0ab")), 200),
    "a form without a boundary": _request(
        with_length(POST + b"Content-Type: multipart/form-data\r\n", b"--b--\r\n"), 400
    ),
    "a boundary of 60,000 bytes": _request(
        with_length(
            POST + b"Content-Type: multipart/form-data; boundary=" + b"b" * 60_000 + b"\r\n", b"x"
        ),
        400,
        431,
    ),
    "a form that is cut": _request(with_length(FORM, part(b"a.jpg")), 400),
    "100 kB of headers of a part": _request(
        with_length(FORM, b"--b\r\n" + b"A: b\r\n" * 16_000 + b"\r\nx\r\n--b--\r\n"), 400, 431
    ),
    "a form in a form": _request(form(part(b"a", b"--b--\r\n--b\r\n")), 200, 400),
    # --- JSON ---
    "a million brackets": _request(with_length(POST, b'{"images":' + b"[" * 10**6), 400),
    "three million values": _request(
        with_length(POST, b'{"images":[' + b"[]," * 3 * 10**6 + b"[]]}"), 413
    ),
    "a number of a million digits": _request(
        with_length(POST, b'{"images":[' + b"9" * 10**6 + b"]}"), 400, 422
    ),
    "a repeated key": _request(with_length(POST, b'{"image":"a","image":"eA=="}'), 200, 400),
    "a key that is unknown": _request(with_length(POST, b'{"__proto__":1}'), 400),
    "an empty body": _request(POST + b"\r\n", 400),
    "a compressed body": _request(
        with_length(POST + b"Content-Encoding: gzip\r\n", b"\x1f\x8b"), 415
    ),
    # --- methods ---
    **{
        f"the method {method}": _request(
            method.encode() + POST[4:] + b"Content-Length: 0\r\n\r\n",
            405,
        )
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "MOVE", "get")
    },
    # --- several requests at once ---
    "1,000 pipelined": _request((GET + b"\r\n") * 1000, 200, count=1000),
    "a second request that is nonsense": _request(
        GET + b"\r\n" + b"nonsense\r\n\r\n", 400, count=2
    ),
    "a second request smuggled in a body": _request(
        with_length(POST, b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"), 200
    ),
}


@dataclass(frozen=True)
class RawResponse:
    """A response; header names are in lower case. `body` is incomplete while it arrives."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_complete(self) -> bool:
        return len(self.body) >= int(self.headers.get("content-length", 0))


def parse_responses(received: bytes) -> list[RawResponse]:
    """The responses in what a server has sent; all have a length, but for those without a body."""
    responses = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        responses.append(RawResponse(int(first.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return responses


def exchange(port: int, data: bytes, count: int = 1, seconds: float = 20) -> list[RawResponse]:
    """Send bytes, and receive `count` responses, or fewer if the server closes before.

    TimeoutError if it does neither in time.
    """
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
                if received.count(b"HTTP/1.1 ") >= count:
                    responses = parse_responses(bytes(received))
                    if len(responses) >= count and responses[-1].is_complete:
                        return responses
    return parse_responses(bytes(received))
