"""The routes of the three protocols, whose modules parse requests and build responses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import Model
from sharpeye.serve import native, open_inference, openapi, tensorflow_serving
from sharpeye.serve.front_page import front_page
from sharpeye.serve.handler import Handler
from sharpeye.serve.limits import RequestLimits, RequestRefused
from sharpeye.serve.predict_request import VERSION, ModelInfo
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.responses import json_response


@dataclass(frozen=True)
class ServedModel:
    """A model with its name in URLs, and what its routes use."""

    name: str
    model: Model
    limits: RequestLimits
    handler: Handler
    metrics: ServerMetrics

    @property
    def info(self) -> ModelInfo:
        """What the protocols need to know about the model."""
        model = self.model
        return ModelInfo(
            self.name, model.input, model.labels, model.localizes, model.has_unknown_score
        )

    def check_name(self, request: Request, name: str) -> None:
        """Refuse a request for another model, or for a version that does not exist.

        Raises:
            RequestRefused: with status 404.
        """
        if name != self.name:
            raise RequestRefused(404, f"no model {name[:80]} here; this server has {self.name}")
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise RequestRefused(404, f"no version {version[:40]} of {name}; there is {VERSION}")


def add_native(app: FastAPI, served: ServedModel) -> None:
    """SharpEye's own routes."""

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        return HTMLResponse(front_page(served.name, served.model, str(request.base_url)))

    @app.get("/healthz", summary="Whether the server lives")
    async def health() -> Response:
        return json_response({"status": "ok", "model": served.name, "version": __version__})

    @app.get("/metrics", summary="Counts for Prometheus")
    async def metrics() -> Response:
        return served.metrics.response()

    @app.post("/v1/predict", summary="Predict what pictures show", openapi_extra=openapi.PREDICT)
    async def predict(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        top = request.query_params.get("top")
        return await served.handler.handle(
            request, lambda body: native.parse(body, content_type, top, served.limits)
        )


def add_tensorflow_serving(app: FastAPI, served: ServedModel) -> None:
    """TensorFlow Serving's routes, under /v1/models."""

    @app.get("/v1/models", summary="The models that are served")
    async def models() -> Response:
        return json_response({"models": [served.name]})

    async def status(request: Request, name: str) -> Response:
        served.check_name(request, name)
        return json_response(tensorflow_serving.status())

    async def metadata(request: Request, name: str) -> Response:
        served.check_name(request, name)
        return json_response(tensorflow_serving.metadata(served.info))

    async def predict(request: Request, name: str) -> Response:
        served.check_name(request, name)
        return await served.handler.handle(
            request, lambda body: tensorflow_serving.parse(body, served.info, served.limits)
        )

    post = {"methods": ["POST"], "openapi_extra": openapi.INSTANCES}
    _add_versions(app, "/v1/models/{name}", ":predict", predict, "TensorFlow Serving", **post)
    _add_versions(app, "/v1/models/{name}", "/metadata", metadata, "TensorFlow Serving: metadata")
    _add_versions(app, "/v1/models/{name}", "", status, "TensorFlow Serving: status")


def add_open_inference(app: FastAPI, served: ServedModel) -> None:
    """The Open Inference Protocol's routes, under /v2."""

    @app.get("/v2", summary="Open Inference: the server")
    async def server() -> Response:
        return json_response(open_inference.server_metadata())

    @app.get("/v2/health/live", summary="Open Inference: whether the server lives")
    async def live() -> Response:
        return json_response({"live": True})

    @app.get("/v2/health/ready", summary="Open Inference: whether the server answers")
    async def ready() -> Response:
        return json_response({"live": True, "ready": True})

    async def model_ready(request: Request, name: str) -> Response:
        served.check_name(request, name)
        return json_response({"name": served.name, "ready": True})

    async def metadata(request: Request, name: str) -> Response:
        served.check_name(request, name)
        return json_response(open_inference.model_metadata(served.info))

    async def infer(request: Request, name: str) -> Response:
        served.check_name(request, name)
        length = request.headers.get("inference-header-content-length")
        return await served.handler.handle(
            request, lambda body: open_inference.parse(body, length, served.info, served.limits)
        )

    post = {"methods": ["POST"], "openapi_extra": openapi.INFER}
    _add_versions(app, "/v2/models/{name}", "/infer", infer, "Open Inference: infer", **post)
    _add_versions(app, "/v2/models/{name}", "/ready", model_ready, "Open Inference: model ready")
    _add_versions(app, "/v2/models/{name}", "", metadata, "Open Inference: the model")


def _add_versions(
    app: FastAPI, root: str, verb: str, work: Callable[..., Any], summary: str, **options: Any
) -> None:
    """Add a route with and without a version."""
    app.add_api_route(
        f"{root}/versions/{{version}}{verb}", work, include_in_schema=False, **options
    )
    app.add_api_route(f"{root}{verb}", work, summary=summary, **options)
