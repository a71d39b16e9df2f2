"""Which requests are allowed (Host, Origin, token, encoding), and what every response carries."""

import json
from collections.abc import Iterator

import httpx
import pytest

from battery.http_attacks import exchange
from http_client import StubModel, base64_of, client_of
from sharpeye.serve.access import AccessRules
from sharpeye.serve.api import ServeSettings
from sharpeye.serve.limits import RequestLimits

URL = "/v1/predict"
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    with client_of(StubModel(), ServeSettings("trees")) as client:
        yield client


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    """A server that requires a token and allows one other origin."""
    rules = AccessRules(token=TOKEN, origins=("https://shop.example",))
    with client_of(StubModel(), ServeSettings("trees", rules)) as client:
        yield client


@pytest.mark.parametrize("token", [TOKEN, 'a&b;c"d=#1+%41\\'])
def test_a_token_in_a_url_becomes_a_cookie_if_cookies_are_enabled(token: str) -> None:
    rules = AccessRules(token=token, cookie="eye")
    with client_of(StubModel(), ServeSettings("trees", rules)) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/", params={"token": token + "x"}).status_code == 401
        redirect = client.get("/v1/models", params={"a": "b c", "token": token})
        assert redirect.status_code == 303 and redirect.headers["location"] == "/v1/models?a=b+c"
        assert token not in redirect.headers["location"]
        assert client.get("/v1/models").status_code != 401
        foreign = client.get("/v1/models", headers={"Origin": "http://evil.test"})
        assert foreign.status_code == 403
    with client_of(StubModel(), ServeSettings("trees", AccessRules(token=token))) as client:
        assert client.get("/v1/models", params={"token": token}).status_code == 401


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]", "[::1]:9", "LocalHost:1"])
def test_names_of_this_machine_are_allowed(plain: httpx.Client, host: str) -> None:
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
def test_other_names_are_refused_for_every_route(plain: httpx.Client, host: str) -> None:
    for method, url in (("GET", "/healthz"), ("GET", "/"), ("POST", URL), ("GET", "/nowhere")):
        response = plain.request(method, url, headers={"Host": host})
        assert response.status_code == 421, host
        assert "answers to localhost" in response.json()["error"]
        assert len(response.content) < 500


def test_with_a_token_any_name_is_allowed(guarded: httpx.Client) -> None:
    headers = {"Host": "models.example", "Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=headers).status_code == 200


# --- Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.test", "https://127.0.0.1:1", "http://[", "x"]
)
def test_pages_of_other_origins_are_refused(plain: httpx.Client, origin: str) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
        response = plain.post(URL, content=b"x", headers={"Origin": origin, "Content-Type": kind})
        assert response.status_code == 403
        assert "may not send requests" in response.json()["error"]
        assert "access-control-allow-origin" not in response.headers


def test_its_own_page_is_allowed(plain: httpx.Client) -> None:
    home = str(plain.base_url).rstrip("/")
    assert plain.post(URL, content=b"x", headers={"Origin": home}).status_code == 200


def test_an_allowed_origin_gets_cors_headers(guarded: httpx.Client) -> None:
    headers = {"Origin": "https://shop.example", "Authorization": f"Bearer {TOKEN}"}
    response = guarded.post(URL, content=b"x", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    preflight = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert guarded.options(URL, headers=preflight).status_code == 200
    other = guarded.options(URL, headers=preflight | {"Origin": "https://evil.test"})
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
def test_without_the_token_every_route_is_401(guarded: httpx.Client, header: str | None) -> None:
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


def test_with_the_token_and_for_probes_routes_are_open(guarded: httpx.Client) -> None:
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


# --- every response ------------------------------------------------------------------------------


def test_every_response_has_the_security_headers(plain: httpx.Client) -> None:
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


def test_the_front_page_loads_nothing_and_escapes_names(plain: httpx.Client) -> None:
    model = StubModel()
    model.labels = ("<script>alert(1)</script>", "b&b")
    with client_of(model) as client:
        page = client.get("/", headers={"Host": "localhost:1"}).text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "b&amp;b" in page
    assert "curl -F file=@image.jpg http://localhost:1/v1/predict" in page
    assert "https://" not in page
    assert plain.get("/docs").status_code == 404


def test_openapi_describes_every_route(plain: httpx.Client, guarded: httpx.Client) -> None:
    description = plain.get("/openapi.json").json()
    assert {
        "/v1/predict",
        "/v1/models/{name}:predict",
        "/v1/models/{name}",
        "/v1/models/{name}/metadata",
        "/v2/models/{name}/infer",
        "/v2/health/live",
        "/healthz",
        "/metrics",
    } <= set(description["paths"])
    body = description["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/*"} <= set(body)
    assert "security" not in description
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/openapi.json", headers=headers).json()["security"] == [{"bearer": []}]


def test_metrics_count_routes_and_images_and_never_paths() -> None:
    with client_of(StubModel(), ServeSettings("trees", limits=RequestLimits(images=2))) as client:
        for i in range(5):
            client.get(f"/nowhere/{i}")
            client.get(f"/v1/models/{i}")
        client.post(URL, json={"images": [base64_of(b"good"), base64_of(b"bad")]})
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


# --- Sec-Fetch-Site ------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_what_other_sites_load_without_an_origin_is_refused(plain: httpx.Client, site: str) -> None:
    for destination in ("image", "script", "iframe", "empty"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination}
        assert plain.get("/healthz", headers=headers).status_code == 403
        response = plain.post(URL, content=b"x", headers=headers)
        assert response.status_code == 403
        assert "pages of other sites may not send requests" in response.json()["error"]
    form = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"}
    assert plain.post(URL, content=b"x", headers=form).status_code == 403
    assert plain.get("/", headers=form).status_code == 200  # a link


def test_the_own_page_and_allowed_origins_may_send(
    plain: httpx.Client, guarded: httpx.Client
) -> None:
    for site in ("same-origin", "none"):
        response = plain.post(URL, content=b"x", headers={"Sec-Fetch-Site": site})
        assert response.status_code == 200
    headers = {
        "Origin": "https://shop.example",
        "Sec-Fetch-Site": "cross-site",
        "Authorization": f"Bearer {TOKEN}",
    }
    assert guarded.post(URL, content=b"x", headers=headers).status_code == 200


# --- what is no HTTP -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused_like_anything_else(
    plain: httpx.Client, data: bytes, status: int
) -> None:
    (response,) = exchange(plain.base_url.port or 0, data)
    assert response.status == status
    assert "\n" not in json.loads(response.body)["error"]
    for name in ("x-content-type-options", "cache-control", "content-security-policy"):
        assert name in response.headers


def test_a_body_that_is_no_http_after_a_refusal_is_no_bug(
    plain: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: evil.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(5):
        (response,) = exchange(plain.base_url.port or 0, head + b"ZZ\r\n")
        assert response.status in (400, 421)
    assert plain.get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_error_names_a_path_as_it_was_sent(plain: httpx.Client) -> None:
    head = b"GET /%0d%0aSet-Cookie:a=b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    (response,) = exchange(plain.base_url.port or 0, head)
    text = "GET /%0d%0aSet-Cookie:a=b: Not Found; see /openapi.json"
    assert json.loads(response.body) == {"error": text}
