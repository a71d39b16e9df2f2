"""Pixels in requests: scaled as they declare it, or refused where their meaning is open."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import sharpeye
from http_client import base64_of
from sharpeye.serve.pixel_inputs import describe_raw_pixels

TENSORFLOW, V2 = "/v1/models/trees:predict", "/v2/models/trees/infer"
LABELS = ("ash", "birch", "cedar")
Declared = dict[str, Any]
DTYPES = {
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@pytest.fixture(scope="module")
def pixels() -> Any:
    """uint8[30,40,3]; its first pixel is black, its last one white."""
    array = np.random.default_rng(5).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    array[0, 0], array[-1, -1] = 0, 255
    return array


def file_probs(trained: Path, tmp_path: Path, array: Any) -> list[float]:
    """The probabilities for a file of these pixels."""
    Image.fromarray(array).save(tmp_path / "image.png")
    top = sharpeye.load(trained).predict(tmp_path / "image.png", top=3).top
    return [dict(top)[label] for label in LABELS]


def post_instances(client: httpx.Client, array: Any, declared: Declared) -> httpx.Response:
    return client.post(TENSORFLOW, json={"instances": [array.tolist()], **declared})


def post_inputs(client: httpx.Client, array: Any, declared: Declared) -> httpx.Response:
    return client.post(TENSORFLOW, json={"inputs": {"image": [array.tolist()]}, **declared})


def tensor(array: Any, datatype: str) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": [1, *array.shape]}


def post_tensor(
    client: httpx.Client, array: Any, declared: Declared, datatype: str = "FP32"
) -> httpx.Response:
    data = array.ravel().tolist()
    content = {"inputs": [tensor(array, datatype) | {"data": data}], "parameters": declared}
    return client.post(V2, json=content)


def post_binary(
    client: httpx.Client, array: Any, declared: Declared, datatype: str = "FP32"
) -> httpx.Response:
    tail = array.astype(DTYPES[datatype]).tobytes()
    parameters = {"binary_data_size": len(tail), **declared}
    head = json.dumps({"inputs": [tensor(array, datatype) | {"parameters": parameters}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.post(V2, content=head + tail, headers=headers)


PROTOCOLS = (post_instances, post_inputs, post_tensor, post_binary)


def probs(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    content = response.json()
    if "outputs" in content and isinstance(content["outputs"][0], dict):
        return list(content["outputs"][0]["data"])
    return list((content.get("predictions") or content["outputs"])[0])


@pytest.mark.parametrize("post", PROTOCOLS)
def test_declared_ranges_give_the_prediction_of_the_file(
    client: httpx.Client, trained: Path, tmp_path: Path, pixels: Any, post: Any
) -> None:
    expected = file_probs(trained, tmp_path, pixels)
    assert (
        probs(post(client, (pixels / 255).astype(np.float32), {"value_range": [0, 1]})) == expected
    )
    assert probs(post(client, pixels.astype(np.float32), {"value_range": [0, 255]})) == expected
    assert probs(post(client, pixels.astype(np.float32), {})) == expected  # whole, and above 1
    first = pixels.transpose(2, 0, 1)
    declared = {"data_format": "channels_first"}
    assert probs(post(client, first.astype(np.float32), declared)) == expected
    declared |= {"value_range": [0, 1]}
    assert probs(post(client, (first / 255).astype(np.float32), declared)) == expected


@pytest.mark.parametrize("post", PROTOCOLS)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda a: a / 255, "value_range"),
        (lambda a: np.round(a / 255), "value_range"),  # only 0.0 and 1.0
        (lambda a: a / 255 * 0, "value_range"),
        (lambda a: a / 255 * 2 - 1, "(x + 1) / 2"),
        (lambda a: a + 0.5, "value_range"),
        (lambda a: a * 257.0, "value_range"),
        (lambda a: a.astype(float).transpose(2, 0, 1), "data_format"),
    ],
    ids=["0..1", "0 and 1", "zeros", "-1..1", "fractions", "16 bits", "channels first"],
)
def test_floats_without_a_declared_meaning_are_400(
    client: httpx.Client, pixels: Any, post: Any, values: Any, words: str
) -> None:
    response = post(client, values(pixels).astype(np.float32), {})
    assert response.status_code == 400, response.text
    message = response.json()["error"]
    assert words in message
    assert message.startswith(("instances[0]: ", "inputs[0]: ", "image[0]: "))


@pytest.mark.parametrize("post", [post_instances, post_inputs])
def test_whole_numbers_of_json_that_are_all_0_or_1_are_400(client: httpx.Client, post: Any) -> None:
    """JSON's numbers have no type: JavaScript writes 0.0 and 1.0 as 0 and 1."""
    array = np.array([[0, 1], [1, 0]])
    response = post(client, array, {})
    assert response.status_code == 400
    assert "value_range" in response.json()["error"]
    assert post(client, array, {"value_range": [0, 255]}).status_code == 200
    assert post(client, array * 0, {}).status_code == 200  # black in both ranges


@pytest.mark.parametrize("post", [post_tensor, post_binary])
@pytest.mark.parametrize("datatype", DTYPES)
def test_all_datatypes_with_a_declared_range(
    client: httpx.Client, trained: Path, tmp_path: Path, pixels: Any, post: Any, datatype: str
) -> None:
    expected = file_probs(trained, tmp_path, pixels)
    array = pixels.astype(DTYPES[datatype])
    assert probs(post(client, array, {"value_range": [0, 255]}, datatype=datatype)) == expected
    black_and_white = (pixels > 127).astype(DTYPES[datatype])
    response = post(client, black_and_white, {"value_range": [0, 1]}, datatype=datatype)
    assert probs(response) == file_probs(trained, tmp_path, (pixels > 127).astype(np.uint8) * 255)


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT32", "UINT64"])
def test_integers_without_a_usual_range_need_one(client: httpx.Client, datatype: str) -> None:
    response = post_tensor(client, np.full((2, 2, 3), 5), {}, datatype=datatype)
    assert response.status_code == 400
    assert "value_range" in response.json()["error"]


def test_a_boolean_tensor_is_black_and_white(
    client: httpx.Client, trained: Path, tmp_path: Path, pixels: Any
) -> None:
    expected = file_probs(trained, tmp_path, (pixels > 127).astype(np.uint8) * 255)
    assert probs(post_tensor(client, pixels > 127, {}, datatype="BOOL")) == expected
    assert probs(post_instances(client, pixels > 127, {})) == expected


def test_a_boolean_tensor_holds_no_other_numbers(client: httpx.Client) -> None:
    tensor = {"name": "image", "shape": [1, 1, 2, 3], "datatype": "BOOL"}
    for value in (0.5, 2, -1, 255):
        body = {"inputs": [{**tensor, "data": [value, 0, 1, 1, 0, 0]}]}
        response = client.post(V2, json=body)
        assert response.status_code == 400
        assert "BOOL must be true or false" in response.json()["error"]


def test_alpha_is_composited_over_white(
    client: httpx.Client, trained: Path, tmp_path: Path, pixels: Any
) -> None:
    rgba = np.concatenate([pixels, pixels[..., :1]], axis=2)
    expected = file_probs(trained, tmp_path, rgba)
    assert probs(post_instances(client, rgba, {})) == expected
    assert probs(post_binary(client, rgba, {}, datatype="UINT8")) == expected


@pytest.mark.parametrize("post", PROTOCOLS)
@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"value_range": [0, 2]}, "value_range must be"),
        ({"value_range": "0..1"}, "value_range must be"),
        ({"value_range": 1}, "value_range must be"),
        ({"value_range": [0, 1]}, "from 0 to 1"),
        ({"data_format": "NCHW"}, "data_format must be"),
        ({"data_format": ["channels_last"]}, "data_format must be"),
    ],
)
def test_wrong_declarations_are_400(
    client: httpx.Client, pixels: Any, post: Any, declared: Declared, words: str
) -> None:
    response = post(client, pixels.astype(np.float32), declared)
    assert response.status_code == 400, response.text
    assert words in response.json()["error"]


def test_a_file_does_not_take_the_parameters_of_pixels(client: httpx.Client, image: bytes) -> None:
    text, declared = base64_of(image), {"value_range": [0, 1]}
    for response in (
        client.post(TENSORFLOW, json={"instances": [{"b64": text}], **declared}),
        client.post(
            V2,
            json={
                "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}],
                "parameters": declared,
            },
        ),
    ):
        assert response.status_code == 400
        assert "value_range and data_format describe pixels" in response.json()["error"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (lambda a: (a / 255).astype(np.float32), "it seems to be floats"),
        (lambda a: a.astype(np.float64), "it seems to be floats"),
        (lambda a: ((a / 255 - 0.45) / 0.225).astype(np.float32), "it seems to be floats"),
        (lambda a: np.resize(a, (64, 64, 3)), "as many bytes as pixels of 64 x 64"),
    ],
    ids=["0..1", "0..255", "standardized", "of the model's size"],
)
def test_base64_of_raw_pixels_is_named(
    client: httpx.Client, pixels: Any, array: Any, words: str
) -> None:
    text = base64_of(array(pixels).tobytes())
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    for url, content, status in (
        (TENSORFLOW, {"instances": [{"b64": text}]}, 400),
        (V2, {"inputs": [tensor]}, 400),
        ("/v1/predict", {"image": text}, 422),
    ):
        response = client.post(url, json=content)
        assert response.status_code == status
        assert words in response.json()["error"]


def test_files_and_other_bytes_are_not_taken_for_pixels(image: bytes) -> None:
    spec = sharpeye.core.types.InputSpec(64, 64)
    assert describe_raw_pixels(image, spec) is None
    assert describe_raw_pixels(np.random.default_rng(0).bytes(4000), spec) is None
    assert describe_raw_pixels(b"<html>" * 100, spec) is None
    assert describe_raw_pixels(b"", spec) is None
