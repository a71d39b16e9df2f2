"""Bound a server's connections: silent ones end, and make room for others.

uvicorn alone waits for a request for ever, and answers 503 to everyone while too many connections
are open, whatever they do. Here the longest silent one is closed for a new one, as nginx does.
"""

import asyncio
import socket
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sharpeye.serve.access import ResponseHeaders, complete_headers
from sharpeye.serve.limits import RequestLimits, RequestRefused
from sharpeye.serve.responses import refusal_response

# A client that reads its response only at the end of its request gets it, up to here.
_MAX_DISCARDED_BYTES = 32 * 2**20

# Without this limit the system takes megabytes of a response before the client reads, and then none
# for many seconds, so that a slow client could not be told from one that does not read.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_MAX_UNSENT_BYTES = 64 * 2**10

MAX_HEADER_BYTES = 16 * 2**10  # of a request

# When the server ends, a client is not waited for that is silent for so long, or that has not sent
# its request or read its response after so many seconds.
_SILENT_SECONDS, _END_SECONDS = 1.0, 3.0


class OpenConnections:
    """The connections of one server that wait for their clients."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._count = 0
        # In the order of their last byte. Those that have never sent a request are closed first:
        # they cost a client nothing.
        self._without_request: dict[BoundedProtocol, None] = {}
        self._with_request: dict[BoundedProtocol, None] = {}

    def add(self, connection: "BoundedProtocol") -> bool:
        """Count a connection; if there are too many, close another one. False if none is idle."""
        self._count += 1
        if self._count <= self.limits.connections:
            return True
        idle = next(iter(self._without_request), None) or next(iter(self._with_request), None)
        if idle is None:
            return False
        self.end_waiting(idle)
        idle.transport.abort()
        return True

    def remove(self, connection: "BoundedProtocol") -> None:
        self._count -= 1
        self.end_waiting(connection)

    def begin_waiting(self, connection: "BoundedProtocol") -> None:
        """Record that a connection waits for its client from now on."""
        self.end_waiting(connection)
        waiting = self._with_request if connection.has_requested else self._without_request
        waiting[connection] = None

    def end_waiting(self, connection: "BoundedProtocol") -> None:
        self._without_request.pop(connection, None)
        self._with_request.pop(connection, None)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 by h11, with limits on a header, and on waiting for the client.

    A timer checks the connection every `header_seconds`. It ends a connection that has begun no
    request since the last check: silent ones, those that send a header byte by byte, and those that
    continue to send after a refusal. It also ends one whose client does not read its response. A
    request's body has a separate limit (see `body_limits`).

    Attributes:
        others: of the same server; a subclass sets it.
        has_requested: whether a request has been answered.
    """

    others: OpenConnections
    has_requested = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if _NOTSENT_LOWAT is not None:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
        if not self.others.add(self):
            self.app = ResponseHeaders(_refuse_connection)
        self.others.begin_waiting(self)
        self._unread_bytes, self._has_drained = 0, False
        self._received_bytes, self._discarded_bytes = 0, 0
        self._schedule_check()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.others.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        # h11 counts the bytes of a header only as long as it is incomplete.
        while self.conn.their_state is h11.IDLE and len(data) > MAX_HEADER_BYTES:
            super().data_received(data[:MAX_HEADER_BYTES])
            data = data[MAX_HEADER_BYTES:]
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_answering or self.conn.their_state is not h11.SEND_BODY:
            self._discarded_bytes = 0
        else:  # the rest of a body after its response
            self._discarded_bytes += len(data)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.abort()
        self._update()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as other requests are refused; uvicorn's response lacks headers.

        The application may be answering the request already, whose body is no HTTP.
        """
        status = getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST)
        status = HTTPStatus(status if status < 500 else HTTPStatus.BAD_REQUEST)
        if self._is_answering:
            self.cycle.disconnected = True  # drops what it sends from now on
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            text = "the request is not valid HTTP/1.1"
            if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                text = f"the header is over the limit of {MAX_HEADER_BYTES // 2**10} KiB"
            refusal = refusal_response(RequestRefused(status, text, {"Connection": "close"}))
            headers = complete_headers(refusal.raw_headers)
            events = (
                h11.Response(status_code=status, headers=headers, reason=status.phrase.encode()),
                h11.Data(data=bytes(refusal.body)),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def on_response_complete(self) -> None:
        self.has_requested = True
        super().on_response_complete()
        self._update()

    def resume_writing(self) -> None:
        self._has_drained = True
        super().resume_writing()

    def shutdown(self) -> None:
        """Prepare for the server's end, which waits for responses and for bodies that arrive."""
        super().shutdown()
        self.loop.call_later(_SILENT_SECONDS, self._end_if_silent, self._received_bytes)
        self.loop.call_later(_END_SECONDS, self._end_if_waiting)

    def _end_if_waiting(self) -> None:
        if not self._is_answering or self.cycle.more_body:
            self.transport.abort()

    def _end_if_silent(self, received_before: int) -> None:
        if self.transport.is_closing() or not self._is_answering or not self.cycle.more_body:
            return
        if self._received_bytes == received_before:
            self.transport.abort()
        else:
            self.loop.call_later(_SILENT_SECONDS, self._end_if_silent, self._received_bytes)

    def _update(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_answering and not self.cycle.more_body:
            self.others.end_waiting(self)
        else:
            self.others.begin_waiting(self)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _schedule_check(self) -> None:
        seconds = self.others.limits.header_seconds
        self._timer = self.loop.call_later(seconds, self._check, self.cycle)

    def _check(self, last_cycle: Any) -> None:
        """End the connection if its client has neither sent a request nor read a response."""
        limits = self.others.limits
        unread = self.transport.get_write_buffer_size()
        expected = limits.header_seconds * limits.body_bytes_per_second
        has_read = self._has_drained or unread <= self._unread_bytes - expected
        if unread:
            is_idle = not has_read and self._unread_bytes > 0
        else:
            is_idle = not self._is_answering and self.cycle is last_cycle
        if is_idle:
            self.transport.abort()
            return
        self._unread_bytes, self._has_drained = unread, False
        self._schedule_check()


async def _refuse_connection(scope: Any, receive: Any, send: Any) -> None:
    text = "the server has as many connections as it may; try again later"
    headers = {"Retry-After": "1", "Connection": "close"}
    await refusal_response(RequestRefused(503, text, headers))(scope, receive, send)
