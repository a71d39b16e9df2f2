"""A web server over TLS that sends images, and certificates for it, good ones and bad ones."""

import contextlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hostile_server import image


def make_certificate(file: Path, name: str = "localhost", *, days: int = 2) -> Path:
    """A key and a certificate for a host, in one file; the test is skipped without openssl.

    Args:
        days: until it expires; negative, it has expired as soon as it is made.
    """
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    key, request = file.with_suffix(".key"), file.with_suffix(".csr")
    for arguments in (
        f"req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key} "
        f"-out {request} -subj /CN={name} -addext subjectAltName=DNS:{name}",
        f"x509 -req -in {request} -signkey {key} -days {days} -copy_extensions copy -out {file}",
    ):
        subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True)
    file.write_bytes(key.read_bytes() + file.read_bytes())
    return file


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/robots.txt":
            self.send_response(404)
            self.end_headers()
        elif self.path == "/down":
            self.send_response(302)
            self.send_header("Location", "http://localhost/plain.jpg")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(image(self.path))


@contextlib.contextmanager
def serving_tls(certificate: Path) -> Iterator[int]:
    """Run a server with a certificate of `make_certificate`; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Encrypted(ThreadingHTTPServer):
        def finish_request(self, request: Any, client: Any) -> None:  # each in its thread
            wrap = context.wrap_socket
            with contextlib.suppress(OSError), wrap(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client)

        def shutdown_request(self, request: Any) -> None:  # `wrap_socket` has taken it over
            self.close_request(request)

    server = Encrypted(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
