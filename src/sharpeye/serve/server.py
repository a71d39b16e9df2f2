"""Run the server: bind its address, start uvicorn, and shut down on a signal."""

import contextlib
import errno
import ipaddress
import logging
import re
import secrets
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.artefact.session import open_model
from sharpeye.core.inference import available_cores
from sharpeye.errors import BusyError, EnvironmentFault, MissingExtra, UsageError
from sharpeye.images.decode_limits import (
    MB,
    DecodeLimits,
    limits_in_force,
    set_default_limits,
    set_limits,
)
from sharpeye.images.memory_budget import BYTES_PER_CORE
from sharpeye.predict.predictor import Model
from sharpeye.serve.limits import REQUEST_LIMITS, RequestLimits
from sharpeye.serve.log_limit import limit_server_logs

if TYPE_CHECKING:
    import uvicorn

    from sharpeye.serve.access import AccessRules

_LOG = logging.getLogger(__name__)

# Enough for the photographs of all cameras but a few. A JPEG takes 4 bytes a pixel, an image with
# transparency 8, a WebP 16.
_DECODE_LIMITS = DecodeLimits(pixels=64_000_000, memory_bytes=250 * MB)

_MODEL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_TOKEN = re.compile(r"[!-~]{8,500}")
_OTHER_FILES = 124  # open files of this process that are no connections, at most


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and which clients may use it.

    Attributes:
        host: a name or an address of this machine.
        port: 0 chooses any free port.
        token: every request must contain it; without one, a server beyond loopback generates one.
        origins: other servers whose pages may send requests.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()


def serve(
    path: Path,
    options: ServerOptions,
    ready: Callable[[str, str, str | None], None],
    *,
    name: str | None = None,
    limits: RequestLimits = REQUEST_LIMITS,
    workers: int = 0,
) -> None:
    """Serve a model until a signal arrives; admitted requests are answered before it returns.

    Args:
        path: a run directory, a bundle, or an `.onnx` file that SharpEye wrote.
        ready: called with the model's name, the server's URL, and a generated token or None.
        name: the model's name in URLs; by default its folder's.
        workers: concurrent images; 0 means one per core.

    Raises:
        UsageError: the name, the token or the host is wrong.
        ModelError: the model is rejected.
        All errors of `require_web_packages` and `open_listener`.
    """
    limit_decoding()
    name = check_model_name(name or default_model_name(path))
    _check_token(options.token)
    require_web_packages("`sharpeye serve`", "serve")

    from sharpeye.serve.api import ServeSettings, build_app

    cores = available_cores()
    model = Model(open_model(path))
    all_cores_model = Model(open_model(path, threads=cores)) if cores > 1 else None
    with open_listener(options, limits) as listener:
        settings = ServeSettings(name, listener.rules, limits, workers)
        app = build_app(model, settings, all_cores_model)
        server = make_server(
            app, limits, lambda: ready(name, listener.address, listener.generated_token)
        )
        with graceful_signals(server):
            server.run(sockets=[listener.bound_socket])
    _LOG.info("stopped")


def limit_decoding() -> None:
    """Put the server's limits on images in force.

    An image of the largest size leaves memory for an ordinary one on each core.
    """
    set_default_limits(_DECODE_LIMITS)
    limits = limits_in_force()
    budget = limits.memory_bytes + BYTES_PER_CORE * available_cores()
    set_limits(replace(limits, budget_bytes=budget))


@dataclass(frozen=True)
class Listener:
    """A listening socket; `address` is the server's URL, without a slash at its end."""

    bound_socket: socket.socket
    rules: "AccessRules"
    address: str
    generated_token: str | None


@contextlib.contextmanager
def open_listener(
    options: ServerOptions, limits: RequestLimits, cookie: str | None = None
) -> Iterator[Listener]:
    """Listen without answering yet; beyond loopback, generate a token if none is given.

    Args:
        cookie: name of a browser's cookie for the token; `{port}` in it becomes the port, since
            browsers share cookies between ports.

    Raises:
        UsageError: the token or the host is wrong.
        BusyError: another program listens there.
        EnvironmentFault: the operating system refuses.
    """
    from sharpeye.serve.access import LOOPBACK_NAMES, AccessRules

    _check_token(options.token)
    with _listen(options) as listening:
        address, port = listening.getsockname()[:2]
        token, generated = options.token, None
        if token is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            token = generated = secrets.token_urlsafe(24)
        hosts = (*LOOPBACK_NAMES, _bracketed(address), _bracketed(options.host.lower()))
        cookie = cookie.format(port=port) if cookie else None
        rules = AccessRules(token, tuple(dict.fromkeys(hosts)), options.origins, limits, cookie)
        yield Listener(listening, rules, f"http://{_bracketed(options.host)}:{port}", generated)


def _check_token(token: str | None) -> None:
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError("a token has 8 to 500 visible ASCII characters, and no spaces")


def default_model_name(path: Path) -> str:
    """A model's name by its path: `rose` for `runs/rose` and for `runs/rose/model.onnx`."""
    path = path.resolve()
    name = path.name if path.is_dir() else path.stem
    name = path.parent.name if name == "model" and not path.is_dir() else name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")[:100] or "model"


def check_model_name(name: str) -> str:
    """The name; UsageError if a URL cannot contain it unescaped."""
    if not _MODEL_NAME.fullmatch(name):
        raise UsageError(
            f"a model's name has letters, digits, `_`, `.` and `-` only. Received: {name}"
        )
    return name


def require_web_packages(purpose: str, extra: str) -> None:
    """Check that a server's packages are installed; MissingExtra if one is not."""
    try:
        import fastapi as fastapi
        import prometheus_client as prometheus_client
        import python_multipart as python_multipart
        import uvicorn as uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), extra, purpose) from None
    # It logs warnings about bad forms, to which clients get an error response anyway.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(options: ServerOptions) -> socket.socket:
    where = f"{options.host}:{options.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
        # Connections inherit it. asyncio sets it for sockets of the protocol TCP alone, and these
        # have the protocol 0: a body would wait for the receipt of its header, up to 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except UnicodeError:
        raise UsageError(f"a host is a name or an address. Received: {options.host[:80]}") from None
    except PermissionError:
        raise EnvironmentFault(
            f"listening at {where} is not permitted; ports below 1024 mostly are not: "
            "give another --port"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"another program listens at {where}; stop it, or give another --port"
            ) from None
        raise UsageError(f"this machine cannot listen at {where}: {error.strerror}") from None


def make_server(app: Any, limits: RequestLimits, ready: Callable[[], None]) -> "uvicorn.Server":
    """A uvicorn server for an ASGI application; `ready` is called when it accepts requests.

    Of `limits`, it keeps `seconds`, and those of connections; see also `body_limits`.
    """
    import uvicorn

    from sharpeye.serve.connections import MAX_HEADER_BYTES, BoundedProtocol, OpenConnections

    limit_server_logs()
    limits = replace(limits, connections=_raise_file_limit(limits.connections))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield  # see `graceful_signals`

    config = uvicorn.Config(
        app,
        http=type("Protocol", (BoundedProtocol,), {"others": OpenConnections(limits)}),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,  # a client could put any address into them
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    return Server(config)


def _raise_file_limit(connections: int) -> int:
    """Let this process open as many files as it needs; returns the connections that it may have.

    Accepting one connection too many fails for all others, as each is an open file.
    """
    try:
        import resource
    except ModuleNotFoundError:  # on Windows, which has no such limit
        return connections
    needed = 2 * connections + _OTHER_FILES  # a burst is accepted before any of it is closed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):  # not permitted in some sandboxes
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, soft - _OTHER_FILES))


@contextlib.contextmanager
def graceful_signals(server: "uvicorn.Server") -> Iterator[None]:
    """Let a signal shut the server down, with exit code 0; a second SIGINT ends it at once.

    uvicorn's own handlers do not know SIGHUP, which arrives when the terminal closes, and replace
    those of signals that are ignored. These stay ignored here: `nohup` starts a command without
    SIGHUP, a shell starts its background jobs without SIGINT.
    """

    def stop(number: int, _: object) -> None:
        server.force_exit = server.should_exit and number == signal.SIGINT
        server.should_exit = True

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        for number in set(numbers) - {*ignored}:
            previous[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
