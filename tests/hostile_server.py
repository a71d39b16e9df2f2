"""A web server that sends good images and misbehaves: a path's first part says how."""

import contextlib
import gzip
import io
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
BOMB = gzip.compress(bytes(50 * 2**20), 9)
ROBOTS = b"User-agent: *\nDisallow: /disallowed/\nDisallow: /*.secret$\n"


@lru_cache(maxsize=4096)
def image(name: str) -> bytes:
    """A small image of noise, another one for each name, in a format that depends on it."""
    seed = zlib.crc32(name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, FORMATS[seed % len(FORMATS)])
    return buffer.getvalue()


def png_bomb() -> bytes:
    """A PNG of a few bytes whose header claims 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksummed = kind + data
        return (
            struct.pack(">I", len(data)) + checksummed + struct.pack(">I", zlib.crc32(checksummed))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


class HostileServer:
    """What the server does, and what was requested.

    Attributes:
        hits: requests by path.
        agents: each User-Agent.
        robots: gives status and body of robots.txt.
        pages: bodies by path.
        redirects: targets by path.
        end: is set when the server ends, to release waiting handlers.
    """

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.robots: Callable[[], tuple[int, bytes]] = lambda: (200, ROBOTS)
        self.pages: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.port = 0
        self.end = threading.Event()
        self._lock = threading.Lock()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def count(self, path: str) -> int:
        """The number of requests for this path so far, with this one."""
        with self._lock:
            self.hits[path] += 1
            return self.hits[path]


@contextlib.contextmanager
def serving() -> Iterator[HostileServer]:
    state = HostileServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            state.agents.add(self.headers.get("User-Agent", ""))
            with contextlib.suppress(OSError):
                _respond(self, state, state.count(self.path))

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        state.end.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _respond(handler: Any, state: HostileServer, count: int) -> None:
    path = handler.path
    kind = path.split("/")[1]
    first = count == 1

    def send(body: bytes = b"", status: int = 200, length: int | None = None, **more: str) -> None:
        handler.send_response(status)
        for name, value in more.items():
            handler.send_header(name.replace("_", "-"), value)
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()

    def reset() -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    body = image(path)
    if path in state.pages:
        send(state.pages[path])
    elif path in state.redirects:
        send(status=302, Location=state.redirects[path])
    elif path == "/robots.txt":
        status, text = state.robots()
        send(text, status)
    elif kind in ("good", "disallowed"):
        send(body, Content_Type="text/html")
    elif kind == "copy":
        send(image("/good/" + path.split("/")[2]))
    elif kind.isdecimal():
        send(b"<html>sorry</html>", int(kind))
    elif kind == "fails-once":
        send(body, 500 if first else 200)
    elif kind == "busy-once":
        send(body, 503 if first else 200, **({"Retry_After": "1"} if first else {}))
    elif kind == "busy-long":
        send(b"", 429, Retry_After="3600")
    elif kind == "slow":
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for start in range(0, len(body), len(body) // 3 + 1):
            handler.wfile.write(body[start : start + len(body) // 3 + 1])
            handler.wfile.flush()
            time.sleep(0.05)
    elif kind in ("drip", "drip-headers"):
        if kind == "drip":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        while not state.end.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()
    elif kind == "hang":
        state.end.wait(20)
    elif kind == "cut":
        send(body[:100], length=len(body))
    elif kind == "cut-once":
        send(body[:100] if first else body, length=len(body))
    elif kind == "cut-unsaid":
        jpeg = io.BytesIO()
        Image.effect_noise((200, 200), 50).save(jpeg, "JPEG")
        send(jpeg.getvalue()[:2000], length=-1)
    elif kind == "unsaid":
        send(body, length=-1)
    elif kind == "chunked":
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    elif kind == "html":
        send(b"<!DOCTYPE html><html><body>not here</body></html>", Content_Type="image/jpeg")
    elif kind == "text":
        send(b"=cmd|' /C calc'!A0 and more", Content_Type="image/png")
    elif kind == "empty":
        send(b"", Content_Type="image/png")
    elif kind == "pixels":
        send(png_bomb(), Content_Type="image/png")
    elif kind == "huge":
        send(b"\xff\xd8\xff", length=10 * 2**30)
    elif kind == "endless":
        handler.send_response(200)
        handler.end_headers()
        while not state.end.is_set():
            handler.wfile.write(b"\xff\xd8\xff" * 20_000)
    elif kind == "gzip-bomb":
        send(BOMB, Content_Encoding="gzip")
    elif kind == "gzip":
        send(gzip.compress(body), Content_Encoding="gzip")
    elif kind == "gzip-cut":
        send(gzip.compress(body)[:-40], Content_Encoding="gzip")
    elif kind == "gzip-lie":
        send(body, Content_Encoding="gzip")
    elif kind == "noai":
        send(body, X_Robots_Tag="noindex, noai")
    elif kind == "noimageai":
        send(body, X_Robots_Tag="sharpeye: noimageai")
    elif kind == "noai-others":
        send(body, X_Robots_Tag="otherbot: noai")
    elif kind == "reset":
        reset()
    elif kind == "reset-once":
        reset() if first else send(body)
    elif kind == "garbage":
        handler.wfile.write(b"\x00\x01 no http at all\r\n\r\n")
    elif kind == "headers":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    elif kind == "self":
        send(status=301, Location=path)
    elif kind == "chain":
        send(status=307, Location=f"/chain/{int(path.split('/')[2]) + 1}")
    elif kind == "nowhere":
        send(status=302)
    elif kind == "moved":
        send(status=308, Location=f"/good/moved-{path.split('/')[2]}")
    else:
        send(b"?", 404)
