"""A small valid model in its three forms, from which hostile ones are made."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.artefact.archive import write_archive
from sharpeye.artefact.archive_samples import make_samples
from sharpeye.artefact.file_digest import EMPTY_DIGEST, FILE_DIGEST_KEY, insert_digest
from sharpeye.artefact.manifest import Manifest, labels_text
from sharpeye.artefact.parity import bundle_record
from sharpeye.artefact.session import open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.inference import Backbone
from sharpeye.core.types import InputSpec, Sample
from sharpeye.learn.heads.head import Head

LABELS = ("ash", "birch", "cedar")
SIDE = 16


@dataclass(frozen=True)
class GoodModel:
    """A valid model.

    Attributes:
        model, archive: bytes of the `.onnx` and of the `.sharpeye` file.
        record: content of `bundle.json` without the digests.
        members: of the archive, without `bundle.json`.
        canary: a file that nobody may open.
    """

    model: bytes
    archive: bytes
    record: dict[str, Any]
    members: dict[str, bytes]
    canary: Path


def set_metadata(model: Any, **values: str) -> dict[str, str]:
    """Change entries of a model's metadata, correct the manifest's digest, and return all."""
    from onnx import helper

    metadata = {entry.key: entry.value for entry in model.metadata_props} | values
    metadata["manifest_sha256"] = hashlib.sha256(metadata["sharpeye"].encode()).hexdigest()
    helper.set_model_props(model, metadata)
    return metadata


def with_digest(model: Any) -> bytes:
    """The file of a model with its right digest, as `save_onnx` writes it."""
    for entry in model.metadata_props:
        if entry.key == FILE_DIGEST_KEY:
            entry.value = EMPTY_DIGEST
            return insert_digest(model.SerializeToString())
    return bytes(model.SerializeToString())


def small_model(file: Path, spec: InputSpec) -> Manifest:
    """Write a model of one convolution with random weights."""
    backbone, random = _backbone(file.with_name("backbone.onnx"), spec), np.random.default_rng(1)
    weights = random.normal(0, 0.5, (4, 3)).astype(np.float32)
    head = Head(weights, np.zeros(3, np.float32), 1.0, 1.0, square_root=False)
    manifest = Manifest(LABELS, spec, model="small", calibration={"temperature": 1.0})
    write_model(backbone, head, manifest, file=file)
    backbone.graph_file.unlink()
    return manifest


def _backbone(file: Path, spec: InputSpec) -> Backbone:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Transpose", ["pixels"], ["upright"], perm=[0, 3, 1, 2]),
        node("Cast", ["upright"], ["floats"], to=TensorProto.FLOAT),
        node("Conv", ["floats", "kernel"], ["maps"], kernel_shape=[3, 3]),
        node("Relu", ["maps"], ["positive"]),
        node("GlobalAveragePool", ["positive"], ["pooled"]),
        node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    kernel = random.normal(0, 0.05, (4, spec.channels, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "small",
        [info("pixels", TensorProto.UINT8, ["N", spec.height, spec.width, spec.channels])],
        [info("features", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file
    )
    return Backbone("small", file, "", spec)


def make_good_model(folder: Path) -> GoodModel:
    """Write `good` (a run), `good.onnx`, `good.sharpeye`, `canary.txt` and `picture.png`."""
    run = folder / "good"
    run.mkdir()
    manifest = small_model(run / "model.onnx", InputSpec(SIDE, SIDE))
    model = (run / "model.onnx").read_bytes()
    (folder / "good.onnx").write_bytes(model)
    record = bundle_record(manifest, {"pictures": 1}, run)
    (run / "bundle.json").write_text(json.dumps(record), encoding="utf-8")
    random = np.random.default_rng(2)
    image = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    image.save(folder / "picture.png")
    sample = Sample("ash/a.png", folder / "picture.png", "ash")
    members = {
        "model.onnx": model,
        "labels.txt": labels_text(LABELS).encode(),
        **make_samples(open_model(run), [(sample, image)]),
    }
    del record["files"]
    write_archive(folder / "good.sharpeye", members, record)
    canary = folder / "canary.txt"
    canary.write_text("a secret")
    archive = (folder / "good.sharpeye").read_bytes()
    return GoodModel(model, archive, record, members, canary)
