"""Fixtures of the studio's tests: studios (see `studios.py`) and pages of a real browser.

    def test_it(studio_at, page): ...

`studio_at(folder) -> Studio` starts a studio; `page` is a page of a real browser that fails the
test for errors in scripts, for requests to any other address, and for anything that the content
security policy forbids.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from studios import Studio, StudioProcess, chromium_browser, studio_in_thread, studio_process


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The directory in which studios are started."""
    (tmp_path / "home").mkdir(exist_ok=True)
    return tmp_path / "home"


@pytest.fixture
def studio_at(
    home: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Studio]]:
    """Starts studios in threads, which end with the test: `studio_at(folder, suggest=)`."""
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    with contextlib.ExitStack() as stack:
        yield lambda folder, **options: stack.enter_context(
            studio_in_thread(folder, home=home, **options)
        )


@pytest.fixture
def studio_process_at(home: Path, session_cache: Path) -> Iterator[Callable[..., StudioProcess]]:
    """Starts processes: `studio_process_at(folder, *options, command=, **environment)`."""
    with contextlib.ExitStack() as stack:
        yield lambda folder, *options, **more: stack.enter_context(
            studio_process(folder, *options, cache=session_cache, home=home, **more)
        )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with chromium_browser() as browser:
        yield browser


_REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) => reportViolation(
    `${event.effectiveDirective} forbids ${event.blockedURI} ${event.sample} at ${location}`))"""


@pytest.fixture
def violations() -> list[str]:
    """What the content security policy has forbidden on pages of `context`."""
    return []


@pytest.fixture
def context(chromium: Any, violations: list[str]) -> Iterator[Any]:
    """A browser profile without cookies of other tests; its pages share cookies."""
    profile = chromium.new_context(viewport={"width": 1100, "height": 800})
    profile.expose_function("reportViolation", lambda text: violations.append(text))
    profile.add_init_script(_REPORT_VIOLATIONS)

    def check_message(message: Any) -> None:
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            violations.append(message.text)

    profile.on("console", check_message)
    yield profile
    profile.close()


@pytest.fixture
def page(context: Any, violations: list[str]) -> Iterator[Any]:
    """A page; a request to another address than the first, and any error, is a failure."""
    opened = context.new_page()
    errors: list[str] = []
    servers: set[str] = set()

    def check_request(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob", "about"):
            servers.add(address.netloc)

    opened.on("request", check_request)
    opened.on("websocket", lambda socket: errors.append(f"a web socket: {socket.url}"))
    opened.on("pageerror", lambda error: errors.append(f"error in a script: {error}"))
    yield opened
    assert errors == []
    assert violations == []
    assert len(servers) <= 1, servers
