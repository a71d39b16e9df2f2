"""Run the studio's server until a signal ends it."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from sharpeye.errors import MissingExtra
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import (
    ServerOptions,
    graceful_signals,
    make_server,
    open_listener,
    require_web_packages,
)
from sharpeye.studio.workspace import Workspace

_LOG = logging.getLogger(__name__)

# Seconds for active requests to finish at the end; data on disk needs no more time.
STUDIO_LIMITS = replace(REQUEST_LIMITS, body_bytes=256 * 2**20, seconds=4.0)


def run_studio(
    folder: Path,
    options: ServerOptions,
    ready: Callable[[str], None],
    *,
    start_at: str = "/",
    suggest: Path | None = None,
) -> None:
    """Serve the studio until a signal arrives; for further errors see `open_listener`.

    Args:
        folder: the folder of images; it is created.
        ready: called with the URL to open, which includes the token if there is one.
        start_at: the page of that URL.
        suggest: a model that proposes boxes on the page Label.

    Raises:
        MissingExtra: a package of the extra `studio` is not installed.
        UsageError: the folder cannot hold images.
    """
    purpose, extra = "`sharpeye studio`", "studio"
    require_web_packages(purpose, extra)
    try:
        import jinja2 as jinja2
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), extra, purpose) from None

    from sharpeye.studio.application import build_app, restrict
    from sharpeye.studio.state import StudioState

    workspace = Workspace(folder)
    with (
        open_listener(options, STUDIO_LIMITS, "sharpeye_studio_{port}") as listener,
        contextlib.closing(StudioState(workspace, suggest)) as studio,
    ):
        app = restrict(build_app(studio), listener.rules)
        token = listener.rules.token
        url = listener.address + start_at + (f"?token={quote(token, safe='')}" if token else "")
        server = make_server(app, STUDIO_LIMITS, lambda: ready(url))
        with graceful_signals(server):
            server.run(sockets=[listener.bound_socket])
    _LOG.info("stopped")
