"""Build the FastAPI application that serves a model."""

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
from sharpeye.serve.handler import Handler
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits
from sharpeye.serve.predict_request import ServedModel
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.responses import add_error_handlers
from sharpeye.serve.workers import Workers


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served: its name in URLs; `workers` are concurrent images, 0 is one a core."""

    name: str = "model"
    rules: AccessRules = RULES
    limits: RequestLimits = REQUEST_LIMITS
    workers: int = 0


SETTINGS = ServeSettings()


def build_app(
    model: Model, settings: ServeSettings = SETTINGS, all_cores_model: Model | None = None
) -> ASGIApp:
    """The application that serves a model.

    Args:
        model: runs with one thread.
        all_cores_model: the same model with a thread a core, for a single image.
    """
    workers = Workers(model, all_cores_model, settings.workers)
    workers.warm_up()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    app = FastAPI(
        title=f"SharpEye: {settings.name}",
        version=__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,  # these pages would load scripts from other servers
        redoc_url=None,
        lifespan=lifespan,
    )
    metrics = ServerMetrics(settings.name)
    handler = Handler(workers, settings.limits, metrics)
    served = ServedModel(settings.name, model, settings.limits)
    routes.add_native(app, served, handler, metrics=metrics)
    routes.add_tensorflow_serving(app, served, handler)
    routes.add_open_inference(app, served, handler)
    add_error_handlers(app)
    if settings.rules.token is not None:
        openapi.require_token(app)
    guarded: ASGIApp = AccessControl(app, settings.rules, metrics)
    if settings.rules.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=list(settings.rules.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return guarded
