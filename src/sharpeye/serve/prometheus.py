"""Metrics of a server, which `/metrics` serves in Prometheus' text format.

Label values are routes, not paths: requests for a million paths must not create a million series.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import PredictResult, UnreadableImage

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServerMetrics:
    """Metrics of one server, in its own registry instead of the global one."""

    def __init__(self, model_name: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        text = "Requests that were answered."
        self._requests = Counter("sharpeye_requests", text, ("route", "status"), registry=registry)
        text = "From a request's header to the end of its answer."
        self._seconds = Histogram(
            "sharpeye_request_seconds", text, ("route",), buckets=_SECONDS, registry=registry
        )
        text = "Images that were answered, or could not be read."
        self._images = Counter("sharpeye_pictures", text, ("outcome",), registry=registry)
        text = "Requests being answered."
        self.active = Gauge("sharpeye_requests_inside", text, registry=registry)
        text = "The model that is served."
        model = Gauge("sharpeye_model", text, ("name", "version"), registry=registry)
        model.labels(model_name, __version__).set(1)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; status 0 means that the client left before the response."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_images(self, results: list[PredictResult]) -> None:
        unreadable = sum(isinstance(result, UnreadableImage) for result in results)
        self._images.labels("unreadable").inc(unreadable)
        self._images.labels("answered").inc(len(results) - unreadable)

    def response(self) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
