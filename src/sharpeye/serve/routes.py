"""The routes of the three protocols, whose modules parse requests and build responses."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from sharpeye.core.version import __version__
from sharpeye.serve import native, open_inference, openapi, tensorflow_serving
from sharpeye.serve.front_page import front_page
from sharpeye.serve.handler import Handler
from sharpeye.serve.limits import RequestRefused
from sharpeye.serve.predict_request import VERSION, ServedModel
from sharpeye.serve.prometheus import ServerMetrics
from sharpeye.serve.responses import json_response


def add_native(
    app: FastAPI, served: ServedModel, handler: Handler, *, metrics: ServerMetrics
) -> None:
    """SharpEye's own routes."""

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        return HTMLResponse(front_page(served, str(request.base_url)))

    @app.get("/healthz", summary="Whether the server lives")
    async def health() -> Response:
        return json_response({"status": "ok", "model": served.name, "version": __version__})

    @app.get("/metrics", name="metrics", summary="Counts for Prometheus")
    async def metrics_text() -> Response:
        return metrics.response()

    @app.post("/v1/predict", summary="Predict what pictures show", openapi_extra=openapi.PREDICT)
    async def predict(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        top = request.query_params.get("top")
        return await handler.handle(
            request, lambda body: native.parse(body, served, content_type=content_type, top=top)
        )


def add_tensorflow_serving(app: FastAPI, served: ServedModel, handler: Handler) -> None:
    """TensorFlow Serving's routes, under /v1/models."""

    @app.get("/v1/models", summary="The models that are served")
    async def models() -> Response:
        return json_response({"models": [served.name]})

    async def status(request: Request, name: str) -> Response:
        _check_name(served, request, name)
        return json_response(tensorflow_serving.status())

    async def metadata(request: Request, name: str) -> Response:
        _check_name(served, request, name)
        return json_response(tensorflow_serving.metadata(served))

    async def predict(request: Request, name: str) -> Response:
        _check_name(served, request, name)
        return await handler.handle(request, lambda body: tensorflow_serving.parse(body, served))

    post: dict[str, Any] = {"methods": ["POST"], "openapi_extra": openapi.INSTANCES}
    model, title = "/v1/models/{name}", "TensorFlow Serving"
    _add_versions(app, (model, ":predict"), predict, summary=title, **post)
    _add_versions(app, (model, "/metadata"), metadata, summary=f"{title}: metadata")
    _add_versions(app, (model, ""), status, summary=f"{title}: status")


def add_open_inference(app: FastAPI, served: ServedModel, handler: Handler) -> None:
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
        _check_name(served, request, name)
        return json_response({"name": served.name, "ready": True})

    async def metadata(request: Request, name: str) -> Response:
        _check_name(served, request, name)
        return json_response(open_inference.model_metadata(served))

    async def infer(request: Request, name: str) -> Response:
        _check_name(served, request, name)
        length = request.headers.get("inference-header-content-length")
        return await handler.handle(
            request, lambda body: open_inference.parse(body, served, json_length=length)
        )

    post: dict[str, Any] = {"methods": ["POST"], "openapi_extra": openapi.INFER}
    model, title = "/v2/models/{name}", "Open Inference"
    _add_versions(app, (model, "/infer"), infer, summary=f"{title}: infer", **post)
    _add_versions(app, (model, "/ready"), model_ready, summary=f"{title}: model ready")
    _add_versions(app, (model, ""), metadata, summary=f"{title}: the model")


def _check_name(served: ServedModel, request: Request, name: str) -> None:
    """Refuse a request for another model, or for a version that does not exist."""
    if name != served.name:
        raise RequestRefused(404, f"no model {name[:80]} here; this server has {served.name}")
    version = request.path_params.get("version", VERSION)
    if version != VERSION:
        raise RequestRefused(404, f"no version {version[:40]} of {name}; there is {VERSION}")


def _add_versions(
    app: FastAPI, paths: tuple[str, str], work: Callable[..., Any], **options: Any
) -> None:
    """Add a route with and without a version between the two parts of its path."""
    start, end = paths
    hidden = options | {"include_in_schema": False}
    app.add_api_route(f"{start}/versions/{{version}}{end}", work, **hidden)
    app.add_api_route(f"{start}{end}", work, **options)
