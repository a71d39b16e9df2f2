"""Fuzz everything that reads a model's files; the first byte chooses the reader."""

import gzip
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from battery.fuzz.checked_target import check_message
from battery.valid_models import (
    frozen_graph,
    graph_record,
    keras_archive,
    make_good_model,
    set_metadata,
    with_digest,
)
from sharpeye.artefact.archive import write_archive
from sharpeye.artefact.archive_samples import check_samples
from sharpeye.artefact.session import open_model
from sharpeye.compat.endless_graphs import refuse_endless
from sharpeye.compat.graph_reader import find_nodes, read_record
from sharpeye.errors import ModelError, UsageError
from sharpeye.models.frozen_graph_to_onnx import convert
from sharpeye.models.weights.frozen_graph_file import read_frozen_graph
from sharpeye.models.weights.weight_files import read_weight_file

TOKENS = (
    *(b"sharpeye", b"manifest_sha256", b"file_sha256", b'"labels"', b'"format"', b'"input"'),
    *(b"1e400", b"NaN", b"9" * 400, b'"height"', b'"calibration"', b"probs", b"image", b"fitted"),
    *(b"Loop", b"If", b"Scan", b"Conv", b"Resize", b"Tile", b"Expand", b"ConstantOfShape", b"Gemm"),
    *(b"location", b"com.microsoft", b"\x80\x80\x80\x80\x10", b"layer_names", b"weight_names"),
    *(b"class_name", b"config", b"layers", b"PK\x01\x02", b"PK\x05\x06", b"frozen_graph.pb"),
    *(b"Const", b"Placeholder", b"BiasAdd", b"Reshape", b"Conv2D", b"AvgPool", b"_sharpeye"),
)
_FOLDER = Path(tempfile.mkdtemp(prefix="sharpeye-fuzz-"))
_GOOD = make_good_model(_FOLDER)
_RECORD = _GOOD.record
_PIXELS = np.zeros((1, 16, 16, 3), np.uint8)


def _open(file: Path) -> None:
    open_model(file).run(_PIXELS)


def _read_onnx(data: bytes) -> None:
    (_FOLDER / "changed.onnx").write_bytes(data)
    _open(_FOLDER / "changed.onnx")


def _read_onnx_with_right_digest(data: bytes) -> None:
    """What the digest would refuse, the checks of the graph must refuse, too."""
    try:
        model = onnx.load_from_string(data)
        set_metadata(model)
        data = with_digest(model)
    except Exception:
        return  # not a model for the onnx package
    _read_onnx(data)


def _read_manifest(data: bytes) -> None:
    model = onnx.load_from_string(_GOOD.model)
    try:
        set_metadata(model, sharpeye=data.decode())
    except UnicodeDecodeError:
        return  # protobuf's texts are UTF-8
    _read_onnx(with_digest(model))


def _read_run(data: bytes) -> None:
    (_FOLDER / "good" / "bundle.json").write_bytes(data)
    _open(_FOLDER / "good")


def _read_bundle(data: bytes) -> None:
    file = _FOLDER / "changed.sharpeye"
    file.write_bytes(data)
    _open(file)


def _read_samples(data: bytes) -> None:
    file = _FOLDER / "changed.sharpeye"
    members = dict(_GOOD.members) | {"samples/expected.json": data}
    write_archive(file, members, _RECORD)
    check_samples(open_model(file), members)


def _read_weights(data: bytes) -> None:
    if data.startswith(b"\x89HDF"):
        return  # its library is tried in processes of their own, see test_model_files.py
    file = _FOLDER / "weights"
    file.write_bytes(data)
    read_weight_file(file)


def _read_graph(data: bytes) -> None:
    file = _FOLDER / "graph.pb"
    file.write_bytes(data)
    graph = read_frozen_graph(file)
    for check in (refuse_endless, read_record):
        try:
            check(graph, file)
        except ModelError as error:
            check_message(error)
    find_nodes(graph, file, input_layer=None, output_layer=None)


def _convert_graph(data: bytes) -> None:
    file = _FOLDER / "graph.pb"
    file.write_bytes(data)
    convert("mobilenet_0.25_128", str(file), size="32x32", out=str(_FOLDER / "backbone.onnx"))


_READERS: tuple[Callable[[bytes], object], ...] = (
    _read_onnx,
    _read_onnx_with_right_digest,
    _read_manifest,
    _read_run,
    _read_bundle,
    _read_samples,
    _read_weights,
    _read_graph,
    _convert_graph,
)


def seeds() -> list[bytes]:
    manifest = {
        entry.key: entry.value for entry in onnx.load_from_string(_GOOD.model).metadata_props
    }
    graph = frozen_graph(record=graph_record()).SerializeToString()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("mobilenet/frozen_graph.pb")
        info.size = len(graph)
        archive.addfile(info, io.BytesIO(graph))
    files = (
        *((0, _GOOD.model), (1, _GOOD.model), (2, manifest["sharpeye"].encode())),
        *((3, json.dumps(_RECORD).encode()), (4, _GOOD.archive)),
        *(
            (5, _GOOD.members["samples/expected.json"]),
            (6, keras_archive()),
            (7, graph),
            (7, packed.getvalue()),
            (8, graph),
        ),
        *((7, gzip.compress(graph)), (8, packed.getvalue())),
    )
    return [bytes([number]) + content for number, content in files]


def one_input(data: bytes) -> None:
    read = _READERS[data[0] % len(_READERS)] if data else _read_onnx
    try:
        read(data[1:])
    except (ModelError, UsageError) as error:
        check_message(error)
