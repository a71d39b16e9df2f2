"""From a request's body to its response, whichever the protocol."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from sharpeye.serve.admission import Admission
from sharpeye.serve.limits import RequestLimits, RequestRefused
from sharpeye.serve.metrics import Meter
from sharpeye.serve.requests import PredictRequest
from sharpeye.serve.workers import Workers

# Smaller bodies are read faster than they are handed to another thread and back.
_READ_HERE = 256 * 2**10

Read = Callable[[bytes], PredictRequest]


class Handler:
    """Answers requests: from a body to a response, whichever the protocol."""

    def __init__(self, crew: Workers, limits: RequestLimits, meter: Meter) -> None:
        self._crew, self._limits, self._meter = crew, limits, meter
        self._intake = Admission(limits)
        meter.inside.set_function(lambda: self._intake.requests)

    async def answer(self, request: Request, read: Read) -> Response:
        """Read a request by `read`, answer it, and shape the reply.

        Raises:
            Refusal: over a limit, or not to be understood.
        """
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        async with self._intake.body(request, deadline) as body:
            try:
                async with asyncio.timeout_at(deadline):
                    here = len(body) <= _READ_HERE
                    question = read(body) if here else await self._crew.read(lambda: read(body))
                    answers = await self._crew.answer(question.items, question.top)
            except TimeoutError:
                raise RequestRefused(
                    504, f"no answer within {self._limits.seconds:g} s; send fewer pictures"
                ) from None
            self._meter.answers(answers)
            return question.reply(answers)
