"""Encrypted requests, and what the many cases of `test_url_downloads.py` cannot show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile_server import image
from sharpeye.web.addresses import anywhere, public_only
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits
from sharpeye.web.urls import without_password
from tls_server import make_certificate, serving_tls


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate") / "server.pem")


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    with serving_tls(certificate) as port:
        yield port


def test_an_encrypted_image_comes_if_the_certificate_is_good(port: int, certificate: Path) -> None:
    fetcher = ImageFetcher(anywhere)
    fetcher._client.tls.load_verify_locations(certificate)
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
