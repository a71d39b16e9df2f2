"""Limit the size of request bodies while they arrive, whether their length was announced or not."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.limits import RequestLimits, RequestRefused

# These paths take images; the bodies of all other requests are small.
IMAGE_PATHS = ("/api/upload", "/api/try")
MAX_SMALL_BYTES = 2 * 2**20


class BodyLimits:
    """ASGI middleware that refuses a body at the first byte over its limit.

    Args:
        app: the application behind it.
        limits: `body_bytes` limits a request with images.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_images = scope["path"].startswith(IMAGE_PATHS)
        max_bytes = self._limits.body_bytes if has_images else MAX_SMALL_BYTES
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise RequestRefused(
                    413,
                    f"the body is over the limit of {max_bytes // 2**20} MiB a request; "
                    "send fewer or smaller files",
                    {"Connection": "close"},
                )
            return message

        await self._app(scope, receive_counted, send)
