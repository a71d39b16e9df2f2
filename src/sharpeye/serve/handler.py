"""Handle a request for predictions, from its body to its response, whichever the protocol."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from sharpeye.serve.admission import Admission
from sharpeye.serve.limits import RequestLimits, RequestRefused
from sharpeye.serve.predict_request import PredictRequest
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.workers import Workers

# Parsing a smaller body takes less time than handing it to another thread and back.
_MAX_INLINE_BYTES = 256 * 2**10


class Handler:
    """Admits, parses and answers requests for predictions."""

    def __init__(self, workers: Workers, limits: RequestLimits, metrics: ServerMetrics) -> None:
        self._workers, self._limits, self._metrics = workers, limits, metrics
        self._admission = Admission(limits)
        metrics.active.set_function(lambda: self._admission.active)

    async def handle(self, request: Request, parse: Callable[[bytes], PredictRequest]) -> Response:
        """Read a request's body, parse it, predict its images, and build the response.

        Raises:
            RequestRefused: over a limit, or not a valid request.
        """
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        async with self._admission.read_body(request, deadline) as body:
            try:
                async with asyncio.timeout_at(deadline):
                    if len(body) <= _MAX_INLINE_BYTES:
                        parsed = parse(body)
                    else:
                        parsed = await self._workers.parse(lambda: parse(body))
                    results = await self._workers.predict(parsed.images, parsed.top)
            except TimeoutError:
                raise RequestRefused(
                    504, f"no answer within {self._limits.seconds:g} s; send fewer pictures"
                ) from None
            self._metrics.count_images(results)
            return parsed.respond(results)
