"""All paths to a model's predictions, and how far their probabilities differ."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageOps

import sharpeye

# Probabilities by class, by the image's file name.
Probabilities = dict[str, dict[str, float]]

NAME = "pictures"  # of the model, in a server's URLs
_MAX_MIB = "256"  # of a request: pixels are larger than files


def by_python(model: Path, files: Sequence[Path]) -> Probabilities:
    """`sharpeye.load(...).predict(path)`."""
    return _predict(model, files, [*files])


def by_bytes(model: Path, files: Sequence[Path]) -> Probabilities:
    """`predict` of the files' bytes."""
    return _predict(model, files, [file.read_bytes() for file in files])


def _predict(model: Path, files: Sequence[Path], sources: list[Any]) -> Probabilities:
    opened = sharpeye.load(model)
    predictions = opened.predict(sources, top=len(opened.labels))
    return {file.name: dict(each.top) for file, each in zip(files, predictions, strict=True)}


def by_command(model: Path, files: Sequence[Path], cache: Path) -> Probabilities:
    """`sharpeye predict --format jsonl`, as a process."""
    classes = len(sharpeye.load(model).labels)
    arguments = ("predict", model, *files, "--format", "jsonl", "--top", classes)
    lines = _run(["-m", "sharpeye", *map(str, arguments)], SHARPEYE_CACHE=str(cache))
    return {
        Path(line["path"]).name: {each["label"]: each["score"] for each in line["top"]}
        for line in map(json.loads, lines)
    }


def by_program(program: Path, files: Sequence[Path]) -> Probabilities:
    """The program beside an export, as a process that sees neither this folder nor SharpEye."""
    # Without TensorFlow's log lines.
    lines = _run(["-I", "-W", "error", str(program), *map(str, files)], TF_CPP_MIN_LOG_LEVEL="3")
    return {Path(line["path"]).name: line["probs"] for line in map(json.loads, lines)}


def _run(arguments: list[str], **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()


@contextlib.contextmanager
def serving(model: Path, cache: Path) -> Iterator[httpx.Client]:
    """A client of `sharpeye serve`, a process of its own that ends with the block."""
    arguments = (
        "serve",
        model,
        "--port",
        "0",
        "--name",
        NAME,
        "--max-mb",
        _MAX_MIB,
        "--timeout",
        "2m",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "sharpeye", *map(str, arguments)],
        env=os.environ | {"SHARPEYE_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        with httpx.Client(base_url=line.rpartition(" ")[2].strip(), timeout=120) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=30)


def by_upload(client: httpx.Client, files: Sequence[Path], classes: int) -> Probabilities:
    """The files' bytes, as a form of eight."""
    probabilities: Probabilities = {}
    for start in range(0, len(files), 8):
        batch = files[start : start + 8]
        form = [("file", (file.name, file.read_bytes())) for file in batch]
        response = client.post("/v1/predict", params={"top": classes}, files=form)
        response.raise_for_status()
        for file, result in zip(batch, response.json()["predictions"], strict=True):
            top = result["top"]
            probabilities[file.name] = {each["label"]: each["score"] for each in top}
    return probabilities


def by_tensor(client: httpx.Client, files: Sequence[Path], labels: Sequence[str]) -> Probabilities:
    """KServe's and Triton's binary tensor: the client decodes, and sends uint8[1,H,W,3]."""
    probabilities: Probabilities = {}
    for file in files:
        pixels = decoded(file)
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape]}
        tensor |= {"parameters": {"binary_data_size": pixels.size}}
        head = json.dumps({"inputs": [tensor]}).encode()
        response = client.post(
            f"/v2/models/{NAME}/infer",
            content=head + pixels.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        response.raise_for_status()
        outputs = {each["name"]: each["data"] for each in response.json()["outputs"]}
        probabilities[file.name] = dict(zip(labels, outputs["probs"], strict=True))
    return probabilities


def by_instances(
    client: httpx.Client, files: Sequence[Path], labels: Sequence[str]
) -> Probabilities:
    """TensorFlow Serving's REST interface: the files' bytes in base64, eight a request."""
    probabilities: Probabilities = {}
    for start in range(0, len(files), 8):
        batch = files[start : start + 8]
        values = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in batch]
        response = client.post(f"/v1/models/{NAME}:predict", json={"instances": values})
        response.raise_for_status()
        for file, probs in zip(batch, response.json()["predictions"], strict=True):
            probabilities[file.name] = dict(zip(labels, probs, strict=True))
    return probabilities


def decoded(file: Path) -> np.ndarray:
    """uint8[H,W,3], by Pillow alone: the lines of docs/model-file.md."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class Difference:
    """How far the predictions of two paths differ.

    Attributes:
        images: number of images.
        max_difference: of a probability.
        over: number of images that have a probability that differs by more than 0.001.
        top1_agreement: share of images with the same most probable class, 0..1.
        worst: the image with the largest difference.
    """

    images: int
    max_difference: float
    over: int
    top1_agreement: float
    worst: str


def compare(actual: Probabilities, expected: Probabilities) -> Difference:
    """Compare predictions for the same images."""
    if actual.keys() != expected.keys():
        missing = sorted(expected.keys() ^ actual.keys())[:5]
        raise AssertionError(f"predictions are missing: {missing}")
    differences = {
        name: max(abs(actual[name][label] - probs[label]) for label in probs)
        for name, probs in expected.items()
    }
    same = [
        max(actual[n], key=actual[n].__getitem__) == max(p, key=p.__getitem__)
        for n, p in expected.items()
    ]
    worst = max(differences, key=differences.__getitem__)
    over = sum(each > 1e-3 for each in differences.values())
    return Difference(len(expected), differences[worst], over, sum(same) / len(same), worst)
