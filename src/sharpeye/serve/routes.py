"""The routes of the three protocols. What they mean is in the protocols' own modules."""

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
from sharpeye.serve.metrics import Meter
from sharpeye.serve.requests import VERSION, ModelInfo, json_response


@dataclass(frozen=True)
class Served:
    """A model at work: its name in addresses, who answers, what is counted."""

    name: str
    model: Model
    limits: RequestLimits
    desk: Handler
    meter: Meter

    @property
    def about(self) -> ModelInfo:
        """What the protocols need to know of the model."""
        model = self.model
        boxes = model.manifest.task == "localize"
        return ModelInfo(self.name, model.input, model.labels, boxes, model.tells_unknown)

    def check(self, request: Request, name: str) -> None:
        """Refuse a request for another model, or for a version that there is not.

        Raises:
            Refusal: it is one.
        """
        if name != self.name:
            raise RequestRefused(404, f"no model {name[:80]} here; this server has {self.name}")
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise RequestRefused(404, f"no version {version[:40]} of {name}; there is {VERSION}")


def add_native(app: FastAPI, served: Served) -> None:
    """SharpEye's own routes."""

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        return HTMLResponse(front_page(served.name, served.model, str(request.base_url)))

    @app.get("/healthz", summary="Whether the server lives")
    async def health() -> Response:
        return json_response({"status": "ok", "model": served.name, "version": __version__})

    @app.get("/metrics", summary="Counts for Prometheus")
    async def metrics() -> Response:
        return served.meter.page()

    @app.post("/v1/predict", summary="Say what is in pictures", openapi_extra=openapi.PREDICT)
    async def predict(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        top = request.query_params.get("top")
        return await served.desk.answer(
            request, lambda body: native.read(body, content_type, top, served.limits)
        )


def add_tensorflow_serving(app: FastAPI, served: Served) -> None:
    """TensorFlow Serving's, under /v1/models."""

    @app.get("/v1/models", summary="The models that are served")
    async def models() -> Response:
        return json_response({"models": [served.name]})

    async def status(request: Request, name: str) -> Response:
        served.check(request, name)
        return json_response(tensorflow_serving.status())

    async def metadata(request: Request, name: str) -> Response:
        served.check(request, name)
        return json_response(tensorflow_serving.metadata(served.about))

    async def predict(request: Request, name: str) -> Response:
        served.check(request, name)
        return await served.desk.answer(
            request, lambda body: tensorflow_serving.read(body, served.about, served.limits)
        )

    post = {"methods": ["POST"], "openapi_extra": openapi.INSTANCES}
    _add_versions(app, "/v1/models/{name}", ":predict", predict, "TensorFlow Serving", **post)
    _add_versions(app, "/v1/models/{name}", "/metadata", metadata, "TensorFlow Serving: metadata")
    _add_versions(app, "/v1/models/{name}", "", status, "TensorFlow Serving: status")


def add_open_inference(app: FastAPI, served: Served) -> None:
    """The Open Inference Protocol's, under /v2."""

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
        served.check(request, name)
        return json_response({"name": served.name, "ready": True})

    async def metadata(request: Request, name: str) -> Response:
        served.check(request, name)
        return json_response(open_inference.model_metadata(served.about))

    async def infer(request: Request, name: str) -> Response:
        served.check(request, name)
        length = request.headers.get("inference-header-content-length")
        return await served.desk.answer(
            request, lambda body: open_inference.read(body, length, served.about, served.limits)
        )

    post = {"methods": ["POST"], "openapi_extra": openapi.INFER}
    _add_versions(app, "/v2/models/{name}", "/infer", infer, "Open Inference: infer", **post)
    _add_versions(app, "/v2/models/{name}", "/ready", model_ready, "Open Inference: model ready")
    _add_versions(app, "/v2/models/{name}", "", metadata, "Open Inference: the model")


def _add_versions(
    app: FastAPI, root: str, verb: str, work: Callable[..., Any], summary: str, **options: Any
) -> None:
    """Both spellings of a route: of a version, and of whichever there is."""
    app.add_api_route(
        f"{root}/versions/{{version}}{verb}", work, include_in_schema=False, **options
    )
    app.add_api_route(f"{root}{verb}", work, summary=summary, **options)
