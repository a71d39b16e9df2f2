"""The studio's application: pages, their data, and the gate before them."""

from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from nicegui import ui
from starlette.types import ASGIApp

from sharpeye.serve.access import AccessControl, AccessRules, Headers
from sharpeye.serve.error_responses import add_error_handlers
from sharpeye.studio import assets, bodies
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace

# A place is the module of its name in `pages`; each has `register(studio)`.
PAGES = ("overview", "collect", "label", "train", "understand", "try_it")

# NiceGUI's pages carry inline scripts, and Vue compiles templates in the browser: 'unsafe-inline'
# and 'unsafe-eval'. What keeps strangers' scripts out is that no text becomes HTML (see `frame`).
HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; "
        b"frame-src 'self'; frame-ancestors 'self'",
    ),
)

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="14" '
    'fill="#0b5cad"/><circle cx="16" cy="16" r="6" fill="#fff"/></svg>'
)


def build_app(
    workspace: Workspace, rules: AccessRules, suggest: Path | None = None
) -> tuple[ASGIApp, StudioState]:
    """The application, and what its pages share; one a process, as NiceGUI's is.

    Args:
        workspace: the folder of images and the folder of runs.
        rules: who may ask.
        suggest: a model that proposes boxes on the label page.
    """
    from sharpeye.studio.jobs import Jobs
    from sharpeye.studio.models import Models

    api = FastAPI(title="SharpEye studio", docs_url=None, redoc_url=None, openapi_url=None)
    studio = StudioState(workspace, api, Jobs(), Models(), suggest)
    add_error_handlers(api)
    assets.add_routes(api)
    for name in PAGES:
        import_module(f"sharpeye.studio.pages.{name}").register(studio)
    ui.run_with(  # last: it takes what no route before it has taken
        api,
        title="SharpEye",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        # A page that a busy machine lost sight of is not made anew, in the middle of an upload.
        reconnect_timeout=300.0,
    )
    return AccessControl(bodies.Limited(api, rules.limits), rules, None, HEADERS), studio
