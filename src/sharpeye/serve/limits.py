"""What a request may cost, and the one way in which a request is refused."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What requests may cost. What one image may cost is `images.decode.Limits`.

    Attributes:
        body_bytes: of one request's body.
        images: in one request.
        seconds: from a request's first byte to its answer.
        requests: at once; further ones are told to come again.
        bodies: so many full bodies may lie in memory at once.
        header_seconds: within which a connection must send a whole header.
        connections: open at once; below the 1,024 files that most systems grant a process.
    """

    body_bytes: int = 32 * 2**20
    images: int = 64
    seconds: float = 30.0
    requests: int = 64
    bodies: int = 8
    header_seconds: float = 10.0
    connections: int = 900


REQUEST_LIMITS = RequestLimits()


class RequestRefused(Exception):
    """A request is answered with an error. Not a SharpEyeError: it never leaves the server.

    Args:
        status: HTTP's code, 4xx or 5xx.
        message: one line: what is allowed, what was received, what to do next.
        headers: to send along.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.message, self.headers = status, message, headers or {}
        super().__init__(message)


def check_count(count: int, limits: RequestLimits) -> None:
    """Refuse a request with too many images, or with none."""
    if not count:
        raise RequestRefused(400, "no pictures in the request; send at least one")
    if count > limits.images:
        raise RequestRefused(
            413,
            f"{count} pictures are over the limit of {limits.images} a request; "
            "send them in several requests",
        )
