"""Lets requests in, as many as are bearable, and reads their bodies within the limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from sharpeye.serve.limits import RequestLimits, RequestRefused

_COME_AGAIN = {"Retry-After": "1"}


class Admission:
    """Counts the requests that are being answered and the bytes that they hold.

    Attributes:
        requests: inside at this moment.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self.requests = 0
        self._held = 0

    @contextlib.asynccontextmanager
    async def body(self, request: Request, deadline: float) -> AsyncIterator[bytes]:
        """The body of a request, which counts as inside until the block ends.

        Args:
            request: its body was not touched yet.
            deadline: on the event loop's clock.

        Raises:
            Refusal: too many requests at once, too large a body, or not here in time.
        """
        limits = self._limits
        if self.requests >= limits.requests:
            raise RequestRefused(
                503, f"{limits.requests} requests are waiting; come again", _COME_AGAIN
            )
        self.requests += 1
        data = bytearray()
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    async for piece in request.stream():
                        self._take(data, piece)
            except TimeoutError:
                raise RequestRefused(
                    408,
                    f"the body was not here within {limits.seconds:g} s",
                    {"Connection": "close"},
                ) from None
            yield bytes(data)
        finally:
            self.requests -= 1
            self._held -= len(data)

    def _take(self, data: bytearray, piece: bytes) -> None:
        limits = self._limits
        if len(data) + len(piece) > limits.body_bytes:
            raise too_large(limits)
        if self._held + len(piece) > limits.bodies * limits.body_bytes:
            raise RequestRefused(
                503, "the requests at hand fill the memory; come again", _COME_AGAIN
            )
        self._held += len(piece)
        data += piece


def too_large(limits: RequestLimits) -> RequestRefused:
    """The refusal of a body over the limit."""
    return RequestRefused(
        413,
        f"the body is over the limit of {limits.body_bytes / 2**20:g} MiB a request; "
        "send fewer or smaller pictures",
    )
