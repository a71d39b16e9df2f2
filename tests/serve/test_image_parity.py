"""An image has one prediction, by its path and by every protocol, whatever its mode and EXIF."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import sharpeye
from http_client import base64_of, client_of
from image_modes import MODES
from sharpeye.predict.predictor import Model

LABELS = ("ash", "birch", "cedar")
ORIENTED = ("JPEG", "PNG", "TIFF", "WEBP")


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    """A model of 12-bit samples, so that a protocol that ignores its range is noticed."""
    model = sharpeye.load(trained)
    model.input = replace(model.input, bit_depth=12)
    return model


@pytest.fixture(scope="module")
def client(model: Model) -> Iterator[httpx.Client]:
    with client_of(model) as client:
        yield client


def pattern() -> Image.Image:
    """An image whose turned versions differ."""
    random = np.random.default_rng(7)
    pixels = random.integers(0, 256, (36, 52, 3)).astype(np.uint8)
    pixels[:12, :20] = (250, 20, 20)
    return Image.fromarray(pixels)


def native_probs(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    top = {item["label"]: item["score"] for item in response.json()["predictions"][0]["top"]}
    return [top[label] for label in LABELS]


def tensor_probs(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    return list(response.json()["outputs"][0]["data"])


def instance_probs(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    return list(response.json()["predictions"][0])


def served(client: httpx.Client, data: bytes) -> dict[str, list[float]]:
    """The probabilities for a file by every protocol that takes files."""
    text = base64_of(data)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    binary = struct.pack("<I", len(data)) + data
    parameters = {"binary_data_size": len(binary)}
    head = json.dumps({"inputs": [tensor | {"parameters": parameters}]}).encode()
    native, infer = "/v1/predict", "/v2/models/trees/infer"
    return {
        "body": native_probs(client.post(native, content=data)),
        "form": native_probs(client.post(native, files={"file": data})),
        "JSON": native_probs(client.post(native, json={"image": text})),
        "instances": instance_probs(
            client.post("/v1/models/trees:predict", json={"instances": [{"b64": text}]})
        ),
        "tensor": tensor_probs(client.post(infer, json={"inputs": [tensor | {"data": [text]}]})),
        "binary tensor": tensor_probs(
            client.post(
                infer,
                content=head + binary,
                headers={"Inference-Header-Content-Length": str(len(head))},
            )
        ),
    }


def by_path(model: Model, file: Path) -> list[float]:
    top = dict(model.predict(file, top=3).top)
    return [top[label] for label in LABELS]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(client: httpx.Client, model: Model, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "image"
    file.write_bytes(MODES[mode](pattern(), np.random.default_rng(0)))
    expected = by_path(model, file)
    for name, probs in served(client, file.read_bytes()).items():
        assert probs == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize(
    "format_", [pytest.param(f, marks=[pytest.mark.slow] * (f != "JPEG")) for f in ORIENTED]
)
def test_every_orientation(
    client: httpx.Client, model: Model, tmp_path: Path, format_: str
) -> None:
    predictions = []
    for orientation in range(1, 9):
        exif, file = Image.Exif(), tmp_path / f"{orientation}"
        exif[0x0112] = orientation
        pattern().save(file, format_, exif=exif)
        predictions.append(by_path(model, file))
        for name, probs in served(client, file.read_bytes()).items():
            assert probs == pytest.approx(predictions[-1], abs=1e-6), (orientation, name)
    assert len({tuple(probs) for probs in predictions}) == 8  # the model sees the difference


def test_a_tensor_of_12_bit_samples_is_read_by_the_models_range(
    client: httpx.Client, model: Model, tmp_path: Path
) -> None:
    samples = np.random.default_rng(3).integers(0, 4096, (36, 52)).astype(np.uint16)
    Image.fromarray(samples).save(tmp_path / "image.png")
    expected = by_path(model, tmp_path / "image.png")
    for name, probs in served(client, (tmp_path / "image.png").read_bytes()).items():
        assert probs == pytest.approx(expected, abs=1e-6), name
    tensor = {"name": "x", "datatype": "UINT16", "shape": [1, 36, 52, 1]}
    content: dict[str, Any] = {"inputs": [tensor | {"data": samples.ravel().tolist()}]}
    assert tensor_probs(client.post("/v2/models/trees/infer", json=content)) == expected
    content = {"instances": [samples.tolist()], "value_range": [0, 4095]}
    assert instance_probs(client.post("/v1/models/trees:predict", json=content)) == expected
