"""Show errors of pages as pages; errors of all other requests stay JSON."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sharpeye.errors import SharpEyeError
from sharpeye.serve.responses import add_error_handlers
from sharpeye.studio.page_templates import render_page
from sharpeye.studio.workspace import Workspace

Handler = Callable[[Request, Any], Any]  # Async; it returns a response.


def add_error_pages(api: FastAPI, workspace: Workspace) -> None:
    """Add the server's error handlers, with pages for browsers.

    Messages name files relative to the folder of images, or to the one that holds the runs.
    """
    add_error_handlers(api)
    for kind in (SharpEyeError, HTTPException):
        api.exception_handlers[kind] = _with_pages(api.exception_handlers[kind], workspace)


def _with_pages(json_handler: Handler, workspace: Workspace) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        response: Response = await json_handler(request, error)
        message = workspace.shorten_paths(json.loads(bytes(response.body))["error"])
        if not _is_for_page(request):
            headers = {k: v for k, v in response.headers.items() if k != "content-length"}
            return JSONResponse({"error": message}, response.status_code, headers)
        phrase = HTTPStatus(response.status_code).phrase
        if response.status_code == HTTPStatus.NOT_FOUND:
            message = "There is no such page."
        return render_page(
            workspace,
            "error.html.j2",
            status=response.status_code,
            title=phrase,
            message=message,
        )

    return handle


def _is_for_page(request: Request) -> bool:
    accepts_html = "text/html" in request.headers.get("accept", "")
    return accepts_html and not request.url.path.startswith("/api/")
