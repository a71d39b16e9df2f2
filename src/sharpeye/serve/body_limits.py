"""ASGI middleware that bounds the size, the rate and the total memory of request bodies.

A client that sends a few bytes and then waits must not cost others anything: its request counts as
running only when its body has arrived (see `handler`), and a body that arrives too slowly is
refused. Apache's mod_reqtimeout (MinRate) and Kestrel's MinRequestBodyDataRate do the same.
"""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.limits import RETRY_AFTER, RequestLimits, RequestRefused, body_too_large
from sharpeye.serve.responses import refusal_response

# The rest of a slow body would be slow, too. After other refusals the rest is received, within
# limits (see `connections`), since few clients read a response before they have sent their request.
_CLOSE = {"Connection": "close"}


class BodyLimits:
    """The middleware.

    Args:
        limits: `body_bytes`, `bodies` and the rate are used.
        max_bytes: the limit of a body by the request's path; by default `limits.body_bytes`.
        seconds: within which a body must arrive, however fast it is; by default any time.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: RequestLimits,
        *,
        max_bytes: Callable[[str], int] | None = None,
        seconds: float = float("inf"),
    ) -> None:
        self._app, self._limits, self._seconds = app, limits, seconds
        self._max_bytes = max_bytes or (lambda _: limits.body_bytes)
        self._memory = _BodyMemory(limits.bodies * limits.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._max_bytes(scope["path"])
        body = _Body(
            receive, self._limits, self._memory, max_bytes=max_bytes, seconds=self._seconds
        )
        has_response = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal has_response
            if body.refusal is None or has_response:
                has_response = True
                await send(message)

        try:
            await self._app(scope, body.receive, send_unless_refused)
        except RequestRefused as refusal:
            if refusal is not body.refusal:
                raise
        finally:
            self._memory.release(body)
        if body.refusal is not None and not has_response:  # whatever the application made of it
            await refusal_response(body.refusal)(scope, receive, send)


class _Body:
    """The body of one request.

    Attributes:
        size: bytes of it that have arrived.
        refusal: why it was refused.
    """

    def __init__(
        self,
        receive: Receive,
        limits: RequestLimits,
        memory: "_BodyMemory",
        *,
        max_bytes: int,
        seconds: float,
    ) -> None:
        self._receive, self._limits, self._memory = receive, limits, memory
        self._max_bytes, self._seconds = max_bytes, seconds
        self.size = 0
        self.refusal: RequestRefused | None = None
        self._is_complete = False
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._timeout: asyncio.Timeout | None = None
        # Since the rate was last sufficient: bytes that arrived, and seconds of waiting for them.
        # The time that the application takes between two chunks is not the client's.
        self._recent_bytes, self._recent_seconds = 0, 0.0

    async def receive(self) -> Message:
        """The next ASGI message; RequestRefused if the body is over a limit."""
        if self._is_complete:
            return await self._receive()
        if not self.size:
            self._memory.move_to_end(self)
        message = await self._receive_in_time()
        try:
            self._add(len(message.get("body", b"")))
        except RequestRefused as refusal:
            self.refusal = refusal
            raise
        if not message.get("more_body", False):
            self._is_complete = True
            self._memory.complete(self)
        return message

    async def _receive_in_time(self) -> Message:
        loop = asyncio.get_running_loop()
        started = loop.time()
        rate_end = started + self._limits.rate_seconds - self._recent_seconds
        try:
            if self.refusal is not None:
                raise self.refusal
            async with asyncio.timeout_at(min(self._deadline, rate_end)) as timeout:
                self._timeout = timeout
                return await self._receive()
        except TimeoutError:
            if self.refusal is None:
                self.refusal = self._slow_refusal(is_late=self._deadline <= rate_end)
            raise self.refusal from None
        finally:
            self._timeout = None
            self._recent_seconds += loop.time() - started

    def _slow_refusal(self, *, is_late: bool) -> RequestRefused:
        limits = self._limits
        if is_late:
            return RequestRefused(
                408, f"the body did not arrive within {self._seconds:g} s", _CLOSE
            )
        return RequestRefused(
            408,
            f"the body arrives at less than {limits.body_bytes_per_second:,} bytes a second "
            f"over {limits.rate_seconds:g} s",
            _CLOSE,
        )

    def _add(self, count: int) -> None:
        if self.size + count > self._max_bytes:
            raise body_too_large(self._max_bytes)
        self._memory.reserve(self, count)
        self._recent_bytes += count
        if self._recent_bytes >= self._limits.rate_seconds * self._limits.body_bytes_per_second:
            self._recent_bytes, self._recent_seconds = 0, 0.0
            self._memory.move_to_end(self)

    def refuse(self, refusal: RequestRefused) -> None:
        """Refuse the body, even while it waits for bytes."""
        self.refusal = refusal
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())


class _BodyMemory:
    """Bounds the bytes of all bodies together. It belongs to the event loop's thread."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes
        # Bodies that have not arrived completely. The first one has been slow for the longest
        # time: only a client that sends enough moves to the end.
        self._incomplete: dict[_Body, None] = {}

    def reserve(self, body: _Body, count: int) -> None:
        """Account for further bytes of a body; if there is no memory, refuse the slowest body.

        Raises:
            RequestRefused: there is no slower body.
        """
        while count > self._free:
            slowest = next(iter(self._incomplete), body)
            self.release(slowest)
            text = "the server holds as many bodies as it may; try again later"
            refusal = RequestRefused(503, text, RETRY_AFTER)
            if slowest is body:
                raise refusal
            slowest.refuse(refusal)
        self._free -= count
        body.size += count

    def release(self, body: _Body) -> None:
        """Forget a body."""
        self.complete(body)
        self._free += body.size
        body.size = 0

    def move_to_end(self, body: _Body) -> None:
        """Record that a body has begun, or that it arrived fast enough until now."""
        self._incomplete.pop(body, None)
        self._incomplete[body] = None

    def complete(self, body: _Body) -> None:
        """Record that a body has arrived."""
        self._incomplete.pop(body, None)
