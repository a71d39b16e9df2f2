"""Runs the studio: its address, its signals, its end."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from sharpeye.core.storage import cache_root
from sharpeye.errors import MissingExtra
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import (
    ServerOptions,
    graceful_signals,
    make_server,
    open_place,
    require_web,
)
from sharpeye.studio.workspace import Workspace

_LOG = logging.getLogger(__name__)

UPLOAD_BYTES = 256 * 2**20  # of one request
# Pages hold their connections open; what is being written at the end takes no longer.
STUDIO_LIMITS = replace(REQUEST_LIMITS, body_bytes=UPLOAD_BYTES, seconds=4.0)
_COOKIE = "sharpeye_studio_{port}"


def run_studio(
    folder: Path,
    place: ServerOptions,
    ready: Callable[[str], None],
    *,
    start_at: str = "/",
    suggest: Path | None = None,
) -> None:
    """Answer a browser until a signal asks to stop.

    Args:
        folder: of images; it is created.
        place: where to listen, and for whom.
        ready: called with the address to open, with the token in it if there is one.
        start_at: the page of that address.
        suggest: a model that proposes boxes on the label page.

    Raises:
        MissingExtra: NiceGUI or another part of the extra `studio` is not installed.
        UsageError: the folder, the token or the host is wrong.
        BusyError: another program listens there.
        EnvironmentFault: the folder or the place is not permitted.
    """
    _require_nicegui()
    workspace = Workspace(folder)

    from sharpeye.studio.app import build_app

    with open_place(place, STUDIO_LIMITS, _COOKIE) as opened, contextlib.ExitStack() as stack:
        app, studio = build_app(workspace, opened.rules, suggest)
        stack.callback(studio.close)
        token = opened.rules.token
        address = opened.address + start_at + (f"?token={quote(token, safe='')}" if token else "")
        server = make_server(app, STUDIO_LIMITS, lambda: ready(address), sockets=True)
        with graceful_signals(server):
            server.run(sockets=[opened.listening])
    _LOG.info("stopped")


def _require_nicegui() -> None:
    """Make sure that NiceGUI is there, and that it keeps nothing in the current directory."""
    require_web("`sharpeye studio`", "studio")
    # It would make `.nicegui` there as soon as a page keeps something.
    os.environ["NICEGUI_STORAGE_PATH"] = str(cache_root() / "studio" / "nicegui")
    # It would look for plotting libraries, and import what it finds.
    os.environ.setdefault("MATPLOTLIB", "false")
    try:
        import nicegui as nicegui
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "studio", "`sharpeye studio`") from None
