"""A studio without a browser: the routes of its pages, on a server in this process."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
from fastapi import FastAPI

from sharpeye.serve.error_responses import add_error_handlers
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import make_server
from sharpeye.studio.jobs import Jobs
from sharpeye.studio.models import Models
from sharpeye.studio.pages import train, try_it, understand
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace


@contextlib.contextmanager
def asking(folder: Path, runs: Path) -> Iterator[tuple[httpx.Client, StudioState]]:
    """A client of Train, Understand and Try on a folder of images and a folder of runs."""
    api = FastAPI()
    studio = StudioState(Workspace(folder, runs), api, Jobs(), Models())
    add_error_handlers(api)
    for page in (train, understand, try_it):
        page.register(studio)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(api, REQUEST_LIMITS, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            home = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=home, timeout=60) as client:
                yield client, studio
        finally:
            server.should_exit = True
            thread.join(30)
            studio.close()
