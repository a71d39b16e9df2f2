"""Encrypted requests, and what the many cases of `test_url_downloads.py` cannot show."""

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
from sharpeye.web.addresses import anywhere, public_only
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits
from sharpeye.web.urls import without_password


class Handler(BaseHTTPRequestHandler):
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `localhost`, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")

    class Encrypted(ThreadingHTTPServer):
        def finish_request(self, request: Any, client: Any) -> None:  # each in its thread
            wrap = context.wrap_socket
            with contextlib.suppress(OSError), wrap(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client)

        def shutdown_request(self, request: Any) -> None:  # `wrap_socket` has taken it over
            self.close_request(request)

    server = Encrypted(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_encrypted_image_comes_if_the_certificate_is_good(port: int, certificate: Path) -> None:
    fetcher = ImageFetcher(anywhere)
    fetcher._client.tls.load_verify_locations(certificate / "certificate.pem")
    assert fetcher.get(f"https://localhost:{port}/1.jpg") == image("/1.jpg")
    with pytest.raises(FetchError, match="away from https") as down:
        fetcher.get(f"https://localhost:{port}/down")
    assert down.value.refused
    with pytest.raises(FetchError, match="certificate is not valid"):  # it is of another name
        fetcher.get(f"https://127.0.0.1:{port}/1.jpg")


def test_a_self_signed_certificate_is_refused(port: int) -> None:
    with pytest.raises(FetchError, match="its certificate is not valid") as raised:
        ImageFetcher(anywhere).get(f"https://localhost:{port}/1.jpg")
    assert not raised.value.retryable
    with pytest.raises(FetchError, match="no request is made there") as refused:
        ImageFetcher(public_only).get(f"https://localhost:{port}/1.jpg")
    assert refused.value.refused


def test_plain_text_to_an_encrypted_port_fails(port: int) -> None:
    limits = WebLimits(seconds=5, silence_seconds=2)
    with pytest.raises(FetchError):
        ImageFetcher(anywhere, limits).get(f"http://localhost:{port}/1.jpg")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:word@host/x", "http://***@host/x"),
        ("https://user@host", "https://***@host"),
        ("http://a@b:c@host/?q=@", "http://***@host/?q=@"),
        ("//user:word@host/x", "//***@host/x"),
        ("http://host/x@y", "http://host/x@y"),
        ("photos/a@b.jpg", "photos/a@b.jpg"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
