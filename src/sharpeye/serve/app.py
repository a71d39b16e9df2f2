"""The FastAPI application: what it is made of."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import Model
from sharpeye.serve import openapi, routes
from sharpeye.serve.access import RULES, AccessControl, AccessRules
from sharpeye.serve.error_responses import add_error_handlers
from sharpeye.serve.handler import Handler
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits
from sharpeye.serve.metrics import Meter
from sharpeye.serve.routes import Served
from sharpeye.serve.workers import Workers


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        name: of the model, in addresses.
        rules: who may ask.
        limits: what a request may cost.
        workers: images at once; 0 is one a core.
    """

    name: str = "model"
    rules: AccessRules = RULES
    limits: RequestLimits = REQUEST_LIMITS
    workers: int = 0


SETTINGS = Settings()


def build_app(model: Model, settings: Settings = SETTINGS, alone: Model | None = None) -> ASGIApp:
    """The application that serves a model.

    Args:
        model: answers with one thread a run.
        settings: see there.
        alone: the same model with a thread a core, for an image that is alone.
    """
    crew, meter = Workers(model, alone, settings.workers), Meter(settings.name)
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
    desk = Handler(crew, settings.limits, meter)
    served = Served(settings.name, model, settings.limits, desk, meter)
    routes.add_native(app, served)
    routes.add_tensorflow_serving(app, served)
    routes.add_open_inference(app, served)
    add_error_handlers(app)
    openapi.describe_token(app, needed=settings.rules.token is not None)
    gate: ASGIApp = AccessControl(app, settings.rules, meter)
    if settings.rules.origins:
        gate = CORSMiddleware(
            gate,
            allow_origins=list(settings.rules.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return gate
