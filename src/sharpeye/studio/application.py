"""The studio's web application: pages, their data, static files, and who may send requests."""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from sharpeye.serve.access import AccessControl, AccessRules
from sharpeye.studio import thumbnails
from sharpeye.studio.body_limits import BodyLimits
from sharpeye.studio.error_pages import add_error_pages
from sharpeye.studio.pages import (
    annotation_routes,
    collect_page,
    label_page,
    overview_page,
    run_routes,
    train_page,
    try_page,
    understand_page,
)
from sharpeye.studio.security_headers import HEADERS
from sharpeye.studio.state import StudioState

_STATIC = Path(__file__).parent / "static"
_PAGES = (
    overview_page,
    collect_page,
    label_page,
    annotation_routes,
    train_page,
    understand_page,
    run_routes,
    try_page,
)


def build_app(studio: StudioState) -> FastAPI:
    """All routes, open to whoever can send a request; see `restrict`."""
    api = FastAPI(title="SharpEye studio", docs_url=None, redoc_url=None, openapi_url=None)
    add_error_pages(api, studio.workspace)
    api.mount("/static", _RevalidatedFiles(directory=_STATIC))
    thumbnails.add_routes(api, studio.workspace)
    for page in _PAGES:
        page.add_routes(api, studio)
    return api


def restrict(api: FastAPI, rules: AccessRules) -> ASGIApp:
    """The application behind its limits: who may send requests, and how large they are."""
    return AccessControl(BodyLimits(api, rules.limits), rules, None, headers=HEADERS)


class _RevalidatedFiles(StaticFiles):
    """Static files that browsers cache, but check for changes each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
