"""Fixtures of the studio's tests: see `browser.py`.

    def test_it(studio_at, page): ...

`studio_at(folder, *options) -> Studio` starts a studio; `page` is a page of a real browser that
fails the test for errors in scripts, and for requests to any other address.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import Studio, browsing, studio_of


@pytest.fixture
def studio_at(tmp_path: Path, session_cache: Path) -> Iterator[Callable[..., Studio]]:
    """Starts studios, which end with the test: `studio_at(folder, *options, command=, **env)`."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path, *options: str, command: str = "studio", **env: str) -> Studio:
            home = tmp_path / "home"
            home.mkdir(exist_ok=True)
            opened = studio_of(
                folder, *options, cache=session_cache, home=home, command=command, **env
            )
            return stack.enter_context(opened)

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A browser's own profile, without cookies of other tests; pages of it share cookies."""
    made = chromium.new_context(viewport={"width": 1100, "height": 800})
    yield made
    made.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    """A page; whatever it asks of another address than the first, and any error, is a failure."""
    opened = context.new_page()
    wrong: list[str] = []
    home: list[str] = []

    def see(request: Any) -> None:
        place = urlsplit(request.url)
        if place.scheme in ("data", "blob", "about"):
            return
        home.append(place.netloc)
        if place.netloc != home[0]:
            wrong.append(f"asked elsewhere: {request.url}")

    opened.on("request", see)
    opened.on("websocket", lambda socket: home.append(urlsplit(socket.url).netloc))
    opened.on("pageerror", lambda error: wrong.append(f"error in a script: {error}"))
    yield opened
    assert wrong == []
    assert len(set(home)) <= 1, home
