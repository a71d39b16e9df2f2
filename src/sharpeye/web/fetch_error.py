"""The only error of this package: why a request has no usable response."""

import socket
import ssl
from dataclasses import dataclass, field

from sharpeye.errors import one_line

PAUSES_SECONDS = (1.0, 3.0, 9.0)  # pauses between attempts after retryable errors
MAX_PAUSE_SECONDS = 60.0  # limit on a pause that the server names


@dataclass(eq=False, kw_only=True)
class FetchError(Exception):
    """A request failed, or a rule forbids it (`refused`)."""

    reason: str = field(kw_only=False)  # one line
    refused: bool = False
    retryable: bool = False  # another attempt may succeed
    retry_after: float = 0.0  # seconds that the server asks to wait
    reached: bool = True  # whether a connection to a server was established

    def __post_init__(self) -> None:
        super().__init__(self.reason)


def connection_error(error: Exception, *, reached: bool) -> FetchError:
    """The FetchError for a connection error of the system or a protocol library."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError(f"its certificate is not valid ({error.verify_message})")
    no_such_name = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
    words = getattr(error, "strerror", None) or error
    reason = one_line(words, 160) or type(error).__name__
    return FetchError(reason, retryable=not no_such_name, reached=reached)
