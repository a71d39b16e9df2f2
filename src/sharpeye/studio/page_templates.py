"""Render the studio's pages, and errors as pages, from the Jinja2 templates in `templates/`.

`base.html.j2` is the layout of every page: the links to the five pages, the folder's name, and an
area for messages. Its style sheet `static/studio.css` follows the system's light or dark colours.
All text is escaped; data for a page's script is a JSON element, which is never executed.
"""

import json
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from sharpeye.errors import SharpEyeError
from sharpeye.serve.responses import add_error_handlers, error_response
from sharpeye.studio.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Environment

# (name, URL, purpose)
_PAGES = (
    ("Overview", "/", ""),
    ("Collect", "/collect", "Bring pictures in: files, folders, the camera, lists of addresses."),
    ("Label", "/label", "Draw boxes around things, or sort pictures into classes."),
    ("Train", "/train", "Make a model of the pictures, and watch it learn."),
    ("Understand", "/understand", "See its mistakes, wrong labels and copies, and mend them."),
    ("Try", "/try", "Show it a new picture, and see what it says."),
)

_Handler = Callable[[Request, Any], Any]  # Async; it returns a response.


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("sharpeye.studio", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(
    workspace: Workspace, template: str, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page as a response.

    Args:
        template: a file in `templates/`; it sets `title`, and `place`, a name of `_PAGES`.
        values: the variables of the template.
    """
    page = _environment().get_template(template)
    return HTMLResponse(page.render(pages=_PAGES, folder=workspace.root, **values), status)


def add_error_pages(api: FastAPI, workspace: Workspace) -> None:
    """Add the server's error handlers, with pages for browsers; other errors stay JSON."""
    add_error_handlers(api)
    for kind in (SharpEyeError, HTTPException):
        api.exception_handlers[kind] = _with_pages(api.exception_handlers[kind], workspace)


def _with_pages(json_handler: _Handler, workspace: Workspace) -> _Handler:
    async def handle(request: Request, error: Exception) -> Response:
        response: Response = await json_handler(request, error)
        status = response.status_code
        message = workspace.shorten_paths(json.loads(bytes(response.body))["error"])
        accepts_html = "text/html" in request.headers.get("accept", "")
        if not accepts_html or request.url.path.startswith("/api/"):
            headers = {k: v for k, v in response.headers.items() if k != "content-length"}
            return error_response(message, status, headers)
        if status == HTTPStatus.NOT_FOUND:
            message = "There is no such page."
        title = HTTPStatus(status).phrase
        return render_page(workspace, "error.html.j2", status=status, title=title, message=message)

    return handle
