"""Handle a request for predictions, from its body to its response, in any protocol."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from starlette.requests import Request
from starlette.responses import Response

from sharpeye.predict.predictor import PredictResult
from sharpeye.serve.limits import RETRY_AFTER, RequestLimits, RequestRefused
from sharpeye.serve.predict_request import PredictRequest
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.triton import InferenceStatistics
from sharpeye.serve.workers import Workers

# Parsing a smaller body takes less time than passing it to another thread and back.
_MAX_INLINE_BYTES = 256 * 2**10


class Handler:
    """Reads the bodies of requests, admits a bounded number of these, and answers them."""

    def __init__(self, workers: Workers, limits: RequestLimits, metrics: ServerMetrics) -> None:
        self._workers, self._limits, self._metrics = workers, limits, metrics
        self.statistics = InferenceStatistics()
        self._active = 0  # number of requests whose body has arrived, without a response
        metrics.active.set_function(lambda: self._active)

    async def handle(self, request: Request, parse: Callable[[bytes], PredictRequest]) -> Response:
        """Read a request's body, parse it, predict its images, and build the response.

        Raises:
            RequestRefused: over a limit, or not a valid request.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.seconds
        # `BodyLimits` bounds its size and its time. A body that is on its way costs others nothing.
        body = b"".join([chunk async for chunk in request.stream()])
        with self._admit():
            started, count = loop.time(), 0
            try:
                results, response = await self._predict(body, parse, deadline)
                count = len(results)
            finally:
                self.statistics.add(count, loop.time() - started, success=count > 0)
        self._metrics.count_images(results)
        return response

    async def _predict(
        self, body: bytes, parse: Callable[[bytes], PredictRequest], deadline: float
    ) -> tuple[list[PredictResult], Response]:
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
        return results, parsed.respond(results)

    @contextlib.contextmanager
    def _admit(self) -> Iterator[None]:
        """Count a request as active until the block ends."""
        limit = self._limits.requests
        if self._active >= limit:
            text = f"{limit} requests are waiting; try again later"
            raise RequestRefused(503, text, RETRY_AFTER)
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
