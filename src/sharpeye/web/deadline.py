"""A connection that is held for so long only, and why nothing came over it."""

import contextlib
import socket
import ssl
import threading


class NoAnswer(Exception):
    """Nothing came that can be used.

    Attributes:
        reason: one line.
        refused: it was not asked for, or not taken, by a rule; else it failed.
        again: another attempt may do.
        pause: seconds that the server wants to be left alone.
        reached: whether a server answered at all.
    """

    def __init__(
        self,
        reason: str,
        *,
        refused: bool = False,
        again: bool = False,
        pause: float = 0.0,
        reached: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason, self.refused, self.again = reason, refused, again
        self.pause, self.reached = pause, reached


class Lease:
    """A connection that ends after some seconds, whatever the server is doing then."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._late = seconds, False
        self._timer = threading.Timer(seconds, self._is_late)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []
        self.connected = False

    def __enter__(self) -> "Lease":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for opened in self._sockets:
            opened.close()

    def hold(self, opened: socket.socket) -> socket.socket:
        self._sockets.append(opened)
        return opened

    def cut(self) -> None:
        """Wake whoever waits for the connection."""
        for opened in [*self._sockets]:
            with contextlib.suppress(OSError):  # not an SSLSocket's own: it would drop the cipher
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def explain(self, error: Exception) -> NoAnswer:
        if self._late:
            return NoAnswer(f"it took more than {self._seconds:g} s", again=True, reached=True)
        if isinstance(error, ssl.SSLCertVerificationError):
            return NoAnswer(f"its certificate is not valid ({error.verify_message})")
        unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
        said = " ".join(str(getattr(error, "strerror", None) or error or repr(error)).split())
        return NoAnswer(
            said[:160] or type(error).__name__, again=not unknown, reached=self.connected
        )

    def _is_late(self) -> None:
        self._late = True
        self.cut()
