"""Backbones of two convolutions, made by hand: features without a network that has to be built."""

from pathlib import Path

import numpy as np
import pytest

from sharpeye.core.inference import Backbone, Shape
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import InputSpec

SIDE = 64
FEATURES = 256
MAPS: tuple[Shape, ...] = ((8, 8, 3),)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """256 features of images of 64 x 64 pixels."""
    return write_backbone(tmp_path_factory.mktemp("tiny") / "features.onnx", ())


@pytest.fixture(scope="session")
def tiny_maps_backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The same with a feature map of 8 x 8 x 3."""
    return write_backbone(tmp_path_factory.mktemp("tiny") / "maps.onnx", MAPS)


def write_backbone(file: Path, maps: tuple[Shape, ...]) -> Backbone:
    """uint8[N,64,64,3] to `features` float32[N,256] and, with maps, `maps` float32[N,192]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    kernels = {
        "kernel": random.normal(0, 0.001, (FEATURES, 3, 8, 8)),
        "map_kernel": random.normal(0, 0.1, (3, FEATURES, 1, 1)),
    }
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "kernel"], ["conv"], strides=[8, 8]),
        helper.make_node("Relu", ["conv"], ["cells"]),
        helper.make_node("GlobalAveragePool", ["cells"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Conv", ["cells", "map_kernel"], ["map"]),
        helper.make_node("Flatten", ["map"], ["maps"]),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FEATURES])]
    if maps:
        outputs.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 192]))
    graph = helper.make_graph(
        nodes if maps else nodes[:-2],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        outputs,
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in kernels.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    return Backbone("tiny", file, sha256_file(file), InputSpec(SIDE, SIDE), maps)
