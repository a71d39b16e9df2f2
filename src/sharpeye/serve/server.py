"""Runs the server: its address, its signals, its end."""

import contextlib
import errno
import ipaddress
import logging
import re
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.artefact.session import open_model
from sharpeye.core.inference import available_cores
from sharpeye.errors import BusyError, EnvironmentFault, MissingExtra, UsageError
from sharpeye.predict.predictor import Model
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits

if TYPE_CHECKING:
    import uvicorn

    from sharpeye.serve.access import AccessRules

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_TOKEN = re.compile(r"[!-~]{8,500}")
_MAX_HEADER_BYTES = 64 * 2**10
_MAX_SOCKET_BYTES = 2**20  # of one message


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and for whom.

    Attributes:
        host: a name or an address of this machine.
        port: 0 is any that is free.
        token: which requests must carry; beyond loopback one is made if it is None.
        origins: pages of other servers whose scripts may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()


def serve(
    path: Path,
    place: ServerOptions,
    ready: Callable[[str, str, str | None], None],
    *,
    name: str | None = None,
    limits: RequestLimits = REQUEST_LIMITS,
    workers: int = 0,
) -> None:
    """Serve a model until a signal asks to stop; requests that were let in are answered first.

    Args:
        path: a run directory, a bundle, or an `.onnx` file that SharpEye wrote.
        place: see there.
        ready: called with the model's name, the server's address, and the token if one was made.
        name: of the model, in addresses; by default that of its folder.
        limits: what a request may cost.
        workers: images at once; 0 is one a core.

    Raises:
        MissingExtra: FastAPI or another part of the extra `serve` is not installed.
        UsageError: the name, the token or the host is wrong.
        BusyError: another program listens there.
        ModelError: the model is rejected.
    """
    name = check_name(name or name_of(path))
    _check_token(place.token)
    require_web("`sharpeye serve`", "serve")

    from sharpeye.serve.app import Settings, build_app

    cores = available_cores()
    model = Model(open_model(path))
    alone = Model(open_model(path, threads=cores)) if cores > 1 else None
    with open_place(place, limits) as opened:
        app = build_app(model, Settings(name, opened.rules, limits, workers), alone)
        server = make_server(app, limits, lambda: ready(name, opened.address, opened.made))
        with graceful_signals(server):
            server.run(sockets=[opened.listening])
    _LOG.info("stopped")


@dataclass(frozen=True)
class Opened:
    """A place at which a server may begin.

    Attributes:
        listening: the socket.
        rules: who may ask there.
        address: of the server, without a slash at its end.
        made: the token, if one was made.
    """

    listening: socket.socket
    rules: "AccessRules"
    address: str
    made: str | None


@contextlib.contextmanager
def open_place(
    place: ServerOptions, limits: RequestLimits, cookie: str | None = None
) -> Iterator[Opened]:
    """Listen; nothing is answered yet. Beyond loopback, a token is made if there is none.

    Args:
        place: see there.
        limits: what a request may cost.
        cookie: in which a browser may keep the token; `{port}` in it is the port, which a
            browser does not tell cookies apart by.

    Raises:
        UsageError: the token or the host is wrong.
        BusyError: another program listens there.
        EnvironmentFault: the system forbids it.
    """
    from sharpeye.serve.access import LOOPBACK_NAMES, AccessRules

    _check_token(place.token)
    with _listen(place) as listening:
        own, port = listening.getsockname()[:2]
        token, made = place.token, None
        if token is None and not _is_loopback(own):
            token = made = secrets.token_urlsafe(24)
        names = (*LOOPBACK_NAMES, _bracketed(own), _bracketed(place.host.lower()))
        cookie = cookie.format(port=port) if cookie else None
        rules = AccessRules(token, tuple(dict.fromkeys(names)), place.origins, limits, cookie)
        yield Opened(listening, rules, f"http://{_bracketed(place.host)}:{port}", made)


def _check_token(token: str | None) -> None:
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError("a token has 8 to 500 visible ASCII characters, and no spaces")


def name_of(path: Path) -> str:
    """A model's name by its place: of `runs/rose` and `runs/rose/model.onnx` it is rose."""
    path = path.resolve()
    own = path.name if path.is_dir() else path.stem
    own = path.parent.name if own == "model" and not path.is_dir() else own
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip("-")[:100] or "model"


def check_name(name: str) -> str:
    """The name, if addresses can hold it as it is.

    Raises:
        UsageError: they cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a model's name has letters, digits, `_`, `.` and `-` only. Received: {name}"
        )
    return name


def require_web(purpose: str, extra: str) -> None:
    """Make sure that what a server is made of is installed.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import fastapi as fastapi
        import prometheus_client as prometheus_client
        import python_multipart as python_multipart
        import uvicorn as uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), extra, purpose) from None
    # It warns of clients' mistakes, which are answered.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _listen(place: ServerOptions) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: no such host here.
        BusyError: another program listens there.
        EnvironmentFault: the system forbids it.
    """
    where = f"{place.host}:{place.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except UnicodeError:
        raise UsageError(f"a host is a name or an address. Received: {place.host[:80]}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"another program listens at {where}; stop it, or give another --port"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise EnvironmentFault(
                f"listening at {where} is not permitted; ports below 1024 mostly are not: "
                "give another --port"
            ) from None
        raise UsageError(f"this machine cannot listen at {where}: {error.strerror}") from None


def make_server(
    app: Any, limits: RequestLimits, ready: Callable[[], None], *, sockets: bool = False
) -> "uvicorn.Server":
    """uvicorn with our limits.

    Args:
        app: an ASGI application.
        limits: `seconds`, `header_seconds` and `connections` are used.
        ready: called when the server answers.
        sockets: web sockets are taken.
    """
    import uvicorn

    from sharpeye.serve.connections import PatientFor

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

    config = uvicorn.Config(
        app,
        http=type("Watched", (PatientFor,), {"seconds": limits.header_seconds}),
        ws="websockets-sansio" if sockets else "none",
        ws_max_size=_MAX_SOCKET_BYTES,
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,  # nobody's word for where a request came from is taken
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )
    return Server(config)


@contextlib.contextmanager
def graceful_signals(server: "uvicorn.Server") -> Iterator[None]:
    """A signal ends the server in order, with exit code 0.

    uvicorn stops by itself on SIGINT and SIGTERM, and raises them again when it is done: then
    nothing is left to do. SIGHUP (the terminal is gone) it does not know.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    names = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread: the caller's business
        before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
