"""A real HTTP server on this machine, with ranges, and with faults as a test sets them."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Resource:
    """A file on the server.

    Attributes:
        statuses: sent instead of it, one for each request.
        cuts: the connection is closed after so many bytes of a body, one for each request.
        stalls: after so many bytes of a body the server waits for `go_on`, one for each request.
        location: where a redirect leads.
        headers: sent in place of the usual ones; None sends none.
    """

    body: bytes
    etag: str | None = '"1"'
    ranges: bool = True
    honours_if_range: bool = True
    announces_length: bool = True
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request and its response; `sent` is the number of bytes of the body."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Loopback:
    """The server: `files` by path, and the `requests` that came."""

    def __init__(self) -> None:
        self.files: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.go_on = threading.Event()
        self.root = ""

    def add(self, path: str, body: bytes, **options: Any) -> str:
        """Put a file on the server; returns its URL."""
        self.files[path] = Resource(body, **options)
        return f"{self.root}{path}"

    @property
    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]

    @property
    def statuses(self) -> list[int]:
        return [request.status for request in self.requests]


@contextlib.contextmanager
def serving() -> Iterator[Loopback]:
    """Run a server until the block ends."""
    loopback = Loopback()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            request = Request(self.path, dict(self.headers))
            loopback.requests.append(request)
            with contextlib.suppress(ConnectionError):
                _respond(self, loopback, request)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    loopback.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield loopback
    finally:
        loopback.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _respond(handler: BaseHTTPRequestHandler, loopback: Loopback, request: Request) -> None:
    resource = loopback.files.get(handler.path)
    status = 404 if resource is None else resource.statuses.pop(0) if resource.statuses else 200
    if resource is None or status != 200:
        request.status = status
        handler.send_response(status)
        if resource and resource.location:
            handler.send_header("Location", resource.location)
        handler.end_headers()
        return
    body, headers = resource.body, {}
    start = _range_start(handler, resource)
    if start >= len(body) > 0:
        request.status = 416
        handler.send_response(416)
        handler.end_headers()
        return
    if start:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        body = body[start:]
    if resource.announces_length:
        headers["Content-Length"] = str(len(body))
    if resource.etag:
        headers["ETag"] = resource.etag
    request.status = status
    handler.send_response(status)
    for name, value in (headers | resource.headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    if resource.cuts:
        body = body[: resource.cuts.pop(0)]
    pieces = [body]
    if resource.stalls:
        stop = resource.stalls.pop(0)
        pieces = [body[:stop], body[stop:]]
    for number, piece in enumerate(pieces):
        if number:
            handler.wfile.flush()
            loopback.go_on.wait(30)
        request.sent += len(piece)
        handler.wfile.write(piece)


def _range_start(handler: BaseHTTPRequestHandler, resource: Resource) -> int:
    requested = handler.headers.get("Range")
    condition = handler.headers.get("If-Range")
    if not requested or not resource.ranges:
        return 0
    validators = (resource.etag, resource.headers.get("Last-Modified"))
    if resource.honours_if_range and condition and condition not in validators:
        return 0
    return int(requested.removeprefix("bytes=").removesuffix("-"))
