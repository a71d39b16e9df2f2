"""Who is let in: Host, Origin, token, encodings; and what every answer carries."""

from collections.abc import Iterator

import httpx
import pytest
from http_client import StubModel, client_of, text64

from sharpeye.serve.access import AccessRules
from sharpeye.serve.app import Settings
from sharpeye.serve.limits import RequestLimits

URL = "/v1/predict"
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    with client_of(StubModel(), Settings("trees")) as client:
        yield client


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """A server that wants a token and lets one other page ask."""
    rules = AccessRules(token=TOKEN, origins=("https://shop.example",))
    with client_of(StubModel(), Settings("trees", rules)) as client:
        yield client


@pytest.mark.parametrize("token", [TOKEN, 'a&b;c"d=#1+%41\\'])
def test_a_token_in_an_address_becomes_a_cookie_where_that_is_wanted(token: str) -> None:
    rules = AccessRules(token=token, cookie="eye")
    with client_of(StubModel(), Settings("trees", rules)) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/", params={"token": token + "x"}).status_code == 401
        entered = client.get("/v1/models", params={"a": "b c", "token": token})
        assert entered.status_code == 303 and entered.headers["location"] == "/v1/models?a=b+c"
        assert token not in entered.headers["location"]
        assert client.get("/v1/models").status_code != 401
        foreign = client.get("/v1/models", headers={"Origin": "http://evil.test"})
        assert foreign.status_code == 403
    with client_of(StubModel(), Settings("trees", AccessRules(token=token))) as client:
        assert client.get("/v1/models", params={"token": token}).status_code == 401


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]", "[::1]:9", "LocalHost:1"])
def test_names_of_this_machine_are_let_in(plain: httpx.Client, host: str) -> None:
    assert plain.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8000",
        "127.0.0.1.evil.test",
        "localhost.",
        "localhost.evil.test",
        "evil.test@127.0.0.1",
        "127.1",
        "0.0.0.0",
        "2130706433",
        "::1",
        "[::1",
        "",
        ":8000",
        "x" * 5000,
    ],
)
def test_other_names_are_refused_whatever_they_ask(plain: httpx.Client, host: str) -> None:
    for method, url in (("GET", "/healthz"), ("GET", "/"), ("POST", URL), ("GET", "/nowhere")):
        response = plain.request(method, url, headers={"Host": host})
        assert response.status_code == 421, host
        assert "answers to localhost" in response.json()["error"]
        assert len(response.content) < 500


def test_with_a_token_any_name_will_do(guarded: httpx.Client) -> None:
    headers = {"Host": "models.example", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=headers).status_code == 200


# --- Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.test", "https://127.0.0.1:1", "http://[", "x"]
)
def test_other_pages_may_not_ask(plain: httpx.Client, origin: str) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        response = plain.post(URL, content=b"x", headers={"Origin": origin, "Content-Type": kind})
        assert response.status_code == 403
        assert "may not ask" in response.json()["error"]
        assert "access-control-allow-origin" not in response.headers


def test_its_own_page_may(plain: httpx.Client) -> None:
    home = str(plain.base_url).rstrip("/")
    assert plain.post(URL, content=b"x", headers={"Origin": home}).status_code == 200


def test_an_allowed_page_may_and_is_told_so(guarded: httpx.Client) -> None:
    headers = {"Origin": "https://shop.example", "Authorization": f"Bearer {TOKEN}"}
    response = guarded.post(URL, content=b"x", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert guarded.options(URL, headers=asked).status_code == 200
    other = guarded.options(URL, headers=asked | {"Origin": "https://evil.test"})
    assert "access-control-allow-origin" not in other.headers


# --- token ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer \xe9\xff",
    ],
)
def test_without_the_token_nothing_is_said(guarded: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, url in (
        ("POST", URL),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/models/trees"),
        ("POST", "/v1/models/trees:predict"),
        ("POST", "/v2/models/trees/infer"),
        ("GET", "/nowhere"),
        ("GET", "/healthz/"),
        ("GET", "//healthz"),
    ):
        response = guarded.request(method, url, headers=headers)
        assert response.status_code == 401, url
        assert response.headers["www-authenticate"] == "Bearer"
        assert list(response.json()) == ["error"]
    assert guarded.get(f"/?token={TOKEN}", headers=headers).status_code == 401


def test_with_the_token_and_for_probes_all_is_well(guarded: httpx.Client) -> None:
    for kind in ("Bearer", "bearer"):
        headers = {"Authorization": f"{kind} {TOKEN}"}
        assert guarded.post(URL, content=b"x", headers=headers).status_code == 200
        assert guarded.get("/metrics", headers=headers).status_code == 200
    for url in ("/healthz", "/v2/health/live", "/v2/health/ready"):
        assert guarded.get(url).status_code == 200


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x"])
def test_compressed_bodies_are_refused(plain: httpx.Client, coding: str) -> None:
    response = plain.post(URL, content=b"x", headers={"Content-Encoding": coding})
    assert response.status_code == 415
    assert coding in response.json()["error"]


# --- every answer --------------------------------------------------------------------------------


def test_every_answer_has_the_security_headers(plain: httpx.Client) -> None:
    for response in (
        plain.get("/"),
        plain.get("/nowhere"),
        plain.put(URL),
        plain.post(URL),
        plain.get("/healthz", headers={"Host": "evil.test"}),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_refused_in_json(plain: httpx.Client, method: str) -> None:
    for url in (URL, "/", "/v1/models/trees", "/v2/models/trees/infer"):
        response = plain.request(method, url)
        assert response.status_code == 405
        assert "Method Not Allowed" in response.json()["error"]


def test_the_front_page_stands_alone_and_escapes(plain: httpx.Client) -> None:
    model = StubModel()
    model.labels = ("<script>alert(1)</script>", "b&b")
    with client_of(model) as client:
        page = client.get("/", headers={"Host": "localhost:1"}).text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "b&amp;b" in page
    assert "curl -F file=@picture.jpg http://localhost:1/v1/predict" in page
    assert "https://" not in page
    assert plain.get("/docs").status_code == 404


def test_openapi_describes_every_route(plain: httpx.Client, guarded: httpx.Client) -> None:
    said = plain.get("/openapi.json").json()
    assert {
        "/v1/predict",
        "/v1/models/{name}:predict",
        "/v1/models/{name}",
        "/v1/models/{name}/metadata",
        "/v2/models/{name}/infer",
        "/v2/health/live",
        "/healthz",
        "/metrics",
    } <= set(said["paths"])
    body = said["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/*"} <= set(body)
    assert "security" not in said
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/openapi.json", headers=headers).json()["security"] == [{"bearer": []}]


def test_metrics_count_routes_and_images_and_never_paths() -> None:
    with client_of(StubModel(), Settings("trees", limits=RequestLimits(images=2))) as client:
        for i in range(5):
            client.get(f"/nowhere/{i}")
            client.get(f"/v1/models/{i}")
        client.post(URL, json={"images": [text64(b"good"), text64(b"bad")]})
        client.post(URL, json={"images": ["", "", ""]})
        text = client.get("/metrics").text
    assert 'sharpeye_requests_total{route="other",status="404"} 5.0' in text
    assert 'sharpeye_requests_total{route="/v1/models/{name}",status="404"} 5.0' in text
    assert 'sharpeye_requests_total{route="/v1/predict",status="200"} 1.0' in text
    assert 'sharpeye_requests_total{route="/v1/predict",status="413"} 1.0' in text
    assert 'sharpeye_pictures_total{outcome="answered"} 1.0' in text
    assert 'sharpeye_pictures_total{outcome="unreadable"} 1.0' in text
    assert "sharpeye_requests_inside 0.0" in text
    assert "process_resident_memory_bytes" in text
