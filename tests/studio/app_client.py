"""A client of the studio's application in this process: no server, no browser."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from sharpeye.studio.application import build_app
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace


class AppClient:
    """Sends requests to a studio's application; from any thread.

    Attributes:
        studio: what its pages share.
    """

    def __init__(self, studio: StudioState) -> None:
        self.studio = studio
        self._app = build_app(studio)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, url, **options)

        with ThreadPoolExecutor(1) as thread:  # Playwright keeps a loop running in this one.
            return thread.submit(lambda: asyncio.run(send())).result()

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)


@contextlib.contextmanager
def studio_client(
    folder: Path, runs: Path | None = None, suggest: Path | None = None
) -> Iterator[AppClient]:
    """A client of a studio of a folder of images and a folder of runs."""
    studio = StudioState(Workspace(folder, runs), suggest)
    try:
        yield AppClient(studio)
    finally:
        studio.close()
