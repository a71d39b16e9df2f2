"""TensorFlow Serving's REST protocol, as its clients use it."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import sharpeye
from http_client import StubModel, base64_of, client_of

URL = "/v1/models/trees:predict"


def expected(trained: Path, source: Any) -> list[float]:
    prediction = sharpeye.load(trained).predict(source, top=3)
    return [dict(prediction.top)[label] for label in ("ash", "birch", "cedar")]


def test_rows_in_every_spelling(client: httpx.Client, trained: Path, image: bytes) -> None:
    text, pixels = base64_of(image), np.asarray(Image.open(io.BytesIO(image)))
    values = [
        {"b64": text},
        {"image_bytes": {"b64": text}},
        {"image_bytes": text},
        text,
        pixels.tolist(),
        {"input_1": pixels.tolist()},
        pixels.astype(float).tolist(),
    ]
    response = client.post(URL, json={"instances": values, "signature_name": "serving_default"})
    assert response.status_code == 200, response.text
    assert response.json() == {"predictions": [expected(trained, image)] * len(values)}


def test_columns_in_every_spelling(client: httpx.Client, trained: Path, image: bytes) -> None:
    value = {"b64": base64_of(image)}
    probs = expected(trained, image)
    for inputs, count in (
        ([value, value], 2),
        ({"image_bytes": [value]}, 1),
        ({"x": [base64_of(image)]}, 1),
        (value, 1),
    ):
        response = client.post(URL, json={"inputs": inputs})
        assert response.json() == {"outputs": [probs] * count}, inputs


def test_pixels_of_the_models_size_are_what_the_graph_gets(
    client: httpx.Client, trained: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    model = sharpeye.load(trained)
    (row,) = client.post(URL, json={"instances": [pixels.tolist()]}).json()["predictions"]
    assert row == [float(p) for p in model.probabilities(pixels[None])[0]]
    assert sum(row) == pytest.approx(1, abs=1e-5)


def test_grey_pixels_with_and_without_their_axis(client: httpx.Client, trained: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    instances = [grey.tolist(), grey[..., None].tolist()]
    rows = client.post(URL, json={"instances": instances}).json()["predictions"]
    assert rows == [expected(trained, grey)] * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, 'one of "instances"'),
        ({"instances": [1], "inputs": [1]}, 'one of "instances"'),
        ([], "must be a JSON object. Received: a list"),
        ({"instances": {}}, "must hold a list. Received: an object"),
        ({"instances": []}, "no images"),
        ({"inputs": 3}, "must hold a list. Received: a number"),
        ({"instances": [3]}, "instances[0] must be"),
        ({"instances": [None]}, "Received: null"),
        ({"instances": [{"a": 1, "b": 2}]}, "instances[0] must be"),
        ({"instances": [{"b64": 3}]}, "instances[0] must be"),
        ({"instances": [{"b64": "!!"}]}, "instances[0]: is not base64"),
        ({"instances": [{"b64": "aGFsbG8="}]}, "cannot read instances[0]: not an image"),
        ({"instances": ["aGFsbG8=", {"b64": "?"}]}, "instances[1]: is not base64"),
        ({"instances": [[1, 2, 3]]}, "must be an array [H,W]"),
        ({"instances": [[[[[1, 2, 3]]]]]}, "must be an array [H,W]"),
        ({"instances": [[[1, 2], [3]]]}, "neither flat nor evenly nested"),
        ({"instances": [[[[1, 2, 3], [4, 5, "x"]]]]}, "instances[0]"),
        ({"instances": [[["a", "b"]]]}, "must be numbers"),
        ({"instances": [[[0.5], [0.1]]]}, "value_range"),
        ({"instances": [[[1.5], [3]]]}, "value_range"),
        ({"instances": [[[256, 0]]]}, "value_range"),
        ({"instances": [[[65536, 0]]]}, "from 0 to 65535"),
        ({"instances": [[[-1, 0]]]}, "from -1 to 0"),
        ({"instances": [[[10**30, 0]]]}, "must be numbers"),
        ({"instances": [[[]]]}, "at least one pixel"),
        ({"instances": [[]]}, "must be an array [H,W]"),
    ],
)
def test_an_invalid_body_is_400_and_names_the_place(
    client: httpx.Client, body: Any, words: str
) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]


def test_non_finite_numbers_and_too_many_values(client: httpx.Client) -> None:
    for text in ("NaN", "Infinity", "1e400"):
        response = client.post(URL, content=f'{{"instances": [[[{text}, 1]]]}}')
        assert response.status_code == 400, response.text
    response = client.post(URL, content=b'{"instances": [' + b"[],[]," * 1_100_000 + b"0]}")
    assert response.status_code == 413
    assert "2,000,000 values" in response.json()["error"]


def test_status_and_metadata(client: httpx.Client) -> None:
    version = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for url in ("/v1/models/trees", "/v1/models/trees/versions/1"):
        assert client.get(url).json() == {"model_version_status": [version]}
    for url in ("/v1/models/trees/metadata", "/v1/models/trees/versions/1/metadata"):
        metadata = client.get(url).json()
        assert metadata["model_spec"] == {"name": "trees", "signature_name": "", "version": "1"}
        signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
        sizes = [dim["size"] for dim in signature["inputs"]["image"]["tensor_shape"]["dim"]]
        assert sizes == ["-1", "64", "64", "3"]
        assert signature["outputs"]["probs"]["dtype"] == "DT_FLOAT"
    assert client.get("/v1/models").json() == {"models": ["trees"]}


def test_versions_and_other_models(client: httpx.Client, image: bytes) -> None:
    body = {"instances": [{"b64": base64_of(image)}]}
    assert client.post("/v1/models/trees/versions/1:predict", json=body).status_code == 200
    for url in ("/v1/models/half:predict", "/v1/models/trees/versions/2:predict"):
        response = client.post(url, json=body)
        assert response.status_code == 404
        assert list(response.json()) == ["error"]
    assert "this server has trees" in client.get("/v1/models/half").json()["error"]
    assert "no version 7" in client.get("/v1/models/trees/versions/7").json()["error"]
    for verb in ("classify", "regress"):
        response = client.post(f"/v1/models/trees:{verb}", json=body)
        assert response.status_code in (404, 405)
        assert list(response.json()) == ["error"]


def test_a_localizer_has_two_named_outputs() -> None:
    with client_of(StubModel(box=(1.0, 2.0, 3.0, 4.0))) as client:
        rows = client.post(URL, json={"instances": ["YQ==", "YQ=="]}).json()
        assert rows == {"predictions": [{"probs": [0.25, 0.75], "box": [1, 2, 3, 4]}] * 2}
        columns = client.post(URL, json={"inputs": ["YQ=="]}).json()
        assert columns == {"outputs": {"probs": [[0.25, 0.75]], "box": [[1, 2, 3, 4]]}}
