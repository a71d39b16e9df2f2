"""Handle a request for predictions, from its body to its response, in any protocol."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response

from sharpeye.serve.limits import RequestLimits, RequestRefused, body_too_large
from sharpeye.serve.predict_request import PredictRequest
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.workers import Workers

# Parsing a smaller body takes less time than passing it to another thread and back.
_MAX_INLINE_BYTES = 256 * 2**10
_RETRY_AFTER = {"Retry-After": "1"}


class Handler:
    """Admits a bounded number of requests, reads their bodies, and answers them."""

    def __init__(self, workers: Workers, limits: RequestLimits, metrics: ServerMetrics) -> None:
        self._workers, self._limits, self._metrics = workers, limits, metrics
        self._active = 0  # number of requests between their first byte and their response
        self._buffered_bytes = 0
        metrics.active.set_function(lambda: self._active)

    async def handle(self, request: Request, parse: Callable[[bytes], PredictRequest]) -> Response:
        """Read a request's body, parse it, predict its images, and build the response.

        Raises:
            RequestRefused: over a limit, or not a valid request.
        """
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        async with self._read_body(request, deadline) as body:
            try:
                async with asyncio.timeout_at(deadline):
                    if len(body) <= _MAX_INLINE_BYTES:
                        parsed = parse(body)
                    else:
                        parsed = await self._workers.parse(lambda: parse(body))
                    results = await self._workers.predict(parsed.images, parsed.top)
            except TimeoutError:
                raise RequestRefused(
                    504, f"no answer within {self._limits.seconds:g} s; send fewer images"
                ) from None
            self._metrics.count_images(results)
            return parsed.respond(results)

    @contextlib.asynccontextmanager
    async def _read_body(self, request: Request, deadline: float) -> AsyncIterator[bytes]:
        """Read the body of a request, which counts as active until the block ends."""
        limits = self._limits
        if self._active >= limits.requests:
            raise RequestRefused(
                503, f"{limits.requests} requests are waiting; try again later", _RETRY_AFTER
            )
        self._active += 1
        body = bytearray()
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    async for chunk in request.stream():
                        self._append(body, chunk)
            except TimeoutError:
                text = f"the body did not arrive within {limits.seconds:g} s"
                raise RequestRefused(408, text, {"Connection": "close"}) from None
            yield bytes(body)
        finally:
            self._active -= 1
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
