"""Opens a model: a run directory, a bundle directory or an `.onnx` file of ours.

Reads JSON and ONNX only. Digest, format, labels and shapes are checked before the first picture.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharpeye.bundle.archive import SUFFIX, read_archive
from sharpeye.bundle.manifest import (
    DIGEST_KEY,
    INPUT_KEY,
    METADATA_KEY,
    Manifest,
    parse_manifest,
    read_json,
)
from sharpeye.errors import ModelError, UsageError
from sharpeye.inference import Graph
from sharpeye.storage import sha256_file
from sharpeye.types import InputSpec

MODEL_FILE, MANIFEST_FILE = "model.onnx", "bundle.json"

# What a model may give besides `probs` and, of a localizer, `box`; in this order, behind them.
OPTIONAL_OUTPUTS = ("unknown_score", "heat")

_MAX_MODEL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class OpenModel:
    """A checked model, ready to run."""

    path: Path
    graph: Graph
    manifest: Manifest

    @property
    def takes_any_size(self) -> bool:
        """Whether the graph fits pictures itself: RGB of any size, as all do since format 2."""
        return not isinstance(self.graph.input_shape()[0], int)

    def run(
        self, pixels: npt.NDArray[np.uint8], wanted: Sequence[str] = ()
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run a batch of pictures that `fit_image` made: the graph leaves them as they are.

        Args:
            pixels: uint8[N,height,width,channels] as `manifest.input` says.
            wanted: names of outputs, see `Graph.run`.

        Returns:
            by output name: `probs` float32[N,C], and what else the model has; `box` float32[N,4]
            in shares 0..1 of `pixels`.
        """
        return self.graph.run(self.as_input(pixels), wanted)

    def as_input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fitted pictures as the graph takes them: grey as RGB, of which it makes grey again."""
        if self.takes_any_size and pixels.shape[-1] == 1:
            return np.repeat(pixels, 3, axis=-1)
        return pixels


def open_model(path: Path | str, threads: int = 1) -> OpenModel:
    """Open and check a model.

    Args:
        path: a run or bundle directory, or an `.onnx` file that SharpEye wrote.
        threads: threads within one run of the graph.

    Raises:
        UsageError: nothing is there.
        ModelError: damaged, changed, of another origin, or of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(
            f"no such model: {path}; give a run directory, or an .onnx file that SharpEye wrote"
        )
    if path.is_dir():
        return _open_directory(path, threads)
    if path.suffix == SUFFIX:
        return _open_archive(path, threads)
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is no model of SharpEye's; give a run directory, or its {MODEL_FILE}"
        )
    graph = _open_graph(path, threads)
    text = graph.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} is an ONNX model, but not one that SharpEye wrote")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if graph.metadata.get(DIGEST_KEY, digest) != digest:
        raise ModelError(f"{path} holds a manifest that was changed: its SHA-256 differs")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelError(f"{path} holds a damaged manifest") from None
    return _checked(path, graph, parse_manifest(raw, str(path)))


def _open_directory(folder: Path, threads: int) -> OpenModel:
    manifest_file, model_file = folder / MANIFEST_FILE, folder / MODEL_FILE
    if not manifest_file.is_file():
        raise ModelError(
            f"{folder} holds no finished model: {MANIFEST_FILE} is missing; "
            "give the folder that `sharpeye train` printed"
        )
    raw = read_json(manifest_file)
    manifest = parse_manifest(raw, str(manifest_file))
    expected = raw.get("files", {}).get(MODEL_FILE) if isinstance(raw.get("files"), dict) else None
    if not model_file.is_file():
        raise ModelError(f"{model_file} is missing")
    _check_size(model_file)
    if sha256_file(model_file) != expected:
        raise ModelError(
            f"{model_file} is not the file that {MANIFEST_FILE} describes: its SHA-256 differs; "
            "copy both again, or train again"
        )
    return _checked(folder, _open_graph(model_file, threads), manifest)


def _open_archive(file: Path, threads: int) -> OpenModel:
    found = read_archive(file)
    manifest = parse_manifest(found.record, f"{file}: {MANIFEST_FILE}")
    return _checked(file, Graph(found.members[MODEL_FILE], threads), manifest)


def _check_size(file: Path) -> None:
    if file.stat().st_size > _MAX_MODEL_BYTES:
        raise ModelError(f"{file} is larger than {_MAX_MODEL_BYTES // 2**30} GiB")


def _open_graph(file: Path, threads: int) -> Graph:
    _check_size(file)
    return Graph(file, threads)


def _checked(path: Path, graph: Graph, manifest: Manifest) -> OpenModel:
    boxes = manifest.task == "localize"
    needed = ("probs", "box") if boxes else ("probs",)
    more = tuple(name for name in OPTIONAL_OUTPUTS if name in graph.outputs)
    if graph.outputs != needed + more or (boxes and graph.output_width(1) != 4):
        raise ModelError(
            f"{path}: a model that can {manifest.task} gives probs{' and 4 edges as box' * boxes}; "
            f"this one gives {', '.join(graph.outputs)}"
        )
    if graph.output_width() != len(manifest.labels):
        raise ModelError(
            f"{path}: the graph has {graph.output_width()} classes, the manifest names "
            f"{len(manifest.labels)}"
        )
    _check_input(path, graph, manifest.input)
    return OpenModel(path, graph, manifest)


def _check_input(path: Path, graph: Graph, spec: InputSpec) -> None:
    """Refuse a graph that takes other pictures, or that brings them to another size."""
    wanted, found = (spec.height, spec.width, spec.channels), graph.input_shape()
    if len(found) == 3 and not any(isinstance(side, int) for side in found[:2]) and found[2] == 3:
        try:
            inside = InputSpec.from_dict(json.loads(graph.metadata[INPUT_KEY]))
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ModelError(f"{path}: the graph does not say how it fits pictures") from None
        if inside != spec:
            raise ModelError(
                f"{path}: the graph fits pictures by {inside}, the manifest says {spec}"
            )
    elif found != wanted:
        raise ModelError(f"{path}: the graph takes pictures of {found}, the manifest says {wanted}")
