"""A network backend for httpcore: one connection per request, checked address, total deadline."""

import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpcore

from sharpeye.web.addresses import Address, AddressCheck, connect
from sharpeye.web.fetch_error import FetchError, connection_error


class CheckedConnection(httpcore.NetworkBackend, httpcore.NetworkStream):
    """The connection of one request, as httpcore's network backend and stream.

    It raises FetchError, which httpcore and httpx pass through, also if more than `seconds` pass
    from resolving the name to the last byte.

    Attributes:
        peer: the connected address and port; none before `connect_tcp`.
    """

    peer: tuple[Address, int]

    _socket: socket.socket

    def __init__(self, check: AddressCheck, seconds: float) -> None:
        self._check, self._seconds = check, seconds
        self._end = time.monotonic() + seconds

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any
    ) -> httpcore.NetworkStream:
        with self._time_limit(timeout, reached=False) as seconds:
            self._socket = connect(host, port, self._check, timeout=seconds)
            address = str(self._socket.getpeername()[0]).partition("%")[0]
            self.peer = ipaddress.ip_address(address), port
        return self

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        with self._time_limit(timeout, reached=False) as seconds:
            self._socket.settimeout(seconds)
            encrypted = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._socket = encrypted  # before the handshake, so that `abort` ends that, too
            encrypted.do_handshake()
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._time_limit(timeout) as seconds:
            self._socket.settimeout(seconds)
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._time_limit(timeout) as seconds:
            self._socket.settimeout(seconds)
            self._socket.sendall(buffer)

    def close(self) -> None:
        with contextlib.suppress(AttributeError):  # the connection was never opened
            self._socket.close()

    def abort(self) -> None:
        """Wake the thread that waits for the connection, and end its work."""
        self._end = time.monotonic()
        # The plain socket's method, as that of an SSLSocket would continue without encryption.
        with contextlib.suppress(AttributeError, OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _time_limit(self, timeout: float | None, *, reached: bool = True) -> Iterator[float]:
        """Yield a timeout in seconds until the deadline; raise OSError as FetchError."""
        left = self._end - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            yield left if timeout is None else min(timeout, left)
        except OSError as error:
            if time.monotonic() < self._end:
                raise connection_error(error, reached=reached) from None
            reason = f"it took more than {self._seconds:g} s"
            raise FetchError(reason, retryable=True) from None
