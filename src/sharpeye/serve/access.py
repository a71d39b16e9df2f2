"""ASGI middleware that decides which requests are allowed, and adds headers to every response.

On loopback without a token, the Host header must be a name of this machine: otherwise a web page
whose name resolves to 127.0.0.1 (DNS rebinding) could send requests. The Origin header identifies
a browser's request from another page, which is refused, and so does Sec-Fetch-Site (W3C, Fetch
Metadata) where there is no Origin. With a token, the Host may be any name.
"""

import hmac
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits, RequestRefused, body_too_large
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.responses import refusal_response

_LOG = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Probes of orchestrators have no token, and these paths reveal only that the server runs.
_PROBE_PATHS = ("/healthz", "/v2/health/live", "/v2/health/ready")
_FETCH_SITE, _FETCH_DEST = b"sec-fetch-site", b"sec-fetch-dest"

Headers = Sequence[tuple[bytes, bytes]]

HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
)


@dataclass(frozen=True)
class AccessRules:
    """Which requests are allowed.

    Attributes:
        token: every request must contain it.
        hosts: allowed names in the Host header without a token.
        origins: other servers whose pages may send requests; "*" allows all.
        limits: `body_bytes` is used.
        cookie: name of a cookie that may contain the token, for browsers; `?token=` in a URL sets
            it.
    """

    token: str | None = None
    hosts: Sequence[str] = LOOPBACK_NAMES
    origins: Sequence[str] = ()
    limits: RequestLimits = REQUEST_LIMITS
    cookie: str | None = None

    def refusal(self, scope: Scope) -> RequestRefused | None:
        """The reason to refuse a request by its header; None if it is allowed."""
        headers = dict(scope["headers"])
        return (
            self._host_refusal(headers)
            or self._origin_refusal(scope["method"], headers)
            or self._token_refusal(scope["path"], headers)
            or self._body_refusal(headers)
        )

    def _host_refusal(self, headers: dict[bytes, bytes]) -> RequestRefused | None:
        host = _lowered(headers, b"host")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self.token is not None or name in self.hosts:
            return None
        return RequestRefused(
            421,
            f"without a token this server answers to {', '.join(self.hosts)} only. "
            f"Received: Host: {host[:80]}; start it with --token to use other names",
        )

    def _origin_refusal(self, method: str, headers: dict[bytes, bytes]) -> RequestRefused | None:
        origin, host = _lowered(headers, b"origin"), _lowered(headers, b"host")
        if "*" in self.origins or origin in self.origins:
            return None
        if not origin:
            # A link of another page may lead here; its images, scripts and frames may not.
            is_link = method in ("GET", "HEAD") and _lowered(headers, _FETCH_DEST) == "document"
            if is_link or _lowered(headers, _FETCH_SITE) not in ("cross-site", "same-site"):
                return None
            origin = "other sites"
        if host and _host_of(origin) == host:
            return None
        # With cookies, a page from another origin could act as its reader: none is allowed.
        advice = "" if self.cookie else "; start the server with --allow-origin"
        return RequestRefused(403, f"pages of {origin[:80]} may not send requests{advice}")

    def _token_refusal(self, path: str, headers: dict[bytes, bytes]) -> RequestRefused | None:
        if self.token is None or path in _PROBE_PATHS:
            return None
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and self._is_token(credentials.strip()):
            return None
        if self.cookie and self._is_token(_cookie_value(headers, self.cookie)):
            return None
        browser = "open the address that was printed, with its ?token=, or " if self.cookie else ""
        return RequestRefused(
            401,
            f"a token is needed: {browser}send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _body_refusal(self, headers: dict[bytes, bytes]) -> RequestRefused | None:
        coding = _lowered(headers, b"content-encoding")
        if coding not in ("identity", ""):
            return RequestRefused(
                415, f"compressed bodies are refused. Received: Content-Encoding: {coding[:40]}"
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            return body_too_large(self.limits.body_bytes)
        return None

    def _is_token(self, value: bytes) -> bool:
        return self.token is not None and hmac.compare_digest(value, self.token.encode())

    def token_redirect(self, scope: Scope) -> RedirectResponse | None:
        """Move a valid `?token=` of a URL to a cookie, and redirect to the URL without it."""
        if scope["type"] != "http" or not self.cookie or b"token=" not in scope["query_string"]:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for name, value in query if name == "token"), "")
        if not self._is_token(token.encode()):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: a URL that begins with two would lead to another server.
        path = "/" + scope["path"].lstrip("/\\")
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(self.cookie, token, httponly=True, samesite="strict")
        return response


def _lowered(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").lower()


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return ""


def _cookie_value(headers: dict[bytes, bytes], name: str) -> bytes:
    try:
        cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(name)
    except CookieError:
        return b""
    return cookie.value.encode() if cookie else b""


@dataclass(frozen=True)
class ResponseHeaders:
    """Middleware that adds headers to each response that lacks them.

    It is the outermost one, and also around what answers without the application.
    """

    app: ASGIApp
    headers: Headers = HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = complete_headers(message.get("headers", ()), self.headers)
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def complete_headers(headers: Headers, defaults: Headers = HEADERS) -> list[tuple[bytes, bytes]]:
    """A response's headers, and those of `defaults` that it lacks."""
    present = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in defaults if header[0] not in present)]


@dataclass(frozen=True)
class AccessControl:
    """The middleware: refuses requests by `rules`, passes others to `app`, and counts all."""

    app: ASGIApp
    rules: AccessRules
    metrics: ServerMetrics | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_and_count(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if redirect := self.rules.token_redirect(scope):
                await redirect(scope, receive, send_and_count)
            elif refusal := self.rules.refusal(scope):
                await refusal_response(refusal)(scope, receive, send_and_count)
            else:
                await self.app(scope, receive, send_and_count)
        except Exception:
            # A bug, to which the app responded with 500. Raising it again would make uvicorn close
            # the connection during the next request, so it is only logged, where uvicorn would log
            # it.
            if not status:
                raise
            logging.getLogger("uvicorn.error").exception("%s %s", scope["method"], scope["path"])
        finally:
            seconds = time.perf_counter() - started
            if self.metrics:
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.count_request(route, status, seconds)
            _LOG.debug("%s %s %d %.1f ms", scope["method"], scope["path"], status, 1000 * seconds)
