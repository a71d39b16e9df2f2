"""Frozen graphs of TensorFlow as weights: features are TensorFlow's, and hostile files refused."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.proto.graph_pb2 import GraphDef

from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.core.inference import Graph
from sharpeye.errors import ModelError, UsageError
from sharpeye.learn.heads.head import Head
from sharpeye.models.backbone import BackboneConfig, load_backbone, weight_loader
from sharpeye.models.frozen_graph_to_onnx import convert
from sharpeye.models.weights.frozen_graph_file import read_frozen_graph

MOBILENET = "mobilenet_0.25_128"
ARCHIVED = {
    "fused": "mobilenet_v1_0.25_128/frozen_graph.pb",
    "plain": "./mobilenet_v1_0.25_128_frozen.pb",
    "folded": "any.pb",
    "inception": "classify_image_graph_def.pb",
}


def archive(file: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of `frozen_graphs.py`."""
    folder = tmp_path_factory.mktemp("frozen")
    program = Path(__file__).with_name("frozen_graphs.py")
    subprocess.run([sys.executable, program, folder], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ARCHIVED))
@pytest.mark.parametrize("packed", [False, True])
def test_features_are_those_of_tensorflow(
    name: str, packed: bool, graphs: Path, tmp_path: Path, cache: Path
) -> None:
    file = graphs / f"{name}.pb"
    if packed:
        others = {"labels.txt": b"a\n", "mobilenet_v1_0.25_128/quantized_graph.pb": b"8 bits"}
        file = archive(tmp_path / "w.tgz", {**others, ARCHIVED[name]: file.read_bytes()})
    model = "inception_v3" if name == "inception" else MOBILENET
    lines: list[str] = []
    backbone = load_backbone(BackboneConfig(model, str(file)), lines.append)
    expected = np.load(graphs / f"{name}.npz")
    features = Graph(backbone.graph_file).run(expected["pixels"])["features"]
    assert np.abs(features - expected["features"]).max() < 1e-5 * np.abs(features).max()
    assert lines[-1].startswith(f"weights from {file.name}: ")


@pytest.fixture(scope="module")
def network(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen graph of a MobileNet of random weights, and its ONNX file beside it."""
    backbone = load_backbone(BackboneConfig(MOBILENET, "random"), root=session_cache)
    file = tmp_path_factory.mktemp("network") / "frozen_graph.pb"
    writer = GraphDefWriter(
        backbone.graph_file, input_name="input", output_name="out", mean=127.5, std=127.5
    )
    head = Head(np.ones((256, 2), np.float32), np.zeros(2, np.float32), 1.0, 0.0, False)
    writer.write(head, file)
    file.with_suffix(".onnx").write_bytes(backbone.graph_file.read_bytes())
    return file


def convert_small(file: Path, model: str = MOBILENET, size: str = "128x128") -> str:
    return convert(model, str(file), size=size, out=str(file.with_suffix(".out.onnx")))


def test_a_written_graph_reads_back(network: Path, tmp_path: Path) -> None:
    packed = archive(tmp_path / "w.tgz", {"a/frozen_graph.pb": network.read_bytes()})
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    expected = Graph(network.with_suffix(".onnx")).run(pixels)["features"]
    for file in (network, packed):
        assert convert_small(file).startswith("[]\nweights from ")
        features = Graph(file.with_suffix(".out.onnx")).run(pixels)["features"]
        assert np.abs(features - expected).max() < 1e-4 * np.abs(expected).max()


def changed(network: Path, tmp_path: Path, change: Any) -> Path:
    graph = GraphDef.FromString(network.read_bytes())
    change({node.name: node for node in graph.node}, graph)
    file = tmp_path / "changed.pb"
    file.write_bytes(graph.SerializeToString())
    return file


def first(nodes: dict[str, Any], op: str) -> Any:
    return next(node for node in nodes.values() if node.op == op)


def _unknown(nodes: dict[str, Any], _: Any) -> None:
    first(nodes, "Relu6").op = "WriteFile"


def _loop(nodes: dict[str, Any], _: Any) -> None:
    conv = first(nodes, "Conv2D")
    conv.input[0] = next(n.name for n in nodes.values() if conv.name in n.input)


def _lost(nodes: dict[str, Any], _: Any) -> None:
    first(nodes, "Conv2D").input[1] = "nowhere"


def _nameless(nodes: dict[str, Any], _: Any) -> None:
    nodes["input"].name = "pixels"


def _huge(nodes: dict[str, Any], _: Any) -> None:
    tensor = nodes[first(nodes, "Conv2D").input[1]].attr["value"].tensor
    tensor.tensor_content = b""
    tensor.float_val[:] = [1.0]
    for dim in tensor.tensor_shape.dim:
        dim.size = 100_000


def _infinite(nodes: dict[str, Any], _: Any) -> None:
    tensor = nodes[first(nodes, "Conv2D").input[1]].attr["value"].tensor
    tensor.tensor_content = b"\0\0\xc0\x7f" * (len(tensor.tensor_content) // 4)


def _short(nodes: dict[str, Any], _: Any) -> None:
    tensor = nodes[first(nodes, "Conv2D").input[1]].attr["value"].tensor
    tensor.tensor_content = tensor.tensor_content[:-4]


def _poolless(nodes: dict[str, Any], _: Any) -> None:
    for node in nodes.values():
        node.op = "Relu" if node.op in ("Mean", "AvgPool") else node.op


def _inputless(nodes: dict[str, Any], _: Any) -> None:
    first(nodes, "Relu6").ClearField("input")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_unknown, r"\(WriteFile\) cannot be read: this operation is not known"),
        (_loop, "it depends on itself"),
        (_lost, "lacks the node nowhere"),
        (_nameless, "has no node `input` or `Mul`"),
        (_huge, "more than 512 MiB"),
        (_infinite, "values that are no numbers"),
        (_short, "numbers for the shape"),
        (_poolless, "has no pooling"),
        (_inputless, "is not a graph of mobilenet_0.25_128, or is damaged: list index out"),
    ],
)
def test_a_graph_that_is_no_such_network_is_refused(
    change: Any, words: str, network: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        convert_small(changed(network, tmp_path, change))
    assert "changed.pb" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_network_and_its_size_must_be_those_of_the_model(network: Path) -> None:
    with pytest.raises(ModelError, match=r"another network than mobilenet_0\.50_128: .* 256, not"):
        convert_small(network, "mobilenet_0.50_128")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"model.ckpt.data-00000-of-00001": b"x"}, "only checkpoints, which are not read"),
        ({"labels.txt": b"x"}, r"holds no frozen graph \(\.pb\): labels\.txt"),
        ({"quantized_graph.pb": b"x"}, r"holds no frozen graph"),
        ({"../../frozen_graph.pb": b"<html>"}, "is not a frozen TensorFlow graph, or is damaged"),
        ({"frozen_graph.pb": bytes(100 * 2**20)}, "unpacks to more than"),
        ({"frozen_graph.pb": b"\x0a\x00" * 600_000}, "it has more than 500,000 fields"),
        ({"frozen_graph.pb": b"\x0a\x90\xa1\x0f" + b"\x1a\x00" * 123_400}, "is damaged"),
        ({"frozen_graph.pb": b"\x0a\xff\xff"}, "is damaged"),
    ],
)
def test_an_archive_is_read_and_never_unpacked(
    members: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    file = archive(tmp_path / "w.tgz", members)
    with pytest.raises(ModelError, match=words):
        read_frozen_graph(file)
    assert list(tmp_path.iterdir()) == [file]


def test_links_in_an_archive_are_not_followed(network: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.tgz"
    with tarfile.open(file, "w:gz") as tar:
        info = tarfile.TarInfo("frozen_graph.pb")
        info.type, info.linkname = tarfile.SYMTYPE, str(network)
        tar.addfile(info)
    with pytest.raises(ModelError, match="holds no frozen graph"):
        read_frozen_graph(file)


@pytest.mark.parametrize("kept", [0, 10, -20])
def test_a_damaged_file_is_refused(kept: int, network: Path, tmp_path: Path) -> None:
    packed = archive(tmp_path / "w.tgz", {"frozen_graph.pb": network.read_bytes()})
    for file, data in ((packed, packed.read_bytes()), (tmp_path / "w.pb", network.read_bytes())):
        file.write_bytes(data[:kept])
        with pytest.raises(ModelError, match=f"{file.name}"):
            convert_small(file)


def test_boxes_and_fine_tuning_need_weights_of_keras(network: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match="fine-tuning needs weights of Keras"):
        weight_loader(BackboneConfig(MOBILENET, str(network)))
    with pytest.raises(UsageError, match="a box head needs weights of Keras"):
        load_backbone(BackboneConfig(MOBILENET, str(network), maps=True))
