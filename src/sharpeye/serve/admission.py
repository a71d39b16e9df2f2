"""Admit a bounded number of requests, and read their bodies within the limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from sharpeye.serve.limits import RequestLimits, RequestRefused, body_too_large

_RETRY_AFTER = {"Retry-After": "1"}


class Admission:
    """Counts the admitted requests and the bytes of their bodies.

    Attributes:
        active: number of requests between their first byte and their response.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self.active = 0
        self._buffered_bytes = 0

    @contextlib.asynccontextmanager
    async def read_body(self, request: Request, deadline: float) -> AsyncIterator[bytes]:
        """The body of a request, which counts as active until the block ends.

        Args:
            request: its body is still unread.
            deadline: time on the event loop's clock.

        Raises:
            RequestRefused: too many active requests, a body over the limit, or a late one.
        """
        limits = self._limits
        if self.active >= limits.requests:
            raise RequestRefused(
                503, f"{limits.requests} requests are waiting; try again later", _RETRY_AFTER
            )
        self.active += 1
        body = bytearray()
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    async for chunk in request.stream():
                        self._append(body, chunk)
            except TimeoutError:
                raise RequestRefused(
                    408,
                    f"the body did not arrive within {limits.seconds:g} s",
                    {"Connection": "close"},
                ) from None
            yield bytes(body)
        finally:
            self.active -= 1
            self._buffered_bytes -= len(body)

    def _append(self, body: bytearray, chunk: bytes) -> None:
        limits = self._limits
        if len(body) + len(chunk) > limits.body_bytes:
            raise body_too_large(limits)
        if self._buffered_bytes + len(chunk) > limits.bodies * limits.body_bytes:
            raise RequestRefused(
                503, "the server holds as many bodies as it may; try again later", _RETRY_AFTER
            )
        self._buffered_bytes += len(chunk)
        body += chunk
