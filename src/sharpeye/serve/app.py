"""The FastAPI application: what it is made of, and what becomes of errors."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from sharpeye import __version__
from sharpeye.errors import DataError, EnvironmentFault, SharpEyeError, UsageError
from sharpeye.predict.predictor import Model
from sharpeye.serve import openapi, routes
from sharpeye.serve.crew import Crew
from sharpeye.serve.desk import Desk
from sharpeye.serve.gate import RULES, Gate, Rules
from sharpeye.serve.limits import LIMITS, Limits, Refusal
from sharpeye.serve.metrics import Meter
from sharpeye.serve.question import json_response
from sharpeye.serve.routes import Served


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        name: of the model, in addresses.
        rules: who may ask.
        limits: what a request may cost.
        workers: pictures at once; 0 is one a core.
    """

    name: str = "model"
    rules: Rules = RULES
    limits: Limits = LIMITS
    workers: int = 0


SETTINGS = Settings()


def build_app(model: Model, settings: Settings = SETTINGS, alone: Model | None = None) -> ASGIApp:
    """The application that serves a model.

    Args:
        model: answers with one thread a run.
        settings: see there.
        alone: the same model with a thread a core, for a picture that is alone.
    """
    crew, meter = Crew(model, alone, settings.workers), Meter(settings.name)
    crew.warm_up()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        crew.close()

    app = FastAPI(
        title=f"SharpEye: {settings.name}",
        version=__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    desk = Desk(crew, settings.limits, meter)
    served = Served(settings.name, model, settings.limits, desk, meter)
    routes.add_native(app, served)
    routes.add_tensorflow_serving(app, served)
    routes.add_open_inference(app, served)
    _add_error_handlers(app)
    openapi.describe_token(app, needed=settings.rules.token is not None)
    gate: ASGIApp = Gate(app, settings.rules, meter)
    if settings.rules.origins:
        gate = CORSMiddleware(
            gate,
            allow_origins=list(settings.rules.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return gate


def _add_error_handlers(app: FastAPI) -> None:
    """Every error is `{"error": one line}`, as both other protocols want it."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return json_response({"error": error.message}, error.status, error.headers)

    @app.exception_handler(SharpEyeError)
    async def wrong(_: Request, error: SharpEyeError) -> Response:
        kinds = {UsageError: 400, DataError: 400, EnvironmentFault: 503}
        status = next((s for kind, s in kinds.items() if isinstance(error, kind)), 500)
        return json_response({"error": str(error)}, status)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path[:200]}: {error.detail}; see /openapi.json"
        return json_response({"error": what}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return json_response({"error": str(error.errors()[0].get("msg", "invalid"))}, 422)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(MemoryError)
    async def full(_: Request, __: MemoryError) -> Response:
        return json_response({"error": "out of memory; come again"}, 503, {"Retry-After": "1"})

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        return json_response({"error": f"a bug in SharpEye: {type(error).__name__}"}, 500)
