"""One request over http or https, and what can go wrong with it sorted into two kinds.

`Broken` is what another attempt may mend. Everything else is a NetworkError.
"""

import contextlib
import email.utils
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import urlsplit

from sharpeye.core.version import __version__
from sharpeye.errors import NetworkError, UsageError

TIMEOUT_SECONDS = 30.0  # to connect, and between two pieces of the body
_PASSING_ERRORS = frozenset({408, 416, 425, 429})  # besides 5xx


class Broken(Exception):
    """The connection broke, or the server is out of order: another attempt may do."""


def require_http(url: str) -> None:
    """Refuse what urllib would take for a file, or stumble over later.

    Raises:
        UsageError: not http or https, no host, a password, or characters that no URL has.
    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port
    except ValueError:
        plain = False
    if not plain or not re.fullmatch(r"[!-~]+", url):
        raise UsageError(
            "a URL must be http://HOST/PATH or https://HOST/PATH without spaces, user or password. "
            f"Received: {without_password(url)}"
        )


def without_password(url: str) -> str:
    """A URL as it may be shown and kept: user and password become `***`."""
    return re.sub(r"^([^:/?#]*:)?//[^/?#]*@", r"\1//***@", url)


def open_url(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """The server's answer, redirects followed; its status is 2xx.

    Raises:
        urllib.error.HTTPError: another status.
        OSError, http.client.HTTPException: the connection broke. See `network_errors`.
        NetworkError: a redirect leads away from encryption.
    """
    headers = {"User-Agent": f"sharpeye/{__version__}", **headers}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  see `_opener`
    response: http.client.HTTPResponse = _opener().open(request, timeout=TIMEOUT_SECONDS)
    return response


@contextlib.contextmanager
def network_errors(url: str) -> Iterator[None]:
    """Translate what can happen on the way into Broken or NetworkError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500 or error.code in _PASSING_ERRORS:
            raise Broken(_answer(error.code, error.reason)) from None
        raise refusal(url, _answer(error.code, error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a header
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise refusal(url, f"its certificate is not valid ({cause.verify_message})") from None
        raise Broken(getattr(cause, "strerror", None) or str(cause) or repr(cause)) from None


def refusal(url: str, reason: str) -> NetworkError:
    """An error that another attempt would meet again."""
    return NetworkError(f"cannot download {url}: {reason}; check the address")


def unexpected(url: str, response: http.client.HTTPResponse) -> NetworkError:
    """The error for a 2xx answer that brings no file."""
    return refusal(url, _answer(response.status, response.reason))


def validator_of(response: http.client.HTTPResponse) -> str:
    """What If-Range may hold: a weak ETag may not, as it allows for other bytes."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def content_range(response: http.client.HTTPResponse) -> tuple[int, int]:
    """(first byte, size of the whole file) of a partial answer; -1 where it does not say both."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, -1)


def seconds_of(retry_after: str) -> float:
    """How long a Retry-After header is, 0 or more: it holds seconds or a date (RFC 9110)."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _answer(status: int, reason: str) -> str:
    return f"the server answers {status} {reason}".rstrip()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never away from encryption."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            fp.close()
            raise refusal(req.full_url, f"it leads to {newurl}, away from {req.type}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https only, and heeds `http_proxy`, `https_proxy` and `no_proxy`."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
