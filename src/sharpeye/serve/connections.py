"""Close connections that send no request in time; uvicorn alone would wait for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP/1.1 by h11, which bounds the header to 64 KiB, with a limit on idle time.

    A timer checks the connection every `seconds`, and closes it if no request is active and none
    has begun since the last check. That ends connections that send a header byte by byte, or that
    continue to send after a refusal. A request's body has a separate limit.
    """

    seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._check, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _check(self, last_cycle: Any) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering and self.cycle is last_cycle:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(self.seconds, self._check, self.cycle)
