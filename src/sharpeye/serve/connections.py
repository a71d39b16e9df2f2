"""Connections that send no request in time are closed: uvicorn itself would wait for ever."""

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import h11


class PatientFor(H11Protocol):
    """HTTP/1.1 by h11, whose header is bounded (64 KiB), with a watch.

    A connection is looked at every `seconds`. If no request is being answered and none has begun
    since the last look, it is closed: so are those that send a header byte by byte, and those
    that send on after they were refused. A request's body has the limit of its own request.
    """

    seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = self.loop.call_later(self.seconds, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: "h11.Request") -> None:
        self._watch.cancel()  # a web socket has pings of its own
        super().handle_websocket_upgrade(event)

    def _look(self, seen: Any) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering and self.cycle is seen:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(self.seconds, self._look, self.cycle)
