"""The studio's web application: pages, their data, static files, and access control."""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharpeye.serve.access import AccessControl, AccessRules
from sharpeye.serve.limits import RequestLimits, RequestRefused
from sharpeye.studio import thumbnails
from sharpeye.studio.page_templates import add_error_pages
from sharpeye.studio.pages import (
    collect_page,
    label_page,
    overview_page,
    train_page,
    try_page,
    understand_page,
)
from sharpeye.studio.security_headers import HEADERS
from sharpeye.studio.state import StudioState

_PAGES = (overview_page, collect_page, label_page, train_page, understand_page, try_page)
# These paths take images; the bodies of all other requests are small.
_IMAGE_PATHS = ("/api/upload", "/api/try")
_MAX_SMALL_BYTES = 2 * 2**20


def build_app(studio: StudioState) -> FastAPI:
    """All routes, without access control; see `restrict`."""
    api = FastAPI(title="SharpEye studio", docs_url=None, redoc_url=None, openapi_url=None)
    add_error_pages(api, studio.workspace)
    api.mount("/static", _RevalidatedFiles(directory=Path(__file__).parent / "static"))
    thumbnails.add_routes(api, studio.workspace)
    for page in _PAGES:
        page.add_routes(api, studio)
    return api


def restrict(api: FastAPI, rules: AccessRules) -> ASGIApp:
    """Limit who may send requests to the application, and how large they are."""
    return AccessControl(_BodyLimits(api, rules.limits), rules, None, headers=HEADERS)


class _RevalidatedFiles(StaticFiles):
    """Static files that browsers cache, but revalidate each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _BodyLimits:
    """ASGI middleware that refuses a body over its limit by its announced or received size."""

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_images = scope["path"].startswith(_IMAGE_PATHS)
        max_bytes = self._limits.body_bytes if has_images else _MAX_SMALL_BYTES
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
