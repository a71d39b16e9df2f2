"""The Open Inference Protocol v2, in JSON and with Triton's binary tensors."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from http_client import StubModel, client_of, text64
from PIL import Image

import sharpeye

URL = "/v2/models/trees/infer"
LABELS = ("ash", "birch", "cedar")


def test_unknown_scores_are_an_output(client: httpx.Client, trained: Path, image: bytes) -> None:
    one = {"inputs": [tensor("BYTES", [1], [text64(image)])]}
    found = outputs(client.post(URL, json=one))["unknown_score"]
    expected = sharpeye.load(trained).predict(image).unknown_score
    assert found["datatype"] == "FP32"
    assert found["data"] == pytest.approx([expected], abs=1e-5)


@pytest.fixture
def right(trained: Path, image: bytes) -> list[float]:
    scores = dict(sharpeye.load(trained).predict(image, top=3).top)
    return [scores[label] for label in LABELS]


def tensor(datatype: str, shape: Any, data: Any = None, **parameters: Any) -> dict[str, Any]:
    one = {"name": "image", "datatype": datatype, "shape": shape}
    return one | ({"data": data} if data is not None else {"parameters": parameters})


def outputs(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {one["name"]: one for one in response.json()["outputs"]}


def test_files_as_bytes(client: httpx.Client, image: bytes, right: list[float]) -> None:
    text = text64(image)
    for shape, data in (([2], [text, text]), ([2, 1], [[text], [text]]), ([2, 1], [text, text])):
        body = {"id": "42", "inputs": [tensor("BYTES", shape, data)]}
        response = client.post(URL, json=body)
        found = outputs(response)
        said = response.json()
        assert (said["id"], said["model_name"], said["model_version"]) == ("42", "trees", "1")
        assert found["probs"] == {
            "name": "probs",
            "datatype": "FP32",
            "shape": [2, 3],
            "data": right * 2,
        }
        best = LABELS[right.index(max(right))]
        assert found["label"] == {
            "name": "label",
            "datatype": "BYTES",
            "shape": [2],
            "data": [best] * 2,
        }


def test_pixels_flat_nested_and_alone(
    client: httpx.Client, image: bytes, right: list[float]
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    height, width, _ = pixels.shape
    for shape, data in (
        ([1, height, width, 3], pixels.ravel().tolist()),
        ([1, height, width, 3], pixels[None].tolist()),
        ([height, width, 3], pixels.tolist()),
    ):
        found = outputs(client.post(URL, json={"inputs": [tensor("UINT8", shape, data)]}))
        assert found["probs"]["data"] == right


def test_outputs_can_be_chosen(client: httpx.Client, image: bytes) -> None:
    inputs = [tensor("BYTES", [1], [text64(image)])]
    for wanted in (["label"], ["probs"], ["label", "probs"]):
        body = {"inputs": inputs, "outputs": [{"name": name} for name in wanted]}
        assert list(outputs(client.post(URL, json=body))) == wanted


def post_binary(client: httpx.Client, body: dict[str, Any], tail: bytes) -> Any:
    head = json.dumps(body).encode()
    return client.post(
        URL, content=head + tail, headers={"Inference-Header-Content-Length": str(len(head))}
    )


def test_binary_tensors_both_ways(client: httpx.Client, image: bytes, right: list[float]) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    packed = struct.pack("<I", len(image)) + image
    for datatype, shape, tail in (
        ("BYTES", [2], packed * 2),
        ("BYTES", [2, 1], packed * 2),
        ("UINT8", [2, *pixels.shape], pixels.tobytes() * 2),
    ):
        one = tensor(datatype, shape, binary_data_size=len(tail))
        for body in (
            {"inputs": [one], "parameters": {"binary_data_output": True}},
            {
                "inputs": [one],
                "outputs": [
                    {"name": name, "parameters": {"binary_data": True}}
                    for name in ("probs", "label")
                ],
            },
        ):
            response = post_binary(client, body, tail)
            assert response.status_code == 200, response.text
            length = int(response.headers["Inference-Header-Content-Length"])
            head, rest = json.loads(response.content[:length]), response.content[length:]
            sizes = [o["parameters"]["binary_data_size"] for o in head["outputs"]]
            assert sum(sizes) == len(rest)
            probs = np.frombuffer(rest[: sizes[0]], "<f4").reshape(2, 3)
            np.testing.assert_array_equal(probs, np.float32([right, right]))
            (size,) = struct.unpack_from("<I", rest, sizes[0])
            best = LABELS[right.index(max(right))]
            assert rest[sizes[0] + 4 : sizes[0] + 4 + size].decode() == best
        assert outputs(post_binary(client, {"inputs": [one]}, tail))["probs"]["shape"] == [2, 3]


@pytest.mark.parametrize(
    ("one", "tail", "words"),
    [
        (tensor("BYTES", [1], binary_data_size=9), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size="8"), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size=-1), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size=8), b"\xff" * 8, "says 4294967295 bytes, 4 follow"),
        (tensor("BYTES", [1], binary_data_size=3), b"abc", "do not hold just that many"),
        (tensor("BYTES", [2], binary_data_size=5), b"\x01\0\0\0a", "do not hold just that many"),
        (tensor("BYTES", [1], binary_data_size=6), b"\x01\0\0\0ab", "do not hold just that many"),
        (tensor("UINT8", [1, 2, 2, 3], binary_data_size=11), b"x" * 11, "12 bytes"),
    ],
)
def test_binary_that_lies_is_400(client: httpx.Client, one: Any, tail: bytes, words: str) -> None:
    response = post_binary(client, {"inputs": [one]}, tail)
    assert response.status_code == 400, response.text
    said = response.json()["error"]
    assert words in said or "12 values" in said


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1e3", "", "9" * 40])
def test_a_json_length_that_lies_is_400(client: httpx.Client, length: str) -> None:
    response = client.post(URL, content=b"{}", headers={"Inference-Header-Content-Length": length})
    assert response.status_code == 400
    assert "Inference-Header-Content-Length must be 0 to 2" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, '"inputs" must be a list of one tensor'),
        ({"inputs": []}, "one tensor"),
        ({"inputs": [1]}, "one tensor"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])] * 2}, "one tensor"),
        ({"inputs": [tensor("FP32", [1], [1.0])]}, "datatype BYTES"),
        ({"inputs": [tensor("BYTES", None, ["YQ=="])]}, "shape must be a list"),
        ({"inputs": [tensor("BYTES", [], ["YQ=="])]}, "shape must be a list"),
        ({"inputs": [tensor("BYTES", ["1"], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [-1], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [2**40], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [True], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [0], [])]}, "no pictures"),
        ({"inputs": [tensor("BYTES", [2], ["YQ=="])]}, "says 2 elements, the data have 1"),
        ({"inputs": [tensor("BYTES", [1], ["!"])]}, "data[0] is not base64"),
        ({"inputs": [tensor("BYTES", [1], [3])]}, "data[0] must be a base64 string"),
        ({"inputs": [tensor("BYTES", [1], "x")]}, '"data" must be a list. Received: a string'),
        ({"inputs": [tensor("BYTES", [1])]}, '"data" must be a list. Received: null'),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])]}, "cannot read image[0]: not a picture"),
        ({"inputs": [tensor("UINT8", [1], [1])]}, "shape [N,H,W,channels]"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2])]}, "says 3 values, the data have 2"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2, 300])]}, "must be 0..255"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2, 0.5])]}, "whole numbers"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [[1, 2], 3])]}, "evenly nested"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 4], [1, 2, 3, 4])]}, "must have the shape"),
        ({"inputs": [tensor("UINT8", [1, 0, 1, 3], [])]}, "at least one pixel"),
        ({"inputs": [tensor("UINT8", [1, 2**31 - 1, 2**31 - 1, 3], [1])]}, "the data have 1"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": "x"}]}, "Allowed:"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": []}]}, "Allowed:"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": "probs"}, "must be a list"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": "probs"}] * 2}, "twice"),
    ],
)
def test_what_is_not_understood_is_400(client: httpx.Client, body: Any, words: str) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]


def test_metadata_and_readiness(client: httpx.Client, image: bytes) -> None:
    said = client.get("/v2").json()
    assert said["name"] == "sharpeye"
    assert said["version"] == sharpeye.__version__
    assert said["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json()["live"] is True
    assert client.get("/v2/health/ready").json()["ready"] is True
    for url in ("/v2/models/trees", "/v2/models/trees/versions/1"):
        about = client.get(url).json()
        assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}]
        assert [one["name"] for one in about["outputs"]] == ["probs", "label", "unknown_score"]
        assert about["outputs"][0] == {"name": "probs", "datatype": "FP32", "shape": [-1, 3]}
        assert client.get(f"{url}/ready").json() == {"name": "trees", "ready": True}
        body = {"inputs": [tensor("BYTES", [1], [text64(image)])]}
        assert client.post(f"{url}/infer", json=body).status_code == 200
    for url in ("/v2/models/half", "/v2/models/half/ready", "/v2/models/trees/versions/2"):
        assert client.get(url).status_code == 404


def test_a_localizer_has_one_output_more() -> None:
    with client_of(StubModel(box=(1.0, 2.0, 3.5, 4.0))) as client:
        one = {"inputs": [tensor("BYTES", [2], ["YQ=="] * 2)]}
        found = outputs(client.post(URL, json=one))
        assert list(found) == ["probs", "label", "box"]
        assert found["box"]["shape"] == [2, 4]
        assert found["box"]["data"] == [1, 2, 3.5, 4] * 2
        about = client.get("/v2/models/trees").json()["outputs"]
        assert about[2] == {"name": "box", "datatype": "FP32", "shape": [-1, 4]}
