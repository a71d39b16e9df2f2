"""Build the FastAPI application that serves a model by three protocols."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import Model
from sharpeye.serve import native, open_inference, openapi, tensorflow_serving, triton
from sharpeye.serve.access import AccessControl, AccessRules, ResponseHeaders
from sharpeye.serve.body_limits import BodyLimits
from sharpeye.serve.handler import Handler
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits, RequestRefused
from sharpeye.serve.predict_request import VERSION, ServedModel
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.responses import add_error_handlers, json_response
from sharpeye.serve.workers import Workers


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served: its name in URLs; `workers` are concurrent images, 0 is one a core."""

    name: str = "model"
    rules: AccessRules = field(default_factory=AccessRules)
    limits: RequestLimits = REQUEST_LIMITS
    workers: int = 0


def build_app(
    model: Model, settings: ServeSettings | None = None, all_cores_model: Model | None = None
) -> ASGIApp:
    """The application that serves a model.

    Args:
        model: runs with one thread.
        all_cores_model: the same model with a thread per core, for a single image.
    """
    settings = settings or ServeSettings()
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
        responses=openapi.COMMON_ERRORS,
    )
    metrics = ServerMetrics(settings.name)
    handler = Handler(workers, settings.limits, metrics)
    served = ServedModel(settings.name, model, settings.limits)
    _add_native(app, served, handler, metrics=metrics)
    _add_tensorflow_serving(app, served, handler)
    _add_triton(app, served, handler)
    _add_open_inference(app, served, handler)
    add_error_handlers(app)
    if settings.rules.token is not None:
        openapi.require_token(app)
    limits = settings.limits
    guarded: ASGIApp = BodyLimits(app, limits, seconds=limits.seconds)
    guarded = AccessControl(guarded, settings.rules, metrics)
    if settings.rules.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=list(settings.rules.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return ResponseHeaders(guarded)


def _add_native(
    app: FastAPI, served: ServedModel, handler: Handler, *, metrics: ServerMetrics
) -> None:
    """SharpEye's own routes."""

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        return HTMLResponse(native.front_page(served, str(request.base_url)))

    @app.get("/healthz", summary="Whether the server lives")
    async def health() -> Response:
        return json_response({"status": "ok", "model": served.name, "version": __version__})

    @app.get(
        "/metrics",
        name="metrics",
        summary="Counts for Prometheus",
        response_class=PlainTextResponse,
    )
    async def metrics_text() -> Response:
        return metrics.response()

    @app.post("/v1/predict", summary="Predict what images show", **openapi.PREDICT)
    async def predict(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        top = request.query_params.get("top")
        return await handler.handle(
            request, lambda body: native.parse(body, served, content_type=content_type, top=top)
        )


def _add_tensorflow_serving(app: FastAPI, served: ServedModel, handler: Handler) -> None:
    """TensorFlow Serving's routes, under /v1/models."""

    @app.get("/v1/models", summary="The models that are served")
    async def models() -> Response:
        return json_response({"models": [served.name]})

    async def status() -> Response:
        return json_response(tensorflow_serving.status())

    async def metadata() -> Response:
        return json_response(tensorflow_serving.metadata(served))

    async def predict(request: Request) -> Response:
        return await handler.handle(request, lambda body: tensorflow_serving.parse(body, served))

    post: dict[str, Any] = {"methods": ["POST"], **openapi.INSTANCES}
    add_route = _model_router(app, served, "/v1/models/{name}")
    add_route(":predict", predict, summary="TensorFlow Serving", **post)
    add_route("/metadata", metadata, summary="TensorFlow Serving: metadata")
    add_route("", status, summary="TensorFlow Serving: status")


def _add_open_inference(app: FastAPI, served: ServedModel, handler: Handler) -> None:
    """The Open Inference Protocol's routes, under /v2."""

    @app.get("/v2", summary="Open Inference: the server")
    async def server() -> Response:
        return json_response(open_inference.server_metadata())

    @app.get("/v2/models", summary="Open Inference: the models that are served")
    async def models() -> Response:
        return json_response({"models": [served.name]})

    @app.get("/v2/health/live", summary="Open Inference: whether the server lives")
    async def live() -> Response:
        return json_response({"live": True})

    @app.get("/v2/health/ready", summary="Open Inference: whether the server answers")
    async def ready() -> Response:
        return json_response({"live": True, "ready": True})

    async def model_ready() -> Response:
        return json_response({"name": served.name, "ready": True})

    async def metadata() -> Response:
        return json_response(open_inference.model_metadata(served))

    async def infer(request: Request) -> Response:
        length = request.headers.get("inference-header-content-length")
        return await handler.handle(
            request, lambda body: open_inference.parse(body, served, json_length=length)
        )

    post: dict[str, Any] = {"methods": ["POST"], **openapi.INFER}
    add_route = _model_router(app, served, "/v2/models/{name}")
    add_route("/infer", infer, summary="Open Inference: infer", **post)
    add_route("/ready", model_ready, summary="Open Inference: model ready")
    add_route("", metadata, summary="Open Inference: the model")


def _add_triton(app: FastAPI, served: ServedModel, handler: Handler) -> None:
    """Triton's extensions of the Open Inference Protocol, under /v2."""

    async def index() -> Response:
        return json_response(triton.repository_index(served))

    async def config() -> Response:
        outputs = open_inference.output_specs(served.model)
        return json_response(triton.model_config(served, outputs))

    async def statistics() -> Response:
        return json_response(triton.model_statistics(served, handler.statistics))

    for method in ("GET", "POST"):  # POST in the protocol
        summary = "Triton: the models that are served"
        app.add_api_route("/v2/repository/index", index, methods=[method], summary=summary)
    summary = "Triton: counts of the requests to all models"
    app.add_api_route("/v2/models/stats", statistics, summary=summary)
    add_route = _model_router(app, served, "/v2/models/{name}")
    add_route("/config", config, summary="Triton: the model's configuration")
    add_route("/stats", statistics, summary="Triton: counts of the model's requests")


def _model_router(app: FastAPI, served: ServedModel, path: str) -> Callable[..., None]:
    """A function that adds a route below the model's path, with and without a version."""

    async def check_name(request: Request, name: str) -> None:
        if name != served.name:
            raise RequestRefused(404, f"no model {name[:80]} here; this server has {served.name}")
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise RequestRefused(404, f"no version {version[:40]} of {name}; there is {VERSION}")

    def add_route(end: str, work: Callable[..., Any], **options: Any) -> None:
        responses = openapi.MODEL_ERRORS | options.pop("responses", {})
        options |= {"dependencies": [Depends(check_name)], "responses": responses}
        hidden = options | {"include_in_schema": False}
        app.add_api_route(f"{path}/versions/{{version}}{end}", work, **hidden)
        app.add_api_route(f"{path}{end}", work, **options)

    return add_route
