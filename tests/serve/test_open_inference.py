"""The Open Inference Protocol v2, in JSON and with Triton's binary tensors."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import sharpeye
from http_client import StubModel, base64_of, client_of

URL = "/v2/models/trees/infer"
LABELS = ("ash", "birch", "cedar")


def test_unknown_scores_are_an_output(client: httpx.Client, trained: Path, image: bytes) -> None:
    body = {"inputs": [tensor("BYTES", [1], [base64_of(image)])]}
    output = outputs(client.post(URL, json=body))["unknown_score"]
    expected = sharpeye.load(trained).predict(image).unknown_score
    assert output["datatype"] == "FP32"
    assert output["data"] == pytest.approx([expected], abs=1e-5)


@pytest.fixture
def expected_probs(trained: Path, image: bytes) -> list[float]:
    scores = dict(sharpeye.load(trained).predict(image, top=3).top)
    return [scores[label] for label in LABELS]


def tensor(datatype: str, shape: Any, data: Any = None, **parameters: Any) -> dict[str, Any]:
    header = {"name": "image", "datatype": datatype, "shape": shape}
    return header | ({"data": data} if data is not None else {"parameters": parameters})


def outputs(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def test_files_as_bytes(client: httpx.Client, image: bytes, expected_probs: list[float]) -> None:
    text = base64_of(image)
    for shape, data in (([2], [text, text]), ([2, 1], [[text], [text]]), ([2, 1], [text, text])):
        body = {"id": "42", "inputs": [tensor("BYTES", shape, data)]}
        response = client.post(URL, json=body)
        values = outputs(response)
        header = response.json()
        assert (header["id"], header["model_name"], header["model_version"]) == ("42", "trees", "1")
        assert values["probs"] == {
            "name": "probs",
            "datatype": "FP32",
            "shape": [2, 3],
            "data": expected_probs * 2,
        }
        best = LABELS[expected_probs.index(max(expected_probs))]
        assert values["label"] == {
            "name": "label",
            "datatype": "BYTES",
            "shape": [2],
            "data": [best] * 2,
        }


def test_pixels_flat_nested_and_alone(
    client: httpx.Client, image: bytes, expected_probs: list[float]
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    height, width, _ = pixels.shape
    for shape, data in (
        ([1, height, width, 3], pixels.ravel().tolist()),
        ([1, height, width, 3], pixels[None].tolist()),
        ([height, width, 3], pixels.tolist()),
    ):
        values = outputs(client.post(URL, json={"inputs": [tensor("UINT8", shape, data)]}))
        assert values["probs"]["data"] == expected_probs


def test_a_request_can_choose_outputs(client: httpx.Client, image: bytes) -> None:
    inputs = [tensor("BYTES", [1], [base64_of(image)])]
    for names in (["label"], ["probs"], ["label", "probs"]):
        body = {"inputs": inputs, "outputs": [{"name": name} for name in names]}
        assert list(outputs(client.post(URL, json=body))) == names


def post_binary(client: httpx.Client, body: dict[str, Any], tail: bytes) -> Any:
    head = json.dumps(body).encode()
    return client.post(
        URL, content=head + tail, headers={"Inference-Header-Content-Length": str(len(head))}
    )


def test_binary_tensors_both_ways(
    client: httpx.Client, image: bytes, expected_probs: list[float]
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(image)))
    packed = struct.pack("<I", len(image)) + image
    for datatype, shape, tail in (
        ("BYTES", [2], packed * 2),
        ("BYTES", [2, 1], packed * 2),
        ("UINT8", [2, *pixels.shape], pixels.tobytes() * 2),
    ):
        input_tensor = tensor(datatype, shape, binary_data_size=len(tail))
        for body in (
            {"inputs": [input_tensor], "parameters": {"binary_data_output": True}},
            {
                "inputs": [input_tensor],
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
            np.testing.assert_array_equal(probs, np.float32([expected_probs, expected_probs]))
            (size,) = struct.unpack_from("<I", rest, sizes[0])
            best = LABELS[expected_probs.index(max(expected_probs))]
            assert rest[sizes[0] + 4 : sizes[0] + 4 + size].decode() == best
        plain = outputs(post_binary(client, {"inputs": [input_tensor]}, tail))
        assert plain["probs"]["shape"] == [2, 3]


@pytest.mark.parametrize(
    ("input_tensor", "tail", "words"),
    [
        (tensor("BYTES", [1], binary_data_size=9), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size="8"), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size=-1), b"x" * 8, "binary_data_size must be 8"),
        (tensor("BYTES", [1], binary_data_size=8), b"\xff" * 8, "says 4294967295 bytes, 4 follow"),
        (tensor("BYTES", [1], binary_data_size=3), b"abc", "hold fewer or more"),
        (tensor("BYTES", [2], binary_data_size=5), b"\x01\0\0\0a", "hold fewer or more"),
        (tensor("BYTES", [1], binary_data_size=6), b"\x01\0\0\0ab", "hold fewer or more"),
        (tensor("UINT8", [1, 2, 2, 3], binary_data_size=11), b"x" * 11, "12 bytes"),
    ],
)
def test_inconsistent_binary_data_is_400(
    client: httpx.Client, input_tensor: Any, tail: bytes, words: str
) -> None:
    response = post_binary(client, {"inputs": [input_tensor]}, tail)
    assert response.status_code == 400, response.text
    message = response.json()["error"]
    assert words in message or "12 values" in message


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1e3", "", "9" * 40])
def test_a_wrong_json_length_is_400(client: httpx.Client, length: str) -> None:
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
        ({"inputs": [tensor("BF16", [1], [1.0])]}, "datatype BYTES"),
        ({"inputs": [tensor("BYTES", None, ["YQ=="])]}, "shape must be a list"),
        ({"inputs": [tensor("BYTES", [], ["YQ=="])]}, "shape must be a list"),
        ({"inputs": [tensor("BYTES", ["1"], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [-1], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [2**40], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [True], ["YQ=="])]}, "whole numbers"),
        ({"inputs": [tensor("BYTES", [0], [])]}, "no images"),
        ({"inputs": [tensor("BYTES", [2], ["YQ=="])]}, "says 2 elements, the data have 1"),
        ({"inputs": [tensor("BYTES", [1], ["!"])]}, "data[0] is not base64"),
        ({"inputs": [tensor("BYTES", [1], [3])]}, "data[0] must be a base64 string"),
        ({"inputs": [tensor("BYTES", [1], "x")]}, '"data" must be a list. Received: a string'),
        ({"inputs": [tensor("BYTES", [1])]}, '"data" must be a list. Received: null'),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])]}, "cannot read image[0]: not an image"),
        ({"inputs": [tensor("UINT8", [1], [1])]}, "shape [N,H,W,channels]"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2])]}, "says 3 values, the data have 2"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2, 300])]}, "must be 0..255"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [1, 2, 0.5])]}, "whole numbers"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 3], [[1, 2], 3])]}, "evenly nested"),
        ({"inputs": [tensor("UINT8", [1, 1, 1, 2], [1, 2])]}, "must be an array [H,W]"),
        ({"inputs": [tensor("UINT8", [1, 0, 1, 3], [])]}, "at least one pixel"),
        ({"inputs": [tensor("UINT8", [1, 2**31 - 1, 2**31 - 1, 3], [1])]}, "the data have 1"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": "x"}]}, "Allowed:"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": []}]}, "Allowed:"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": "probs"}, "must be a list"),
        ({"inputs": [tensor("BYTES", [1], ["YQ=="])], "outputs": [{"name": "probs"}] * 2}, "twice"),
    ],
)
def test_invalid_bodies_are_400(client: httpx.Client, body: Any, words: str) -> None:
    response = client.post(URL, json=body)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]


def test_metadata_and_readiness(client: httpx.Client, image: bytes) -> None:
    metadata = client.get("/v2").json()
    assert metadata["name"] == "sharpeye"
    assert metadata["version"] == sharpeye.__version__
    assert metadata["extensions"][0] == "binary_tensor_data"
    assert client.get("/v2/health/live").json()["live"] is True
    assert client.get("/v2/health/ready").json()["ready"] is True
    for url in ("/v2/models/trees", "/v2/models/trees/versions/1"):
        metadata = client.get(url).json()
        assert metadata["inputs"] == [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}
        ]
        assert [output["name"] for output in metadata["outputs"]] == [
            "probs",
            "label",
            "unknown_score",
        ]
        assert metadata["outputs"][0] == {"name": "probs", "datatype": "FP32", "shape": [-1, 3]}
        assert client.get(f"{url}/ready").json() == {"name": "trees", "ready": True}
        body = {"inputs": [tensor("BYTES", [1], [base64_of(image)])]}
        assert client.post(f"{url}/infer", json=body).status_code == 200
    for url in ("/v2/models/half", "/v2/models/half/ready", "/v2/models/trees/versions/2"):
        assert client.get(url).status_code == 404


def test_a_localizer_outputs_boxes() -> None:
    with client_of(StubModel(box=(1.0, 2.0, 3.5, 4.0))) as client:
        body = {"inputs": [tensor("BYTES", [2], ["YQ=="] * 2)]}
        values = outputs(client.post(URL, json=body))
        assert list(values) == ["probs", "label", "box"]
        assert values["box"]["shape"] == [2, 4]
        assert values["box"]["data"] == [1, 2, 3.5, 4] * 2
        metadata = client.get("/v2/models/trees").json()["outputs"]
        assert metadata[2] == {"name": "box", "datatype": "FP32", "shape": [-1, 4]}
