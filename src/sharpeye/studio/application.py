"""The studio's web application: pages, their data, static files, and access control."""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from sharpeye.images.decode_limits import limits_in_force
from sharpeye.serve.access import AccessControl, AccessRules, ResponseHeaders
from sharpeye.serve.body_limits import BodyLimits
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
_MAX_SMALL_BYTES = 2 * 2**20  # of a body without images


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
    """Limit who may send requests to the application, how large they are, and how slow."""

    def max_bytes(path: str) -> int:
        if path.startswith("/api/upload"):
            return rules.limits.body_bytes
        return limits_in_force().file_bytes if path.startswith("/api/try") else _MAX_SMALL_BYTES

    limited = BodyLimits(api, rules.limits, max_bytes=max_bytes)
    return ResponseHeaders(AccessControl(limited, rules, None), HEADERS)


class _RevalidatedFiles(StaticFiles):
    """Static files that browsers cache, but revalidate each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
