"""What `/metrics` says, in Prometheus' text format.

Routes are labels, paths are not: a stranger who asks for a million paths makes no million series.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from sharpeye.core.version import __version__
from sharpeye.predict.predictor import UnreadableImage
from sharpeye.serve.requests import Answer

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Meter:
    """Counts of one server; nothing is global."""

    def __init__(self, name: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "sharpeye_requests",
            "Requests that were answered.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "sharpeye_request_seconds",
            "From a request's header to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "sharpeye_pictures",
            "Pictures that were answered, or could not be read.",
            ("outcome",),
            registry=self._registry,
        )
        self.inside = Gauge(
            "sharpeye_requests_inside", "Requests being answered.", registry=self._registry
        )
        about = Gauge(
            "sharpeye_model",
            "The model that is served.",
            ("name", "version"),
            registry=self._registry,
        )
        about.labels(name, __version__).set(1)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; status 0 is one whose client left before the answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answers(self, answers: list[Answer]) -> None:
        """Count the images of a request."""
        unread = sum(isinstance(answer, UnreadableImage) for answer in answers)
        self._images.labels("unreadable").inc(unread)
        self._images.labels("answered").inc(len(answers) - unread)

    def page(self) -> Response:
        """All of it."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
