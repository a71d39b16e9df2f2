"""`sharpeye serve` and the studio under valid clients, hostile ones, and foreign web pages."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from markupsafe import escape

from battery.http_attacks import RAW_REQUESTS, RawResponse, exchange
from battery.processes import check_unchanged
from battery.server_load import MODEL, Attackers, Protocols, run_clients
from battery.tally import HangError, Tally, Tier, TracebackError
from http_client import RunningServer, StubModel, client_of, serving, settings
from runner import hard_photos, tree
from sharpeye.core.inference import available_cores
from sharpeye.serve.access import AccessRules
from sharpeye.serve.api import ServeSettings
from studios import Studio, studio_in_thread

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
REFUSED_FOR_LOAD = {503, 504}
# As docs/serving.md: one image of the largest size, and 64 MB a core; and 250 MB of allocations.
MAX_GROWTH = 250e6 + 64e6 * available_cores() + 250e6
TOKEN = "correct-horse-battery"
MAX_END_SECONDS = 5.0


def check_response(response: RawResponse) -> None:
    """Fail unless a response has the security headers and, for a refusal, one line of JSON."""
    for name, value in SECURITY_HEADERS.items():
        assert response.headers.get(name) == value, (name, response)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.status < 500 or response.status in REFUSED_FOR_LOAD, response
    if response.status >= 400:
        assert "\n" not in json.loads(response.body)["error"]


# --- requests -------------------------------------------------------------------------------------


def test_hostile_requests(tally: Tally, tier: Tier, caplog: pytest.LogCaptureFixture) -> None:
    """Requests that are hostile or hardly HTTP: lengths, chunks, headers, paths, forms, JSON."""
    names = [*RAW_REQUESTS]
    slowest = 0.0
    with client_of(StubModel(), settings()) as client:
        port = client.base_url.port or 0
        for number in range(
            tier.count(len(names) // 3, battery=4 * len(names), full=40 * len(names))
        ):
            name = names[number % len(names)]
            request = RAW_REQUESTS[name]
            with tally.case(f"{number}: {name}"):
                started = time.perf_counter()
                try:
                    responses = exchange(port, request.data, request.count)
                except TimeoutError:
                    raise HangError("no response in 20 s") from None
                slowest = max(slowest, time.perf_counter() - started)
                for response in responses:
                    check_response(response)
                if responses or not request.may_close:
                    assert responses, "closed without a response"
                    assert responses[-1].status in request.statuses, responses[-1]
                assert client.post("/v1/predict", content=b"x").status_code == 200
        with tally.case("the log has no traceback"):
            if "Traceback" in caplog.text:
                raise TracebackError(caplog.text[-2000:])
    tally.figures["slowest"] = f"{1000 * slowest:.0f} ms"


# --- access ---------------------------------------------------------------------------------------

HOSTS = {
    "localhost": True,
    "LOCALHOST": True,
    "localhost:{port}": True,
    "127.0.0.1": True,
    "127.0.0.1:{port}": True,
    "[::1]": True,
    "[::1]:{port}": True,
    "127.1": False,
    "0.0.0.0": False,
    "2130706433": False,
    "localhost.": False,
    "evil.test": False,
    "evil.test:{port}": False,
    "localhost.evil.test": False,
    "xn--lcalhost-54a": False,
    "unix:/run/socket": False,
    "": False,
}
# What a browser sends from elsewhere, and whether the request may pass by method.
SAME = "http://127.0.0.1:{port}"
ORIGINS: dict[str, tuple[dict[str, str], bool]] = {
    "no browser": ({}, True),
    "its own page": ({"Origin": SAME, "Sec-Fetch-Site": "same-origin"}, True),
    "its own page, by GET": ({"Sec-Fetch-Site": "same-origin"}, True),
    "typed by the user": ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True),
    "null": ({"Origin": "null"}, False),
    "another site": ({"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"}, False),
    "another site that says same-origin": (
        {"Origin": "http://evil.test", "Sec-Fetch-Site": "same-origin"},
        False,
    ),
    "another port": ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, False),
    "another scheme": ({"Origin": "https://127.0.0.1:1"}, False),
    "a broken origin": ({"Origin": "http://["}, False),
    "an origin with a user": ({"Origin": SAME + "@evil.test"}, False),
    "a prefix of its own": ({"Origin": SAME + ".evil.test"}, False),
    "no-cors without an origin": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        False,
    ),
    "a frame": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        False,
    ),
    "a form without an origin": (
        {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Content-Type": "text/plain",
        },
        False,
    ),
    "a sibling": ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, False),
}
TOKENS = {
    "missing": None,
    "empty": "",
    "wrong": "Bearer wrong-wrong",
    "cut": f"Bearer {TOKEN[:-1]}",
    "longer": f"Bearer {TOKEN}x",
    "another scheme": f"Basic {TOKEN}",
    "bare": TOKEN,
    "not ASCII": "Bearer \xe9\xff",
}
WRITING = {
    "/api/upload?label=ash": "POST",
    "/api/collect/class": "POST",
    "/api/collect/move": "POST",
    "/api/collect/aside": "POST",
    "/api/collect/undo": "POST",
    "/api/collect/urls": "POST",
    "/api/label/boxes?path=ash/ash0.png": "PUT",
    "/api/label/classes": "POST",
    "/api/label/sort": "POST",
    "/api/relabel": "POST",
    "/api/train": "POST",
    "/api/train/stop": "POST",
    "/api/try?run=x": "POST",
    "/api/doubts": "POST",
}
BODY = {"name": "evil", "paths": ["ash/ash0.png"], "label": "birch", "moves": [], "folder": "x"}


def filled(headers: dict[str, str], port: int | None) -> dict[str, str]:
    return {name: value.format(port=port) for name, value in headers.items()}


def test_access_to_the_server(tally: Tally, tier: Tier) -> None:
    """Host, Origin and Sec-Fetch headers, and tokens, at the server: who may predict."""
    if tier.name == "small":  # tests/serve/test_access.py has the most of it
        return
    rules = AccessRules(token=TOKEN)
    with (
        client_of(StubModel(), ServeSettings(MODEL)) as plain,
        client_of(StubModel(), ServeSettings(MODEL, rules)) as guarded,
    ):
        port = plain.base_url.port
        for host, is_allowed in HOSTS.items():
            for method, path in (("GET", "/"), ("POST", "/v1/predict"), ("DELETE", "/v1/predict")):
                with tally.case(f"host {host!r}, {method} {path}"):
                    headers = {"Host": host.format(port=port)}
                    response = plain.request(method, path, headers=headers, content=b"x")
                    assert (response.status_code == 421) is not is_allowed, response.text
                    check_response(raw(response))
        for name, (headers, is_allowed) in ORIGINS.items():
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                with tally.case(f"origin {name}, {method}"):
                    response = plain.request(
                        method, "/v1/predict", headers=filled(headers, port), content=b"x"
                    )
                    allowed = 200 if method == "POST" else 405
                    assert response.status_code == (allowed if is_allowed else 403), response.text
                    check_response(raw(response))
        for name, value in TOKENS.items():
            for path in ("/v1/predict", f"/v1/models/{MODEL}:predict", f"/?token={TOKEN}"):
                with tally.case(f"token {name}, {path}"):
                    headers_ = {} if value is None else {"Authorization": value.encode("latin-1")}
                    response = guarded.post(path, headers=headers_, content=b"x")
                    assert response.status_code == 401
                    check_response(raw(response))
        with tally.case("a link of another page leads to the page of the server"):
            link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
            assert plain.get("/", headers=link).status_code == 200


def test_writing_routes_of_the_studio(
    tally: Tally, tier: Tier, cache: Path, tmp_path: Path
) -> None:
    """Every route of the studio that writes, by pages of other sites and by foreign names."""
    if tier.name == "small":  # tests/studio/test_studio_access.py has the most of it
        return
    folder = hard_photos(tmp_path / "photos", per_class=2)
    with studio(folder, tmp_path) as running, running.client() as client:
        before, port = tree(folder), client.base_url.port
        foreign = {
            **{name: filled(h, port) for name, (h, allowed) in ORIGINS.items() if not allowed},
            **{f"host {h}": {"Host": h.format(port=port)} for h, ok in HOSTS.items() if not ok},
        }
        for path, method in WRITING.items():
            for name, headers in foreign.items():
                with tally.case(f"{method} {path}: {name}"):
                    response = client.request(method, path, json=BODY, headers=headers)
                    status = 421 if "Host" in headers else 403
                    assert response.status_code == status, response.text
                    check_response(raw(response))
        with tally.case("the images are as they were"):
            check_unchanged(folder, before)


@contextlib.contextmanager
def studio(folder: Path, tmp_path: Path) -> Iterator[Studio]:
    home = tmp_path / "home"
    home.mkdir()
    with studio_in_thread(folder, home=home) as running:
        yield running


def raw(response: httpx.Response) -> RawResponse:
    return RawResponse(response.status_code, dict(response.headers), response.content)


PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<&script>',
    "'-alert(1)-'",
    "<svg onload=alert(1)>",
    "{{7777*7777}}",
    "{% raw %}<b>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "<!--<script>",
    "`${alert(1)}`",
)


def test_scripts_in_names(tally: Tally, cache: Path, tmp_path: Path) -> None:
    """Names of files and classes that hold scripts, on the pages of the studio."""
    source = hard_photos(tmp_path / "source", per_class=2)
    folder = tmp_path / "photos"
    for payload in PAYLOADS:
        (folder / payload).mkdir(parents=True)
        (folder / payload / f"{payload}.png").write_bytes((source / "ash/ash0.png").read_bytes())
    with studio(folder, tmp_path) as running, running.client() as client:
        pages = {
            path: client.get(path, headers={"Accept": "text/html"})
            for path in ("/", "/collect", "/label", "/label?mode=sort", "/train", "/understand")
        }
        lists = {
            path: client.get(path)
            for path in ("/api/collect/classes", "/api/collect/pictures", "/api/label/list")
        }
        for payload in PAYLOADS:
            with tally.case(f"pages: {payload}"):
                for path, page in pages.items():
                    assert page.status_code == 200, path
                    assert "<" not in payload or payload not in page.text, path
                    assert "60481729" not in page.text, path
                assert str(escape(payload)) in pages["/"].text  # the one that shows names
            with tally.case(f"data: {payload}"):
                for path, response in lists.items():
                    assert response.headers["content-type"] == "application/json", path
                    check_response(raw(response))
        with tally.case("the names arrive as they are"):
            names = [entry["name"] for entry in lists["/api/collect/classes"].json()["classes"]]
            assert sorted(names) == sorted(PAYLOADS)


# --- load -----------------------------------------------------------------------------------------


@pytest.fixture
def server(trained: Path, cache: Path, tmp_path: Path) -> Iterator[RunningServer]:
    (tmp_path / "temporary").mkdir()
    options = {"TMPDIR": str(tmp_path / "temporary")}
    with serving(trained, "--name", MODEL, cache=cache, **options) as running:
        yield running


def test_valid_clients_beside_attackers(
    tally: Tally,
    tier: Tier,
    seed: int,
    server: RunningServer,
    trained: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    """Valid clients of three protocols beside attackers, then SIGTERM under this load."""
    image = (trained.parent / "hard" / "ash" / "ash1.png").read_bytes()
    protocols = Protocols(image)
    clients = tier.count(small=4, battery=16, full=100)
    requests = tier.count(small=90, battery=12_000, full=12_000)
    run_clients(server.port, protocols, clients=clients, requests=2 * clients)  # warms up
    idle = run_clients(server.port, protocols, clients=clients, requests=requests // 3)
    start, files = server.memory(), server.open_files()
    temporary = {*(tmp_path / "temporary").iterdir()}  # ONNX Runtime keeps a file there
    slow = tier.count(small=16, battery=64, full=500)
    attackers = Attackers(server.port, image, slow, seed)
    with server.peak_memory() as peak, attackers.running():
        load = run_clients(server.port, protocols, clients=clients, requests=requests)
    for number in range(requests):
        with tally.case(f"request {number}"):
            if number < len(load.failures):
                raise AssertionError(load.failures[number])
    with tally.case("statuses of attackers"):
        wrong = {status for status in attackers.statuses if status >= 500} - REFUSED_FOR_LOAD
        assert not wrong and attackers.statuses, attackers.statuses
    with tally.case("memory"):
        assert peak[0] - start <= MAX_GROWTH
    with tally.case("files are closed, and none is left"):
        end = time.monotonic() + 10
        while server.open_files() > files + 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert server.open_files() <= files + 2
        assert {*(tmp_path / "temporary").iterdir()} == temporary
    if tier.name != "small":  # in the small tier other tests run on the same cores
        with tally.case("p99 is at most three times that of an idle server"):
            assert load.p99() <= 3 * idle.p99(), (load.p99(), idle.p99())
    with tally.case("SIGTERM under load"):
        tally.figures["end"] = f"{end_under_load(server, protocols, image, slow=slow):.1f} s"
    times = f"{1000 * load.median():.0f} / {1000 * load.p99():.0f} ms"
    tally.figures |= {
        "median / p99": f"{times}, idle {1000 * idle.median():.0f} / {1000 * idle.p99():.0f} ms",
        "memory": f"{start / 1e6:.0f} MB, peak {peak[0] / 1e6:.0f} MB",
        "attacks": f"{attackers.statuses.total()} answered",
    }


def end_under_load(
    server: RunningServer, protocols: Protocols, image: bytes, *, slow: int
) -> float:
    """Seconds from SIGTERM to the end of a server that valid clients and attackers use."""
    attackers = Attackers(server.port, image, slow, 0)
    clients = threading.Thread(
        target=run_clients, args=(server.port, protocols), kwargs={"clients": 4, "requests": 400}
    )
    with attackers.running():
        clients.start()
        time.sleep(0.7)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        _, err = server.process.communicate(timeout=60)
        seconds = time.monotonic() - started
    clients.join()
    assert server.process.returncode == 0
    if "Traceback" in err:
        raise TracebackError(err[-2000:])
    assert err.splitlines()[-1] == "stopped", err
    if seconds > MAX_END_SECONDS:
        raise HangError(f"the server took {seconds:.1f} s to end")
    return seconds
