"""What every request passes on its way in and every answer on its way out: a layer of ASGI.

Handshakes of web sockets pass it like requests.

On loopback without a token, the Host header must be a name of this machine: else a web page whose
name was made to point to 127.0.0.1 (DNS rebinding) could ask. A browser's request from another
page is refused by its Origin. With a token, whoever has it may ask under any name.
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

from sharpeye.serve.admission import too_large
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits, RequestRefused
from sharpeye.serve.metrics import Meter
from sharpeye.serve.requests import json_response

_LOG = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Probes of orchestrators carry no token, and these say nothing but that the server lives.
_OPEN_PATHS = ("/healthz", "/v2/health/live", "/v2/health/ready")

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
    """Who may ask.

    Attributes:
        token: which a request must carry; None asks for none.
        hosts: names that the Host header may have when there is no token.
        origins: pages of other servers whose scripts may ask; "*" is all.
        limits: `body_bytes` is used.
        cookie: a cookie's name in which the token may come too, for browsers; `?token=` in an
            address sets it. None: no cookies.
    """

    token: str | None = None
    hosts: Sequence[str] = LOOPBACK_NAMES
    origins: Sequence[str] = ()
    limits: RequestLimits = REQUEST_LIMITS
    cookie: str | None = None

    def refusal(self, path: str, headers: dict[bytes, bytes]) -> RequestRefused | None:
        """Why a request is not let in, judged by its header; None lets it in."""
        return (
            self._by_host(headers)
            or self._by_origin(headers)
            or self._by_token(path, headers)
            or self._by_body(headers)
        )

    def _by_host(self, headers: dict[bytes, bytes]) -> RequestRefused | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self.token is not None or name in self.hosts:
            return None
        return RequestRefused(
            421,
            f"without a token this server answers to {', '.join(self.hosts)} only. "
            f"Received: Host: {host[:80]}; start it with --token to use other names",
        )

    def _by_origin(self, headers: dict[bytes, bytes]) -> RequestRefused | None:
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not origin or "*" in self.origins or origin in self.origins:
            return None
        if host and _network_place(origin) == host:
            return None
        # With cookies, a page that is let in could do all that its reader may: none is.
        advice = "" if self.cookie else "; start the server with --allow-origin"
        return RequestRefused(403, f"pages of {origin[:80]} may not ask{advice}")

    def _by_token(self, path: str, headers: dict[bytes, bytes]) -> RequestRefused | None:
        if self.token is None or path in _OPEN_PATHS:
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and self._is_token(given.strip()):
            return None
        if self.cookie and self._is_token(_cookie(headers, self.cookie)):
            return None
        browser = "open the address that was printed, with its ?token=, or " if self.cookie else ""
        return RequestRefused(
            401,
            f"a token is needed: {browser}send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _is_token(self, given: bytes) -> bool:
        return self.token is not None and hmac.compare_digest(given, self.token.encode())

    def entrance(self, scope: Scope) -> RedirectResponse | None:
        """The answer to an address with the right `?token=`: the same without it, and a cookie."""
        if scope["type"] != "http" or not self.cookie or b"token=" not in scope["query_string"]:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), "")
        if not self._is_token(given.encode()):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: an address that begins with two would lead to another server.
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(self.cookie, given, httponly=True, samesite="strict")
        return answer

    def _by_body(self, headers: dict[bytes, bytes]) -> RequestRefused | None:
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        if coding not in ("identity", ""):
            return RequestRefused(
                415, f"bodies are taken as they are. Received: Content-Encoding: {coding[:40]}"
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            return too_large(self.limits)
        return None


RULES = AccessRules()


def _network_place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return ""


def _cookie(headers: dict[bytes, bytes], name: str) -> bytes:
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(name)
    except CookieError:
        return b""
    return found.value.encode() if found else b""


class AccessControl:
    """Refuses by `rules`, counts in `meter`, adds the security headers to every answer.

    Args:
        app: what is behind the gate.
        rules: who may ask.
        meter: None counts nothing.
        headers: added to every answer that does not have them already.
    """

    def __init__(
        self, app: ASGIApp, rules: AccessRules, meter: Meter | None, headers: Headers = HEADERS
    ) -> None:
        self._app, self._rules, self._meter, self._headers = app, rules, meter, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket" and (refusal := self._refusal(scope)):
            said = json_response({"error": refusal.message}, refusal.status, refusal.headers)
            await said(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RequestRefused | None:
        return self._rules.refusal(scope["path"], dict(scope["headers"]))

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", ())]
                said = {name.lower() for name, _ in own}
                added = [header for header in self._headers if header[0] not in said]
                message = {**message, "headers": [*own, *added]}
            await send(message)

        try:
            if entrance := self._rules.entrance(scope):
                await entrance(scope, receive, answer)
            elif refusal := self._refusal(scope):
                refused = json_response({"error": refusal.message}, refusal.status, refusal.headers)
                await refused(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception:
            # A bug, which was answered with 500 already. Raised on, it would end the connection
            # under the client's next request; its traceback goes where uvicorn would write it.
            if not status:
                raise
            logging.getLogger("uvicorn.error").exception("%s %s", scope["method"], scope["path"])
        finally:
            seconds = time.perf_counter() - started
            if self._meter:
                self._meter.request(getattr(scope.get("route"), "path", "other"), status, seconds)
            _LOG.debug("%s %s %d %.1f ms", scope["method"], scope["path"], status, 1000 * seconds)
