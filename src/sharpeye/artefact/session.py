"""Open a model: a run directory, a `.sharpeye` bundle, or an `.onnx` file that SharpEye wrote.

Opening reads JSON and ONNX as data. The digest, the manifest and the graph are checked before a
runtime gets the model; docs/model-file.md lists every reason for refusal.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sharpeye.artefact.archive import LABELS_FILE, SUFFIX, read_archive
from sharpeye.artefact.file_digest import FileDigests, compute_digests
from sharpeye.artefact.manifest import (
    INPUT_KEY,
    LABELS_KEY,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    labels_text,
    parse_embedded_manifest,
    parse_input_spec,
    parse_json_text,
    parse_manifest,
    read_json_file,
    requires_digest,
)
from sharpeye.artefact.safe_read import MAX_MODEL_BYTES, read_bounded
from sharpeye.artefact.verify.check_graph import check_graph
from sharpeye.artefact.verify.graph_inference import GraphError, InferredValue
from sharpeye.artefact.verify.onnx_parser import FLOAT, ParsedModel, parse_onnx
from sharpeye.artefact.verify.protobuf_reader import OnnxFormatError
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.inference import Graph
from sharpeye.core.paths import user_path
from sharpeye.errors import ModelError, UsageError, one_line

# Outputs that a model may have after `probs` and `box`, in this order.
OPTIONAL_OUTPUTS = ("box_score", "unknown_score", "heat")
# Rounding may raise a probability above 1 by so much.
_MAX_PROBABILITY = 1.001


@dataclass(frozen=True)
class OpenModel:
    """A checked model, ready to run; `sha256` is that of its graph."""

    path: Path
    graph: Graph
    manifest: Manifest
    sha256: str

    @property
    def takes_any_size(self) -> bool:
        """Whether the graph fits RGB images of any size itself, as all graphs do since format 2."""
        return not isinstance(self.graph.input_shape()[0], int)

    def run(self, pixels: Pixels, outputs: Sequence[str] = ()) -> dict[str, Floats]:
        """Run a batch of images from `fit_image`, which the graph does not resize again.

        Args:
            pixels: uint8[N,height,width,channels] as `manifest.input` says.
            outputs: names; by default all but `heat`.

        Returns:
            by name: `probs` float32[N,C], `box` float32[N,4] in shares 0..1 of `pixels`, ...

        Raises:
            ModelError: the runtime fails, `probs` is outside [0, 1], or an output is not finite.
        """
        try:
            values = self.graph.run(self.as_input(pixels), outputs)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime has no common base for its errors
            raise ModelError(f"{self.path} cannot answer: {one_line(error)}") from None
        probs = values.get("probs")
        if probs is not None and not ((probs >= 0) & (probs <= _MAX_PROBABILITY)).all():
            raise ModelError(f"{self.path} is damaged: its output `probs` is outside [0, 1]")
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise ModelError(f"{self.path} is damaged: its output `{name}` is not finite")
        return values

    def as_input(self, pixels: Pixels) -> Pixels:
        """Fitted images as the graph's input: grey ones as RGB, which it turns grey again."""
        if self.takes_any_size and pixels.shape[-1] == 1:
            return np.repeat(pixels, 3, axis=-1)
        return pixels


def open_model(path: Path | str, threads: int = 1) -> OpenModel:
    """Check manifest against graph, then open.

    Args:
        path: a run directory, a `.sharpeye` bundle, or an `.onnx` file that SharpEye wrote.
        threads: within one run of the graph.

    Raises:
        UsageError: the path does not exist.
        ModelError: damaged, changed, not written by SharpEye, or in a newer format.
    """
    path = user_path(path)
    files = _read_files(path)
    with ThreadPoolExecutor(1) as pool:
        digests = pool.submit(compute_digests, files.data)  # hashing frees the interpreter
        parsed = _parse_graph(files, digests)
        embedded = parse_embedded_manifest(parsed.metadata, str(path))
        manifest = files.manifest or embedded
        image_shape = _check_input(path, parsed, manifest)
        try:
            outputs = check_graph(parsed, image_shape)
        except GraphError as error:
            raise ModelError(f"{path} is refused: {error}") from None
        _check_outputs(path, outputs, manifest)
        _check_agreement(path, parsed, manifest, embedded=embedded)
        if requires_digest(parsed.metadata) and not digests.result().is_intact:
            raise ModelError(
                f"{path} is damaged or was changed: its SHA-256 differs; copy it again, or train "
                "again"
            )
    sha256 = digests.result().sha256
    return OpenModel(path, Graph(files.data, threads, str(path)), manifest, sha256)


class _ModelFiles(NamedTuple):
    """The graph's file and bytes, and the content of `bundle.json` if there is one."""

    file: Path
    data: bytes
    manifest: Manifest | None = None
    sha256: str | None = None


def _read_files(path: Path) -> _ModelFiles:
    if not path.exists():
        raise UsageError(
            f"no such model: {path}; give a run directory, or an .onnx file that SharpEye wrote"
        )
    if path.is_dir():
        return _read_directory(path)
    if path.suffix == SUFFIX:
        archive = read_archive(path)
        manifest = parse_manifest(archive.record, f"{path}: {MANIFEST_FILE}")
        if archive.members[LABELS_FILE] != labels_text(manifest.labels).encode():
            raise ModelError(f"{path}: {LABELS_FILE} names other classes than {MANIFEST_FILE}")
        return _ModelFiles(path, archive.members[MODEL_FILE], manifest)
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is no model of SharpEye's; give a run directory, or its {MODEL_FILE}"
        )
    return _ModelFiles(path, read_bounded(path, MAX_MODEL_BYTES))


def _read_directory(folder: Path) -> _ModelFiles:
    manifest_file, model_file = folder / MANIFEST_FILE, folder / MODEL_FILE
    if not manifest_file.is_file():
        raise ModelError(
            f"{folder} holds no finished model: {MANIFEST_FILE} is missing; "
            "give the folder that `sharpeye train` printed"
        )
    record = read_json_file(manifest_file)
    manifest = parse_manifest(record, str(manifest_file))
    digests = record.get("files")
    sha256 = digests.get(MODEL_FILE) if isinstance(digests, dict) else None
    if not model_file.is_file():
        raise ModelError(f"{model_file} is missing")
    data = read_bounded(model_file, MAX_MODEL_BYTES, folder)
    return _ModelFiles(model_file, data, manifest, str(sha256))


def _parse_graph(files: _ModelFiles, digests: "Future[FileDigests]") -> ParsedModel:
    try:
        return parse_onnx(files.data)
    except OnnxFormatError as error:
        raise ModelError(f"{files.file} is no ONNX model of SharpEye's: {error}") from None
    finally:
        if files.sha256 not in (None, digests.result().sha256):
            raise ModelError(
                f"{files.file} is not the file that {MANIFEST_FILE} describes: its SHA-256 "
                "differs; copy both again, or train again"
            ) from None


def _check_input(path: Path, model: ParsedModel, manifest: Manifest) -> tuple[int, int, int]:
    """Height, width and channels of the graph's images, which must agree with the manifest."""
    spec = manifest.input
    expected = (spec.height, spec.width, spec.channels)
    image = model.inputs[0] if model.inputs else None
    shape = (image.shape or ())[1:] if image else ()
    if image and shape == (None, None, 3) and image.name == "image":
        text = model.metadata.get(INPUT_KEY)
        if text is None:
            raise ModelError(f"{path}: the graph does not say how it fits images")
        raw = parse_json_text(text, f"{path}: what it says of its input")
        embedded = parse_input_spec(raw, str(path))
        if embedded != spec:
            raise ModelError(
                f"{path}: the graph fits images by {embedded}, the manifest says {spec}"
            )
        return (spec.height, spec.width, 3)
    if shape != expected:
        raise ModelError(f"{path}: the graph takes images of {shape}, the manifest says {expected}")
    return expected


def _check_outputs(path: Path, outputs: dict[str, InferredValue], manifest: Manifest) -> None:
    """Require the outputs that the manifest's task and classes imply."""
    classes, localizes = len(manifest.labels), manifest.task == "localize"
    required = ("probs", "box") if localizes else ("probs",)
    optional = tuple(name for name in OPTIONAL_OUTPUTS if name in outputs)
    if tuple(outputs) != required + optional or (localizes and outputs["box"].shape[-1:] != (4,)):
        raise ModelError(
            f"{path}: a model that can {manifest.task} gives "
            f"probs{' and 4 edges as box' * localizes}; this one gives {', '.join(outputs)[:200]}"
        )
    if outputs["probs"].shape[-1:] != (classes,):
        raise ModelError(
            f"{path}: the graph has {[0, *outputs['probs'].shape][-1]} classes, the manifest names "
            f"{classes}"
        )
    expected = {
        "probs": (1, classes),
        "box": (1, 4),
        "box_score": (1,),
        "unknown_score": (1,),
        "heat": (1, classes, *(outputs["heat"].shape[2:] if "heat" in outputs else ())),
    }
    for name, value in outputs.items():
        fits = value.shape == expected[name] and len(value.shape) in (1, 2, 4)
        if not fits or value.data_type != FLOAT or not value.batched:
            raise ModelError(
                f"{path}: its output {name} is {list(value.shape)} for one image; it must be "
                f"float32{list(expected[name])}"
            )


def _check_agreement(
    path: Path, model: ParsedModel, manifest: Manifest, *, embedded: Manifest
) -> None:
    """Require that `bundle.json`, the embedded manifest and the graph's labels agree."""
    for field in fields(Manifest):
        if getattr(embedded, field.name) != getattr(manifest, field.name):
            raise ModelError(f"{path}: the manifest in the graph has another `{field.name}`")
    text = model.metadata.get(LABELS_KEY)
    if text is not None and parse_json_text(text, f"{path}: its labels") != list(manifest.labels):
        raise ModelError(f"{path}: the graph's list of labels is not that of its manifest")
