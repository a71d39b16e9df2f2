"""Build JSON responses; every error is one line of JSON without a traceback."""

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from sharpeye.errors import (
    BusyError,
    DataError,
    EnvironmentFault,
    ModelError,
    SharpEyeError,
    UsageError,
    escape_line_ends,
)
from sharpeye.serve.limits import RequestRefused

_STATUS = {UsageError: 400, DataError: 400, ModelError: 400, BusyError: 409, EnvironmentFault: 503}


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """JSON in ASCII: names may hold lone surrogates, which UTF-8 cannot encode."""
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def error_response(
    message: str, status: int, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """`{"error": one line}`; a name in the message may hold the end of a line."""
    return json_response({"error": escape_line_ends(message), **more}, status, headers)


def refusal_response(refusal: RequestRefused) -> Response:
    return error_response(refusal.message, refusal.status, refusal.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with `{"error": one line}`, which all three protocols allow."""
    web_errors = (RequestRefused, HTTPException, RequestValidationError, ClientDisconnect)
    for kind in (*web_errors, SharpEyeError, MemoryError, Exception):
        app.add_exception_handler(kind, _handle_error)


async def _handle_error(request: Request, error: Exception) -> Response:
    match error:
        case RequestRefused():
            return refusal_response(error)
        case HTTPException():
            # As it was sent: decoded, it may have line breaks, and the query may be any bytes.
            path = request.scope["raw_path"].decode("latin-1")[:200]
            text = f"{request.method} {path}: {error.detail}; see /openapi.json"
            return error_response(text, error.status_code, dict(error.headers or {}))
        case RequestValidationError():
            return error_response(str(error.errors()[0].get("msg", "invalid")), 422)
        case ClientDisconnect():
            return Response(status_code=400)  # nobody reads it
        case SharpEyeError():
            status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)
            return error_response(str(error), status)
        case MemoryError():
            return error_response("out of memory; try again later", 503, {"Retry-After": "1"})
        case _:
            return error_response(f"a bug in SharpEye: {type(error).__name__}", 500)
