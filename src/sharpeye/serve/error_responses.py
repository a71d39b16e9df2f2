"""Turn every error of a server into one line of JSON, never a traceback."""

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
)
from sharpeye.serve.limits import RequestRefused
from sharpeye.serve.responses import json_response, refusal_response

_STATUS = {UsageError: 400, DataError: 400, ModelError: 400, BusyError: 409, EnvironmentFault: 503}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with `{"error": one line}`, which all three protocols allow."""

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> Response:
        return refusal_response(error)

    @app.exception_handler(SharpEyeError)
    async def sharpeye_error(_: Request, error: SharpEyeError) -> Response:
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)
        return json_response({"error": str(error)}, status)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        text = f"{request.method} {request.url.path[:200]}: {error.detail}; see /openapi.json"
        return json_response({"error": text}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return json_response({"error": str(error.errors()[0].get("msg", "invalid"))}, 422)

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(MemoryError)
    async def out_of_memory(_: Request, __: MemoryError) -> Response:
        return json_response({"error": "out of memory; try again later"}, 503, {"Retry-After": "1"})

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        return json_response({"error": f"a bug in SharpEye: {type(error).__name__}"}, 500)
