"""Every way to ask a model of ours, and how far what they say lies apart."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageOps

import sharpeye

# Probabilities by class, by the image's file name.
Said = dict[str, dict[str, float]]

NAME = "pictures"  # of the model, in a server's addresses
_MIB = "256"  # a request may have: pixels are larger than files


def by_python(model: Path, files: Sequence[Path]) -> Said:
    """`sharpeye.load(...).predict(path)`."""
    opened = sharpeye.load(model)
    answers = opened.predict([*files], top=len(opened.labels))
    return {file.name: dict(answer.top) for file, answer in zip(files, answers, strict=True)}


def by_bytes(model: Path, files: Sequence[Path]) -> Said:
    """`predict` of the files' bytes."""
    opened = sharpeye.load(model)
    answers = opened.predict([file.read_bytes() for file in files], top=len(opened.labels))
    return {file.name: dict(answer.top) for file, answer in zip(files, answers, strict=True)}


def by_command(model: Path, files: Sequence[Path], cache: Path) -> Said:
    """`sharpeye predict --format jsonl`, a process."""
    classes = len(sharpeye.load(model).labels)
    asked = ("predict", model, *files, "--format", "jsonl", "--top", classes)
    lines = _run(["-m", "sharpeye", *map(str, asked)], SHARPEYE_CACHE=str(cache))
    return {
        Path(line["path"]).name: {each["label"]: each["score"] for each in line["top"]}
        for line in map(json.loads, lines)
    }


def by_program(program: Path, files: Sequence[Path]) -> Said:
    """A program beside an export, as a process that sees neither this folder nor SharpEye."""
    # TensorFlow's own noise is not the answer.
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
    asked = ("serve", model, "--port", "0", "--name", NAME, "--max-mb", _MIB, "--timeout", "2m")
    process = subprocess.Popen(
        [sys.executable, "-m", "sharpeye", *map(str, asked)],
        env=os.environ | {"SHARPEYE_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline() if process.stdout else ""
        with httpx.Client(base_url=said.rpartition(" ")[2].strip(), timeout=120) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=30)


def by_upload(client: httpx.Client, files: Sequence[Path], classes: int) -> Said:
    """The files' bytes, as a form; eight at once."""
    said: Said = {}
    for start in range(0, len(files), 8):
        some = files[start : start + 8]
        form = [("file", (file.name, file.read_bytes())) for file in some]
        response = client.post("/v1/predict", params={"top": classes}, files=form)
        response.raise_for_status()
        for file, answer in zip(some, response.json()["predictions"], strict=True):
            said[file.name] = {each["label"]: each["score"] for each in answer["top"]}
    return said


def by_tensor(client: httpx.Client, files: Sequence[Path], labels: Sequence[str]) -> Said:
    """KServe's and Triton's binary tensor: the client decodes, and sends uint8[1,H,W,3]."""
    said: Said = {}
    for file in files:
        pixels = decoded(file)
        one = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape]}
        one |= {"parameters": {"binary_data_size": pixels.size}}
        head = json.dumps({"inputs": [one]}).encode()
        response = client.post(
            f"/v2/models/{NAME}/infer",
            content=head + pixels.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        response.raise_for_status()
        found = {each["name"]: each["data"] for each in response.json()["outputs"]}
        said[file.name] = dict(zip(labels, found["probs"], strict=True))
    return said


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
class Gap:
    """How far one way's answers lie from another's.

    Attributes:
        images: how many.
        max_difference: of a probability.
        over: how many images have a probability that differs by more than 0.001.
        top1_agreement: share of images with the same most probable class, 0..1.
        worst: the image with the largest difference.
    """

    images: int
    max_difference: float
    over: int
    top1_agreement: float
    worst: str


def gap(found: Said, truth: Said) -> Gap:
    """Compare answers for the same images."""
    if found.keys() != truth.keys():
        raise AssertionError(f"answers are missing: {sorted(truth.keys() ^ found.keys())[:5]}")
    differences = {
        name: max(abs(found[name][label] - probs[label]) for label in probs)
        for name, probs in truth.items()
    }
    same = [
        max(found[n], key=found[n].__getitem__) == max(p, key=p.__getitem__)
        for n, p in truth.items()
    ]
    worst = max(differences, key=differences.__getitem__)
    over = sum(each > 1e-3 for each in differences.values())
    return Gap(len(truth), differences[worst], over, sum(same) / len(same), worst)
