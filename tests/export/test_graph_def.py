"""Frozen TensorFlow graphs: TensorFlow's outputs equal ONNX Runtime's, by operation and in all."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from tensorboard.compat.proto.graph_pb2 import GraphDef

from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.write_model import write_model
from sharpeye.core.inference import Backbone, Graph
from sharpeye.errors import MissingExtra, ModelError, SharpEyeError, UsageError
from sharpeye.learn.heads.head import Head

INPUT, OUTPUT = "input", "final_result"
HEIGHT, WIDTH = 9, 8  # an odd and an even side: SAME pads them differently
CLASSIC = {
    *("Placeholder", "Const", "Identity", "Reshape", "Pad", "ConcatV2", "Mean"),
    *("Conv2D", "DepthwiseConv2dNative", "BiasAdd", "Relu", "Relu6", "MaxPool", "AvgPool"),
    *("Add", "Mul", "MatMul", "Sqrt", "Softmax"),
}
LABELS = tuple(f"bird {number}" for number in range(5))

# TensorFlow runs in a process of its own, which takes all graphs at once: importing takes seconds.
RUN_GRAPHS = """
import sys
from pathlib import Path
import numpy as np
import tensorflow.compat.v1 as tf

for file in sorted(Path(sys.argv[1]).glob("*.pb")):
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(file.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def)  # under `import/`, as label_image.py does
    outputs = ["import/features:0", "import/final_result:0"]
    with tf.Session(graph=graph) as session:
        images = np.load(file.with_suffix(".npy"))
        features, probs = session.run(outputs, {"import/input:0": images})
    np.savez(file.with_suffix(".npz"), features=features, probs=probs)
"""

# --- networks ------------------------------------------------------------------------------------

_random = np.random.default_rng(0)


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return _random.normal(0, 0.5, shape).astype(np.float32)


CONSTANTS: dict[str, npt.NDArray[Any]] = {
    "k3": normal(4, 3, 3, 3),
    "k1x3": normal(4, 3, 1, 3),
    "k1": normal(4, 3, 1, 1),
    "k_large": normal(48, 3, 3, 3),
    "deep1": normal(3, 1, 3, 3),
    "deep2": normal(6, 1, 3, 3),
    "k_two": normal(4, 2, 3, 3),
    "b4": normal(4),
    "b6": normal(6),
    "scalar": np.float32(1.7),
    "channels": normal(1, 3, 1, 1),
    "channels_3d": normal(3, 1, 1),
    "everywhere": normal(3, HEIGHT, WIDTH),
    "nhwc_scale": normal(3),
    "zero": np.float32(0),
    "six": np.float32(6),
    "one": np.float32(1),
    "tall": normal(2, 3, 1, 1),
    "pad_uneven": np.int64([0, 0, 1, 0, 0, 0, 2, 3]),
    "hw": np.int64([2, 3]),
    "to_vector": np.int64([-1, 3]),
    "w35": normal(3, 5),
    "w53": normal(5, 3),
    "b5": normal(5),
}

# Each network computes y from x, float32[N,3,9,8] -2..2. The number is that of its Pad nodes.
NETWORKS = {
    "conv_valid": ("y = Conv (x, k3)", 0),
    "conv_one": ("y = Conv (x, k1, b4)", 0),
    "conv_same": ("y = Conv <pads=[1,1,1,1]> (x, k3, b4)", 0),
    "conv_same_stride": ("y = Conv <pads=[1,0,1,1], strides=[2,2]> (x, k3, b4)", 0),
    "conv_explicit": ("y = Conv <pads=[1,1,1,1], strides=[2,2]> (x, k3)", 1),
    "conv_lopsided": ("y = Conv <pads=[2,0,1,3]> (x, k3)", 1),
    "conv_flat": ("y = Conv <pads=[0,1,0,1], strides=[1,2]> (x, k1x3)", 1),
    "conv_auto": ('y = Conv <auto_pad="SAME_UPPER", strides=[2,2]> (x, k3)', 0),
    "conv_int8": ("y = Conv <pads=[1,1,1,1]> (x, k_large)", 0),
    "deep_same": ("y = Conv <group=3, pads=[1,1,1,1]> (x, deep1)", 0),
    "deep_twice": ("y = Conv <group=3, pads=[1,0,1,1], strides=[2,2]> (x, deep2, b6)", 0),
    "deep_explicit": ("y = Conv <group=3, pads=[0,0,2,1]> (x, deep2)", 1),
    "max_valid": ("y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (x)", 0),
    "max_same": ("y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,0,1,1]> (x)", 0),
    "max_exact": ("y = MaxPool <kernel_shape=[3,2], strides=[3,2], ceil_mode=1> (x)", 0),
    "average_valid": ("y = AveragePool <kernel_shape=[2,3]> (x)", 0),
    "average_same": ("y = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", 0),
    "average_zeros": (
        "y = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1> (x)",
        1,
    ),
    "pad": ("y = Pad (x, pad_uneven, zero)", 1),
    "pad_conv": ("p = Pad (x, pad_uneven)  y = Conv <strides=[2,2]> (p, k3)", 1),
    "relu": ("y = Relu (x)", 0),
    "relu6": ("l = Conv (x, k3)  s = Mul (l, scalar)  y = Clip (s, zero, six)", 0),
    "clip_open": ("y = Clip (x, zero)", 0),
    "affine_more": ("m = Mul (x, channels)  s = Add (channels_3d, m)  y = Sub (s, scalar)", 0),
    "affine_late": (
        "r = Relu (x)  m = Mul (r, channels)  s = Sub (m, channels_3d)  y = Add (scalar, s)",
        0,
    ),
    "affine_everywhere": ("y = Add (x, everywhere)", 0),
    "input_twice": ("a = Relu (x)  b = MaxPool <kernel_shape=[1,1]> (x)  y = Add (a, b)", 0),
    "tensors": ("r = Relu (x)  s = Add (r, x)  y = Mul (s, r)", 0),
    "squeezed": ("g = GlobalAveragePool (x)  r = Relu (g)  y = Mul (x, r)", 0),
    "concat": ("a = Conv (x, k3)  b = Relu (a)  y = Concat <axis=1> (a, b, a)", 0),
    "constant": ("c = Identity (k3)  a = Identity (x)  y = Conv (a, c)", 0),
    "upright": (
        "a = Transpose <perm=[0,2,3,1]> (x)  b = Mul (a, nhwc_scale)  r = Relu (b) "
        "j = Concat <axis=-1> (r, b)  y = Transpose <perm=[0,3,1,2]> (j)",
        0,
    ),
}

# Networks that compute `features` themselves.
ENDS = {
    "flatten": "g = GlobalAveragePool (x)  features = Flatten (g)",
    "squeeze": "g = GlobalAveragePool (x)  features = Squeeze (g, hw)",
    "reshape": "g = GlobalAveragePool (x)  f = Reshape (g, to_vector) "
    "features = Reshape (f, to_vector)",
    "mean": "features = ReduceMean <axes=[-1,2], keepdims=0> (x)",
    "mean_kept": "m = ReduceMean <axes=[2,3]> (x)  features = Flatten (m)",
    "mean_upright": "a = Transpose <perm=[0,2,3,1]> (x) "
    "features = ReduceMean <axes=[1,2], keepdims=0> (a)",
    "joined": "m = ReduceMean <axes=[2,3], keepdims=0> (x)  r = Relu (m) "
    "features = Concat <axis=-1> (m, r)",
    "gemm": "m = ReduceMean <axes=[2,3], keepdims=0> (x) "
    "features = Gemm <transB=1, alpha=0.5, beta=2.0> (m, w53, b5)",
    "matmul": "m = ReduceMean <axes=[2,3], keepdims=0> (x)  f = MatMul (m, w35) "
    "features = Add (f, b5)",
}
FLAT = "  t = Transpose <perm=[0,2,3,1]> (y)  features = Flatten (t)"
BODIES = {name: body + FLAT for name, (body, _) in NETWORKS.items()} | ENDS

START = (
    "upright = Transpose <perm=[0,3,1,2]> (image)  float = Cast <to=1> (upright) "
    "scaled = Mul (float, per_pixel)  x = Sub (scaled, two)  "
)


def write_network(file: Path, body: str, image: str = f"uint8[N,{HEIGHT},{WIDTH},3]") -> Path:
    """Write a network in ONNX' text format, which begins at `x`, with the constants it names."""
    if not body.startswith("whole "):
        body = START + body
    head = '<ir_version: 9, opset_import: ["" : 17]>'
    text = (
        f"{head} net ({image} image) => (float[N,D] features) {{ {body.removeprefix('whole ')} }}"
    )
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    start = {"per_pixel": np.float32(1 / 64), "two": np.float32(2)}
    for name, value in (CONSTANTS | start).items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, file)
    return file


def random_head(features: int, *, root: bool = False) -> Head:
    random = np.random.default_rng(1)
    spread = 0.5 / features**0.5
    weights = random.normal(0, spread, (features, len(LABELS))).astype(np.float32)
    bias = random.normal(size=len(LABELS)).astype(np.float32)
    return Head(weights, bias, temperature=1.0, l2=1.0, square_root=root)


def random_pixels(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def write(
    network: Path, file: Path, description: Any = None, *, root: bool = False, **options: Any
) -> Path:
    """Write a graph and, beside it, normalised images for it."""
    names = {"input_name": INPUT, "output_name": OUTPUT}
    writer = GraphDefWriter(network, **(names | options))
    writer.write(random_head(writer.features, root=root), file, description)
    pixels = random_pixels(*writer.input_shape[:2]).astype(np.float32)
    mean, std = (options.get(key, 128.0) for key in ("mean", "std"))
    np.save(file.with_suffix(".npy"), (pixels - np.float32(mean)) / np.float32(std))
    return file


def nodes_of(file: Path) -> dict[str, Any]:
    graph = GraphDef.FromString(file.read_bytes())
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    return {node.name: node for node in graph.node}


def ops_of(file: Path) -> Counter[str]:
    return Counter(node.op for node in nodes_of(file).values())


# --- the same outputs as ONNX Runtime ------------------------------------------------------------

BACKBONES: dict[str, dict[str, Any]] = {
    "backbone": {},
    "backbone_root": {"root": True},
    "backbone_scale": {"mean": 0.0, "std": 255.0},
    "backbone_int8": {"int8_weights": True, "root": True},
}


@pytest.fixture(scope="module")
def folder(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each graph `.pb` and `.npy` (images)."""
    folder = tmp_path_factory.mktemp("graphs")
    tensorflow = sys.modules.get("tensorflow")  # Another test of this process may have loaded it.
    for name, body in BODIES.items():
        network = write_network(folder / f"{name}.onnx", body)
        write(network, folder / f"{name}.pb", int8_weights=name.endswith("int8"))
    for name, options in BACKBONES.items():
        write(backbone.graph_file, folder / f"{name}.pb", {"labels": LABELS}, **options)
    assert sys.modules.get("tensorflow") is tensorflow
    return folder


@pytest.fixture(scope="module")
def outputs(folder: Path) -> Path:
    """The same folder, with TensorFlow's outputs of each graph as `.npz`."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_GRAPHS, folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_tensorflows_outputs_equal_onnx_runtimes(name: str, outputs: Path) -> None:
    expected = Graph(outputs / f"{name}.onnx").run(random_pixels(HEIGHT, WIDTH))["features"]
    actual = np.load(outputs / f"{name}.npz")
    tolerance = 0.1 if name.endswith("int8") else 1e-4
    np.testing.assert_allclose(actual["features"], expected, rtol=1e-4, atol=tolerance)
    head = random_head(expected.shape[1])
    if tolerance < 1e-3:
        np.testing.assert_allclose(actual["probs"], head.probabilities(expected), atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_pads_become_the_padding_same_where_possible(name: str, folder: Path) -> None:
    assert ops_of(folder / f"{name}.pb")["Pad"] == NETWORKS[name][1]


def test_all_operations_are_classic_ones(folder: Path) -> None:
    operations = set().union(*(ops_of(folder / f"{n}.pb") for n in BODIES if "int8" not in n))
    assert operations | {"Sqrt"} == CLASSIC
    assert set(ops_of(folder / "backbone_int8.pb")) <= CLASSIC | {"Cast"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_registered_backbone_with_a_head(
    name: str, outputs: Path, backbone: Backbone, tmp_path: Path
) -> None:
    size = backbone.input
    width = Graph(backbone.graph_file).output_width()
    head = random_head(width, root=BACKBONES[name].get("root", False))
    write_model(backbone, head, Manifest(LABELS, size), file=tmp_path / "model.onnx")
    expected = Graph(tmp_path / "model.onnx").run(random_pixels(size.height, size.width))["probs"]
    probs = np.load(outputs / f"{name}.npz")["probs"]
    assert probs.min() > 0 and probs.max() < 0.99  # otherwise equality would mean little
    np.testing.assert_allclose(probs, expected, atol=0.05 if "int8" in name else 1e-4)


def test_int8_weights_are_a_fourth_of_the_size(folder: Path) -> None:
    float_size = (folder / "backbone_root.pb").stat().st_size
    assert (folder / "backbone_int8.pb").stat().st_size < 0.28 * float_size
    nodes = nodes_of(folder / "conv_int8.pb")
    assert nodes["y"].input[1] == "y/kernel"
    assert list(nodes["y/kernel"].input) == ["y/kernel/float", "y/kernel/scale"]
    stored, scale = (
        np.frombuffer(nodes[f"y/kernel/{name}"].attr["value"].tensor.tensor_content, kind)
        for name, kind in (("int8", np.int8), ("scale", "<f4"))
    )
    kernel = CONSTANTS["k_large"].transpose(2, 3, 1, 0)  # O,I,H,W -> H,W,I,O
    gap = np.abs(stored.reshape(kernel.shape) * scale - kernel)
    assert (gap <= 0.501 * scale).all()
    small = nodes_of(folder / "conv_same.pb")["y/kernel"]
    assert small.op == "Const"


@pytest.mark.parametrize(("mean", "std", "steps"), [(128, 64, 0), (128, 128, 1), (0, 64, 1)])
def test_normalisation_is_omitted_where_it_would_change_nothing(
    mean: float, std: float, steps: int, tmp_path: Path
) -> None:
    # pixels / 64 - 2 = (pixels - 128) / 64
    network = write_network(tmp_path / "a.onnx", ENDS["mean"])
    file = write(network, tmp_path / "a.pb", mean=mean, std=std)
    names = [name for name in nodes_of(file) if name in ("normalize/mul", "normalize/add")]
    assert len(names) == steps


def test_a_float_input_takes_the_same_pixels(tmp_path: Path) -> None:
    floats = f"float[N,{HEIGHT},{WIDTH},3]"
    network = write_network(tmp_path / "f.onnx", ENDS["mean"], image=floats)
    from_bytes = write_network(tmp_path / "b.onnx", ENDS["mean"])
    pair = [write(file, file.with_suffix(".pb")).read_bytes() for file in (network, from_bytes)]
    assert pair[0] == pair[1]


# --- names and the description -------------------------------------------------------------------


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "net.onnx", ENDS["mean"])


def test_the_head_has_the_names_of_retrain_py(folder: Path) -> None:
    nodes = nodes_of(folder / "backbone_root.pb")
    scope = "final_training_ops"
    assert nodes[INPUT].op == "Placeholder"
    assert [dim.size for dim in nodes[INPUT].attr["shape"].shape.dim] == [-1, 64, 64, 3]
    chain = {
        OUTPUT: ("Softmax", [f"{scope}/Wx_plus_b/add"]),
        f"{scope}/Wx_plus_b/add": (
            "Add",
            [f"{scope}/Wx_plus_b/MatMul", f"{scope}/biases/final_biases"],
        ),
        f"{scope}/Wx_plus_b/MatMul": (
            "MatMul",
            [f"{scope}/Sqrt", f"{scope}/weights/final_weights"],
        ),
        f"{scope}/Sqrt": ("Sqrt", [f"{scope}/smoothed"]),
        f"{scope}/smoothed": ("Add", ["features", f"{scope}/smooth"]),
    }
    for name, (op, inputs) in chain.items():
        assert (nodes[name].op, list(nodes[name].input)) == (op, inputs)
    assert f"{scope}/Sqrt" not in nodes_of(folder / "backbone.pb")


def test_nodes_of_the_network_keep_their_names_unless_reserved(tmp_path: Path) -> None:
    body = "a = Relu (x)  b = Relu (a)  features = ReduceMean <axes=[2,3], keepdims=0> (b)"
    network = write_network(tmp_path / "a.onnx", body)
    model = onnx.load(network)
    for node, name in zip(model.graph.node[-3:], ("/a b/ü:0", "final_result", ""), strict=True):
        node.name = name
    onnx.save(model, network)
    nodes = nodes_of(write(network, tmp_path / "a.pb"))
    assert [name for name in nodes if nodes[name].op == "Relu"] == ["a_b/__0", "final_result_1"]
    assert nodes["features_1"].op == "Mean"
    assert nodes["features"].input == ["features_1"]


@pytest.mark.parametrize("name", ["", "input:0", "_input", "a b", "/a", "a/", "ü", "a\n", "-"])
def test_a_name_that_tensorflow_refuses_is_refused(name: str, network: Path) -> None:
    with pytest.raises(UsageError, match="`input_name` must be letters"):
        GraphDefWriter(network, input_name=name, output_name="out")
    with pytest.raises(UsageError, match="`output_name` must be letters"):
        GraphDefWriter(network, input_name="in", output_name=name)


@pytest.mark.parametrize(
    ("input_name", "output_name"),
    [
        ("features", "out"),
        ("final_training_ops/Wx_plus_b/add", "out"),
        ("in", "final_training_ops/weights/final_weights"),
        ("same", "same"),
    ],
)
def test_a_reserved_name_is_refused_and_all_are_listed(
    input_name: str, output_name: str, network: Path
) -> None:
    with pytest.raises(UsageError, match=r"is taken.*features.*final_weights.*final_biases"):
        GraphDefWriter(network, input_name=input_name, output_name=output_name)


@pytest.mark.parametrize("scale", [{"std": 0.0}, {"std": -1.0}, {"mean": float("nan")}])
def test_an_impossible_scale_is_refused(scale: dict[str, float], network: Path) -> None:
    with pytest.raises(UsageError, match="`std` above 0"):
        GraphDefWriter(network, input_name=INPUT, output_name=OUTPUT, **scale)


def test_the_description_is_an_attribute_of_the_output(network: Path, tmp_path: Path) -> None:
    description = {"labels": ["Ærfugl", "ash"], "input": {"mean": 128.0, "name": INPUT}}
    output = nodes_of(write(network, tmp_path / "a.pb", description))[OUTPUT]
    assert json.loads(output.attr["_sharpeye"].s) == description
    assert "_sharpeye" not in nodes_of(write(network, tmp_path / "b.pb"))[OUTPUT].attr


def test_writing_again_gives_the_same_bytes(network: Path, tmp_path: Path) -> None:
    files = [write(network, tmp_path / name, {"b": 1, "a": 2}) for name in ("a.pb", "b.pb")]
    assert files[0].read_bytes() == files[1].read_bytes()


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Softplus (x)", "Softplus .y. .* known are Cast, Identity, Transpose"),
        ("y = Conv <dilations=[2,2]> (x, k3)", "Conv 'y' .* dilated"),
        ("a = Conv (x, k1)  y = Conv <group=2> (a, k_two)", "2 groups"),
        ("y = Conv <group=3, strides=[1,2]> (x, deep1)", "strides"),
        ('y = Conv <auto_pad="SAME_LOWER"> (x, k3)', "auto_pad is SAME_LOWER"),
        ("k = Relu (k3)  y = Conv (x, k)", "Relu 'k' .* does not come from the image"),
        ("y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x)", "padding SAME"),
        ("y = MaxPool <kernel_shape=[3,3], strides=[3,3], ceil_mode=1> (x)", "rounded up"),
        ("y, i = MaxPool <kernel_shape=[3,3]> (x)", "more than one output"),
        ("y = Transpose <perm=[0,1,3,2]> (x)", "NCHW in the order"),
        ("y = Clip (x, one, six)", r"its bounds are \(1\.0, 6\.0\)"),
        ("y = Sub (scalar, x)", "only constants are subtracted"),
        ("a = Relu (x)  y = Sub (x, a)", "only constants are subtracted"),
        ("y = Add (x, tall)", "makes the tensor larger"),
        ("y = ReduceMean <axes=[1,2]> (x)", "only the mean over height and width"),
        ("y = ReduceMean (x)", "only the mean over height and width"),
        ("y = Concat <axis=2> (x, x)", "only channels are joined"),
        ("features = Flatten (x)", r"NCHW \[1, 3, 9, 8\] to \[1, 216\]"),
        ('y = Pad <mode="edge"> (x, pad_uneven)', "only zeros"),
        ("y = Pad (x, pad_uneven, one)", "only zeros"),
        ("d = Cast <to=11> (x)  y = Cast <to=1> (d)", "only casts to float32"),
        ("features = Identity (x)", r"does not end in features \[N,D\]"),
        ("y = Conv (x, deep1)", "is not made for 3 channels"),
        ("m = ReduceMean <keepdims=0> (x)  features = MatMul (m, w53)", "not a whole network"),
    ],
)
def test_a_node_without_a_rule_is_refused_by_name(body: str, words: str, tmp_path: Path) -> None:
    network = write_network(tmp_path / "a.onnx", body if "features" in body else body + FLAT)
    with pytest.raises(ModelError, match=words):
        GraphDefWriter(network, input_name=INPUT, output_name=OUTPUT)


def test_a_file_that_is_no_backbone_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 an image")
    flat = "whole f = Cast <to=1> (image)  features = Identity (f)"
    vector = write_network(tmp_path / "vector.onnx", flat, image="uint8[N,3]")
    open_size = write_network(tmp_path / "open.onnx", ENDS["mean"], image="uint8[N,H,W,3]")
    for file, words in (
        (tmp_path / "none.onnx", r"cannot open .*none\.onnx"),
        (damaged, "is not an ONNX model"),
        (vector, "does not take images"),
        (open_size, "of one size"),
    ):
        with pytest.raises(ModelError, match=words):
            GraphDefWriter(file, input_name=INPUT, output_name=OUTPUT)


def test_a_head_for_other_features_is_refused(network: Path, tmp_path: Path) -> None:
    writer = GraphDefWriter(network, input_name=INPUT, output_name=OUTPUT)
    with pytest.raises(ModelError, match="the head takes 7 features, the backbone gives 3"):
        writer.write(random_head(7), tmp_path / "a.pb")
    assert not (tmp_path / "a.pb").exists()


@pytest.mark.parametrize("module", ["onnx", "tensorboard.compat.proto.graph_pb2"])
def test_a_missing_extra_is_named(
    module: str, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'sharpeye\[train\]'") as caught:
        GraphDefWriter(network, input_name=INPUT, output_name=OUTPUT)
    assert isinstance(caught.value, SharpEyeError)
