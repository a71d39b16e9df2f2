"""Opens a model: a run directory, a bundle directory or file, or an `.onnx` file of ours.

Reads JSON and ONNX only. Digest, format, labels and the graph, as data, are checked before a
runtime sees it; see docs/model-file.md for all that is refused.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.archive import LABELS, SUFFIX, read_archive
from sharpeye.artefact.manifest import (
    DIGEST_KEY,
    INPUT_KEY,
    LABELS_KEY,
    METADATA_KEY,
    Manifest,
    input_of,
    json_of,
    parse_manifest,
    read_json,
)
from sharpeye.artefact.safe_read import MAX_MODEL_BYTES, read_bounded
from sharpeye.artefact.verify.check_graph import check_graph
from sharpeye.artefact.verify.inferred_value import GraphError, Value
from sharpeye.artefact.verify.onnx_parser import FLOAT, OnnxFile, OnnxFormatError, read_onnx
from sharpeye.core.inference import Graph
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, UsageError

MODEL_FILE, MANIFEST_FILE = "model.onnx", "bundle.json"

# The input of a graph that fits images itself.
_IMAGE = "image"
# What a model may give besides `probs` and, of a localizer, `box`; in this order, behind them.
OPTIONAL_OUTPUTS = ("unknown_score", "heat")


@dataclass(frozen=True)
class OpenModel:
    """A checked model, ready to run."""

    path: Path
    graph: Graph
    manifest: Manifest

    @property
    def takes_any_size(self) -> bool:
        """Whether the graph fits images itself: RGB of any size, as all do since format 2."""
        return not isinstance(self.graph.input_shape()[0], int)

    def run(
        self, pixels: npt.NDArray[np.uint8], wanted: Sequence[str] = ()
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run a batch of images that `fit_image` made: the graph leaves them as they are.

        Args:
            pixels: uint8[N,height,width,channels] as `manifest.input` says.
            wanted: names of outputs, see `Graph.run`.

        Returns:
            by output name: `probs` float32[N,C], and what else the model has; `box` float32[N,4]
            in shares 0..1 of `pixels`.

        Raises:
            ModelError: it cannot answer, or its answer is no probability.
        """
        try:
            found = self.graph.run(self.as_input(pixels), wanted)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime has no common base for its errors
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.path} cannot answer: {reason}") from None
        probs = found.get("probs")
        if probs is not None and not ((probs >= 0) & (probs <= 1.001)).all():
            raise ModelError(f"{self.path} answers with what is no probability")
        if not all(np.isfinite(values).all() for values in found.values()):
            raise ModelError(f"{self.path} answers with what is no number")
        return found

    def as_input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fitted images as the graph takes them: grey as RGB, of which it makes grey again."""
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
    data = read_bounded(path, MAX_MODEL_BYTES)
    file = _parsed(path, data)
    return _checked(path, data, file, _manifest_inside(path, file), threads)


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
    data = read_bounded(model_file, MAX_MODEL_BYTES, folder)
    with ThreadPoolExecutor(1) as pool:  # hashing leaves the interpreter to others
        digest = pool.submit(lambda: hashlib.sha256(data).hexdigest())
        try:
            file = _parsed(model_file, data)
        finally:
            if digest.result() != expected:
                raise ModelError(
                    f"{model_file} is not the file that {MANIFEST_FILE} describes: its SHA-256 "
                    "differs; copy both again, or train again"
                ) from None
    return _checked(folder, data, file, manifest, threads)


def _open_archive(path: Path, threads: int) -> OpenModel:
    found = read_archive(path)
    manifest = parse_manifest(found.record, f"{path}: {MANIFEST_FILE}")
    if found.members[LABELS] != "".join(f"{label}\n" for label in manifest.labels).encode():
        raise ModelError(f"{path}: {LABELS} names other classes than {MANIFEST_FILE}")
    data = found.members[MODEL_FILE]
    return _checked(path, data, _parsed(path, data), manifest, threads)


def _parsed(path: Path, data: bytes) -> OnnxFile:
    try:
        return read_onnx(data)
    except OnnxFormatError as error:
        raise ModelError(f"{path} is no ONNX model of SharpEye's: {error}") from None


def _manifest_inside(path: Path, file: OnnxFile) -> Manifest:
    """The manifest that the graph itself carries."""
    text = file.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} is an ONNX model, but not one that SharpEye wrote")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if file.metadata.get(DIGEST_KEY, digest) != digest:
        raise ModelError(f"{path} holds a manifest that was changed: its SHA-256 differs")
    return parse_manifest(json_of(text, f"{path}: its manifest"), str(path))


def _checked(
    path: Path, data: bytes, file: OnnxFile, manifest: Manifest, threads: int
) -> OpenModel:
    """Open a model of which all that is said is so."""
    image = _check_input(path, file, manifest.input)
    try:
        found = check_graph(file, image)
    except GraphError as error:
        raise ModelError(f"{path} is refused: {error}") from None
    _check_outputs(path, found, manifest)
    inside = _manifest_inside(path, file)
    for what in ("labels", "task", "input"):
        if getattr(inside, what) != getattr(manifest, what):
            raise ModelError(f"{path}: the manifest in the graph has another `{what}`")
    named = file.metadata.get(LABELS_KEY)
    if named is not None and json_of(named, f"{path}: its labels") != list(manifest.labels):
        raise ModelError(f"{path}: the graph's list of labels is not that of its manifest")
    return OpenModel(path, Graph(data, threads, str(path)), manifest)


def _check_outputs(path: Path, found: dict[str, Value], manifest: Manifest) -> None:
    classes = len(manifest.labels)
    shapes = {
        "probs": (1, classes),
        "box": (1, 4),
        "unknown_score": (1,),
        "heat": (1, classes, *(found["heat"].shape[2:] if "heat" in found else ())),
    }
    boxes = manifest.task == "localize"
    needed = ("probs", "box") if boxes else ("probs",)
    more = tuple(name for name in OPTIONAL_OUTPUTS if name in found)
    if tuple(found) != needed + more or (boxes and found["box"].shape[-1:] != (4,)):
        raise ModelError(
            f"{path}: a model that can {manifest.task} gives probs{' and 4 edges as box' * boxes}; "
            f"this one gives {', '.join(found)[:200]}"
        )
    if found["probs"].shape[-1:] != (classes,):
        raise ModelError(
            f"{path}: the graph has {[0, *found['probs'].shape][-1]} classes, the manifest names "
            f"{classes}"
        )
    for name, value in found.items():
        fits = value.shape == shapes[name] and len(value.shape) in (1, 2, 4)
        if not fits or value.kind != FLOAT or not value.batched:
            raise ModelError(
                f"{path}: its output {name} is {list(value.shape)} for one picture; it must be "
                f"float32{list(shapes[name])}"
            )


def _check_input(path: Path, file: OnnxFile, spec: InputSpec) -> tuple[int, int, int]:
    """Height, width and channels of what the graph is given.

    Refuses a graph that takes other images, or that brings them to another size.
    """
    wanted = (spec.height, spec.width, spec.channels)
    port = file.inputs[0] if file.inputs else None
    found = (port.shape or ())[1:] if port else ()
    if port and found == (None, None, 3) and port.name == _IMAGE:
        text = file.metadata.get(INPUT_KEY)
        if text is None:
            raise ModelError(f"{path}: the graph does not say how it fits pictures")
        inside = input_of(json_of(text, f"{path}: what it says of its input"), str(path))
        if inside != spec:
            raise ModelError(
                f"{path}: the graph fits pictures by {inside}, the manifest says {spec}"
            )
        return (spec.height, spec.width, 3)
    if found != wanted:
        raise ModelError(f"{path}: the graph takes pictures of {found}, the manifest says {wanted}")
    return wanted
