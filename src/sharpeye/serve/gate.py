"""What every request passes on its way in and every answer on its way out: a layer of ASGI.

On loopback without a token, the Host header must be a name of this machine: else a web page whose
name was made to point to 127.0.0.1 (DNS rebinding) could ask. A browser's request from another
page is refused by its Origin. With a token, whoever has it may ask under any name.
"""

import hmac
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.intake import too_large
from sharpeye.serve.limits import LIMITS, Limits, Refusal
from sharpeye.serve.metrics import Meter
from sharpeye.serve.question import json_response

_LOG = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Probes of orchestrators carry no token, and these say nothing but that the server lives.
_OPEN_PATHS = ("/healthz", "/v2/health/live", "/v2/health/ready")

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
]


@dataclass(frozen=True)
class Rules:
    """Who may ask.

    Attributes:
        token: which a request must carry; None asks for none.
        hosts: names that the Host header may have when there is no token.
        origins: pages of other servers whose scripts may ask; "*" is all.
        limits: `body_bytes` is used.
    """

    token: str | None = None
    hosts: Sequence[str] = LOOPBACK_NAMES
    origins: Sequence[str] = ()
    limits: Limits = LIMITS

    def refusal(self, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        """Why a request is not let in, judged by its header; None lets it in."""
        return (
            self._by_host(headers)
            or self._by_origin(headers)
            or self._by_token(path, headers)
            or self._by_body(headers)
        )

    def _by_host(self, headers: dict[bytes, bytes]) -> Refusal | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self.token is not None or name in self.hosts:
            return None
        return Refusal(
            421,
            f"without a token this server answers to {', '.join(self.hosts)} only. "
            f"Received: Host: {host[:80]}; start it with --token to use other names",
        )

    def _by_origin(self, headers: dict[bytes, bytes]) -> Refusal | None:
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not origin or "*" in self.origins or origin in self.origins:
            return None
        if host and _network_place(origin) == host:
            return None
        return Refusal(
            403, f"pages of {origin[:80]} may not ask; start the server with --allow-origin"
        )

    def _by_token(self, path: str, headers: dict[bytes, bytes]) -> Refusal | None:
        if self.token is None or path in _OPEN_PATHS:
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token.encode()):
            return None
        return Refusal(
            401,
            "a token is needed: send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _by_body(self, headers: dict[bytes, bytes]) -> Refusal | None:
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        if coding not in ("identity", ""):
            return Refusal(
                415, f"bodies are taken as they are. Received: Content-Encoding: {coding[:40]}"
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            return too_large(self.limits)
        return None


RULES = Rules()


def _network_place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return ""


class Gate:
    """Refuses by `rules`, counts in `meter`, adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, rules: Rules, meter: Meter) -> None:
        self._app, self._rules, self._meter = app, rules, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        refusal = self._rules.refusal(scope["path"], dict(scope["headers"]))
        try:
            if refusal is None:
                await self._app(scope, receive, answer)
            else:
                said = json_response({"error": refusal.message}, refusal.status, refusal.headers)
                await said(scope, receive, answer)
        except Exception:
            # A bug, which was answered with 500 already. Raised on, it would end the connection
            # under the client's next request; its traceback goes where uvicorn would write it.
            if not status:
                raise
            logging.getLogger("uvicorn.error").exception("%s %s", scope["method"], scope["path"])
        finally:
            seconds = time.perf_counter() - started
            self._meter.request(getattr(scope.get("route"), "path", "other"), status, seconds)
            _LOG.debug("%s %s %d %.1f ms", scope["method"], scope["path"], status, 1000 * seconds)
