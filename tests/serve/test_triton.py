"""Triton's extensions of the Open Inference Protocol, and errors of routes that do not exist."""

import re
from typing import Any

import httpx
import pytest

from http_client import StubModel, base64_of, client_of

BODY = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["YQ==", "YQ=="]}]}


def test_the_repository_has_the_model(client: httpx.Client) -> None:
    expected = [{"name": "trees", "version": "1", "state": "READY", "reason": ""}]
    assert client.post("/v2/repository/index").json() == expected
    assert client.post("/v2/repository/index", json={"ready": True}).json() == expected
    assert client.get("/v2/repository/index").json() == expected
    assert client.get("/v2/models").json() == {"models": ["trees"]}


@pytest.mark.parametrize("url", ["/v2/models/trees", "/v2/models/trees/versions/1"])
def test_the_configuration_has_the_tensors_of_the_metadata(client: httpx.Client, url: str) -> None:
    config, metadata = client.get(f"{url}/config").json(), client.get(url).json()
    assert config["name"] == metadata["name"]
    assert config["max_batch_size"] == 0
    for tensors, described in (
        (config["input"], metadata["inputs"]),
        (config["output"], metadata["outputs"]),
    ):
        assert [tensor["name"] for tensor in tensors] == [tensor["name"] for tensor in described]
        assert [tensor["dims"] for tensor in tensors] == [tensor["shape"] for tensor in described]
    assert config["output"][1]["data_type"] == "TYPE_STRING"


def test_statistics_count_requests_and_images() -> None:
    def statistics(client: httpx.Client, url: str = "/v2/models/trees/stats") -> dict[str, Any]:
        (model,) = client.get(url).json()["model_stats"]
        assert isinstance(model, dict)
        return model

    with client_of(StubModel()) as client:
        assert statistics(client)["last_inference"] == 0
        for _ in range(3):
            assert client.post("/v2/models/trees/infer", json=BODY).status_code == 200
        assert client.post("/v2/models/trees/infer", json={}).status_code == 400
        model = statistics(client)
        assert (model["name"], model["version"]) == ("trees", "1")
        assert model["inference_count"] == 6
        assert model["last_inference"] > 0
        counts = model["inference_stats"]
        assert (counts["success"]["count"], counts["fail"]["count"]) == (3, 1)
        assert counts["success"]["ns"] > 0
        for url in ("/v2/models/stats", "/v2/models/trees/versions/1/stats"):
            assert statistics(client, url) == model


@pytest.mark.parametrize(
    ("method", "url", "words"),
    [
        ("GET", "/v2/models/other/config", "this server has trees"),
        ("GET", "/v2/models/other/stats", "this server has trees"),
        ("GET", "/v2/models/trees/versions/2/config", "there is 1"),
        ("GET", "/v2/models/trees/versions/2/stats", "there is 1"),
        ("POST", "/v2/repository/models/trees/load", "see /openapi.json"),
        ("GET", "/v2/nothing", "see /openapi.json"),
    ],
)
def test_what_does_not_exist_is_404_in_json(
    client: httpx.Client, method: str, url: str, words: str
) -> None:
    response = client.request(method, url)
    assert response.status_code == 404
    assert words in response.json()["error"]


@pytest.mark.slow
def test_the_description_has_every_status_that_comes(client: httpx.Client, image: bytes) -> None:
    """Requests of every route, right and wrong: status and media type are in `/openapi.json`."""
    paths = client.get("/openapi.json").json()["paths"]
    requests: list[tuple[str, str, dict[str, Any]]] = []
    for path, operations in paths.items():
        for method in operations:
            for name in ("trees", "other"):
                url = path.replace("{name}", name)
                requests += [(path, url, {"method": method})]
                if method == "post":
                    requests += [
                        (path, url, {"method": method, "json": {"inputs": 3}}),
                        (path, url, {"method": method, "json": {"image": base64_of(b"x")}}),
                        (path, url, {"method": method, "content": image}),
                        (path, url, {"method": method, "headers": {"Content-Encoding": "br"}}),
                        (path, url, {"method": method, "headers": {"Origin": "http://a.test"}}),
                        (path, url, {"method": method, "headers": {"Host": "a.test"}}),
                    ]
    for path, url, request in requests:
        response = client.request(url=url, **request)
        described = paths[path][request["method"]]["responses"]
        status = str(response.status_code)
        assert status in described, (request, response.text)
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in described[status]["content"], (request, kind)
    assert len(requests) > 50
    assert re.match(r"text/plain; version=", client.get("/metrics").headers["content-type"])
