"""Limits on the cost of requests, and the exception that refuses a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on the cost of requests; `images.decode.DecodeLimits` bounds the cost of one image.

    Attributes:
        body_bytes, images: of one request.
        seconds: time from a request's header to its response.
        requests: concurrent requests whose bodies have arrived; further ones get 503 with
            Retry-After.
        bodies: the number of full-size bodies in memory at once.
        body_bytes_per_second: minimum rate of a body, and of a response's bytes that the client
            reads: a connection that is slower over `rate_seconds` is closed.
        rate_seconds: the time over which that rate is measured.
        header_seconds: time within which a connection must send a complete header.
        connections: open connections; for a further one, the one that has been silent for the
            longest time is closed.
    """

    body_bytes: int = 32 * 2**20
    images: int = 64
    seconds: float = 30.0
    requests: int = 64
    bodies: int = 8
    body_bytes_per_second: int = 2**10
    rate_seconds: float = 10.0
    header_seconds: float = 10.0
    connections: int = 900


REQUEST_LIMITS = RequestLimits()
RETRY_AFTER = {"Retry-After": "1"}


class RequestRefused(Exception):
    """A request gets an error response, 4xx or 5xx. It never leaves the server.

    The message is one line: what is allowed, what was received, what to do next.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.message, self.headers = status, message, headers or {}
        super().__init__(message)


def body_too_large(max_bytes: int) -> RequestRefused:
    return RequestRefused(
        413,
        f"the body is over the limit of {max_bytes / 2**20:g} MiB a request; "
        "send fewer or smaller images",
    )


def check_image_count(count: int, limits: RequestLimits) -> None:
    """Refuse a request with no images, or with more than `limits.images`."""
    if not count:
        raise RequestRefused(400, "no images in the request; send at least one")
    if count > limits.images:
        raise RequestRefused(
            413,
            f"{count} images are over the limit of {limits.images} a request; "
            "send them in several requests",
        )
