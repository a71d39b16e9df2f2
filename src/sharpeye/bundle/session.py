"""Opens a model: a run directory, a bundle directory or an `.onnx` file of ours.

Reads JSON and ONNX only. Digest, format, labels and shapes are checked before the first picture.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from sharpeye.bundle.manifest import METADATA_KEY, Manifest, parse_manifest, read_json
from sharpeye.errors import ModelError, UsageError
from sharpeye.inference import Graph
from sharpeye.storage import sha256_file

MODEL_FILE, MANIFEST_FILE = "model.onnx", "bundle.json"

_MAX_MODEL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class OpenModel:
    """A checked model, ready to run."""

    path: Path
    graph: Graph
    manifest: Manifest


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
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is no model of SharpEye's; give a run directory, or its {MODEL_FILE}"
        )
    graph = _open_graph(path, threads)
    text = graph.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} is an ONNX model, but not one that SharpEye wrote")
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


def _check_size(file: Path) -> None:
    if file.stat().st_size > _MAX_MODEL_BYTES:
        raise ModelError(f"{file} is larger than {_MAX_MODEL_BYTES // 2**30} GiB")


def _open_graph(file: Path, threads: int) -> Graph:
    _check_size(file)
    return Graph(file, threads)


def _checked(path: Path, graph: Graph, manifest: Manifest) -> OpenModel:
    boxes = manifest.task == "localize"
    if graph.outputs != (("probs", "box") if boxes else ("probs",)) or (
        boxes and graph.output_width(1) != 4
    ):
        raise ModelError(
            f"{path}: a model that can {manifest.task} gives probs{' and 4 edges as box' * boxes}; "
            f"this one gives {', '.join(graph.outputs)}"
        )
    if graph.output_width() != len(manifest.labels):
        raise ModelError(
            f"{path}: the graph has {graph.output_width()} classes, the manifest names "
            f"{len(manifest.labels)}"
        )
    wanted = (manifest.input.height, manifest.input.width, manifest.input.channels)
    if graph.input_shape() != wanted:
        raise ModelError(
            f"{path}: the graph takes pictures of {graph.input_shape()}, the manifest says {wanted}"
        )
    return OpenModel(path, graph, manifest)
