"""Send GET requests over http and https, follow redirects, and classify errors.

httpx speaks the protocol. Redirects are followed here, so that each URL is checked like the first
one. A request asks for an uncompressed body, sends no cookies, and has its own connection.
Importing this module raises MissingExtra where httpx is not installed.
"""

import contextlib
import email.utils
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sharpeye.errors import MissingExtra
from sharpeye.web.addresses import AddressCheck
from sharpeye.web.fetch_error import FetchError, connection_error
from sharpeye.web.urls import redirect_target

try:
    import httpcore
    import httpx

    from sharpeye.web.checked_connection import CheckedConnection
except ImportError:
    raise MissingExtra("httpx", "collect", "downloading") from None

Response = httpx.Response

_MAX_HEADERS = 100


class HttpClient:
    """Sends requests; used by several threads.

    Args:
        connect_seconds: the longest wait for a connection, and for its TLS handshake.
        silence_seconds: the longest wait for the next chunk of a response.
        total_seconds: the longest time for one request.
        proxies: heed `http_proxy`, `https_proxy` and `no_proxy`; `check` then sees proxies only.
        redirect_check: replaces `check` for redirects of a server whose address it allows: so that
            a server of the internet leads into no private network.

    Attributes:
        tls: the verification of certificates; by default the system's.
    """

    def __init__(
        self,
        check: AddressCheck,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        silence_seconds: float,
        total_seconds: float = math.inf,
        proxies: bool = False,
        redirect_check: AddressCheck | None = None,
    ) -> None:
        self.tls, self.closed = ssl.create_default_context(), False
        self._check, self._redirect_check = check, redirect_check
        self._proxies, self._total_seconds = proxies, total_seconds
        self._headers = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
        self._timeout = httpx.Timeout(silence_seconds, connect=connect_seconds).as_dict()
        self._connections: set[CheckedConnection] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        max_redirects: int = 10,
        before_request: Callable[[str], None] = lambda url: None,
    ) -> Iterator[Response]:
        """The response to a GET after redirects, with any status.

        Args:
            url: a URL that `require_http` accepts.
            before_request: called with each URL of the chain.

        Raises:
            FetchError: there is no response, or a redirect is not allowed.
        """
        visited: list[str] = []
        check = self._check
        while url not in visited:
            if len(visited) > max_redirects:
                raise FetchError(f"it has more than {max_redirects} redirects")
            visited.append(url)
            before_request(url)
            connection = CheckedConnection(check, self._total_seconds)
            with self._send(url, headers or {}, connection) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                if self._redirect_check and not self._redirect_check(*connection.peer):
                    check = self._redirect_check
                url = redirect_target(url, response.headers["Location"])
        raise FetchError("its redirects go in a circle")

    def close(self) -> None:
        """Abort all requests, and refuse new ones."""
        with self._lock:
            self.closed = True
            connections = [*self._connections]
        for connection in connections:
            connection.abort()

    @contextlib.contextmanager
    def _send(
        self, url: str, headers: Mapping[str, str], connection: CheckedConnection
    ) -> Iterator[Response]:
        with self._lock:
            if self.closed:
                raise FetchError("it was broken off", retryable=True, reached=False)
            self._connections.add(connection)
        try:
            with _protocol_errors():
                headers, extensions = {**self._headers, **headers}, {"timeout": self._timeout}
                request = httpx.Request("GET", url, headers=headers, extensions=extensions)
                response = _Transport(self._pool(url, connection)).handle_request(request)
            with contextlib.closing(response):
                if len(response.headers.raw) > _MAX_HEADERS:
                    raise FetchError(f"it sends more than {_MAX_HEADERS} headers", retryable=True)
                yield response
        finally:
            connection.close()
            self._connections.discard(connection)

    def _pool(self, url: str, connection: CheckedConnection) -> httpcore.ConnectionPool:
        parts = urlsplit(url)
        address = getproxies().get(parts.scheme) if self._proxies else None
        if not address or proxy_bypass(parts.netloc):
            return httpcore.ConnectionPool(self.tls, network_backend=connection)
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        return httpcore.HTTPProxy(
            str(proxy.url), proxy.raw_auth, ssl_context=self.tls, network_backend=connection
        )


class _Transport(httpx.HTTPTransport):
    """Sends httpx's requests through a given pool.

    The base's initializer is not called: its pool would connect to any address. If httpx renames
    `_pool`, every request fails instead of being sent unchecked.
    """

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool


def status_error(response: Response) -> FetchError:
    """The error for a status without a usable body."""
    status = response.status_code
    return FetchError(
        f"the server answers {status} {httpx.codes.get_reason_phrase(status)}".rstrip(),
        retryable=response.is_server_error or status in (408, 425, 429),
        retry_after=_retry_after(response) if status in (429, 503) else 0.0,
    )


def body_length(response: Response) -> int | None:
    """The announced number of bytes of the body, before decompression."""
    length = response.headers.get("Content-Length")
    return None if length is None or "Transfer-Encoding" in response.headers else int(length)


def body_chunks(response: Response, slow_seconds: float, slow_bytes: float) -> Iterator[bytes]:
    """The chunks of the body, before decompression. It may end early; compare `body_length`.

    Raises:
        FetchError: the connection broke, or delivered less than `slow_bytes` in `slow_seconds`: a
            limit on each single wait cannot detect a server that sends a byte now and then.
    """
    since, size = time.monotonic(), 0
    with _protocol_errors():
        try:
            for chunk in response.iter_raw():
                yield chunk
                size += len(chunk)
                seconds = time.monotonic() - since
                if seconds < slow_seconds:
                    continue
                if size < slow_bytes * seconds / slow_seconds:
                    reason = f"it is too slow: {size:,} bytes in {seconds:.0f} s"
                    raise FetchError(reason, retryable=True)
                since, size = time.monotonic(), 0
        except httpx.RemoteProtocolError:
            if body_length(response) is None:  # a chunk is damaged
                raise


def _retry_after(response: Response) -> float:
    """The seconds to wait by Retry-After, which holds seconds or a date (RFC 9110)."""
    header = response.headers.get("Retry-After", "")
    if header.isascii() and header.isdecimal():
        return float(header)
    try:
        date = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


@contextlib.contextmanager
def _protocol_errors() -> Iterator[None]:
    """Convert errors of httpx to FetchError."""
    try:
        yield
    except httpx.HTTPError as error:
        raise connection_error(error, reached=True) from None
    except (httpx.InvalidURL, ValueError) as error:  # of the URL, or of the proxy's
        raise FetchError(f"it cannot be requested: {error}"[:200], refused=True) from None
