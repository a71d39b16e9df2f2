"""Bodies of requests are counted as they come: a length that was not announced has limits too."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.limits import RequestLimits, RequestRefused

# Images come to these; all other requests are small.
IMAGE_PATHS = ("/api/upload", "/api/try")
SMALL_BYTES = 2 * 2**20


class Limited:
    """Refuses what is longer than it may be, at the byte that is too much.

    Args:
        app: what is behind.
        limits: `body_bytes` is that of a request with images.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        large = scope["path"].startswith(IMAGE_PATHS)
        most, came = self._limits.body_bytes if large else SMALL_BYTES, 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise RequestRefused(
                    413,
                    f"the body is over the limit of {most // 2**20} MiB a request; "
                    "send fewer or smaller files",
                    {"Connection": "close"},
                )
            return message

        await self._app(scope, counted, send)
