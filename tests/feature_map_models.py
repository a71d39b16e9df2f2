"""Backbones by hand, and models on them whose feature maps are known: one map a colour."""

from pathlib import Path
from typing import Any

import numpy as np

from localizer import LABELS
from sharpeye.artefact.heat_nodes import add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.write_model import write_model
from sharpeye.core.inference import Backbone
from sharpeye.core.types import InputSpec, ResizeMode
from sharpeye.learn.heads.head import Head

SIDE = 32
CHANNELS = 5  # of the random maps


def write_backbone(file: Path, pooling: str, side: int = SIDE, random: bool = True) -> Backbone:
    """A backbone of one convolution with ReLU, 4 x 4 pixels a cell, and then some pooling.

    Args:
        pooling: `mean`, `reduce`, `largest`, `window` (MaxPool over all), `levels` (a second,
            coarser level, times 4), `dense` or `flat` (not pooled).
        random: whether the kernels are; else there is a map of each colour's brightness, 0..1.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    channels = CHANNELS if random else 3
    kernel = draw.normal(0, 0.02, (channels, 3, 4, 4)) if random else _averages()
    constants: dict[str, Any] = {"kernel": kernel.astype(np.float32)}
    nodes: list[Any] = []

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(op, inputs, [output], output, **attributes))

    node("Transpose", ["pixels"], "upright", perm=[0, 3, 1, 2])
    node("Cast", ["upright"], "floats", to=TensorProto.FLOAT)
    node("Conv", ["floats", "kernel"], "conv", strides=[4, 4])
    node("Relu", ["conv"], "fine")
    width, cells = channels, side // 4
    if pooling == "mean":
        node("GlobalAveragePool", ["fine"], "pooled")
        node("Flatten", ["pooled"], "features")
    elif pooling == "reduce":
        constants["axes"] = np.array([2, 3])
        node("ReduceMean", ["fine", "axes"], "features", keepdims=0)
    elif pooling == "largest":
        node("GlobalMaxPool", ["fine"], "pooled")
        node("Flatten", ["pooled"], "features")
    elif pooling == "window":
        node("MaxPool", ["fine"], "pooled", kernel_shape=[cells, cells])
        node("Flatten", ["pooled"], "features")
    elif pooling == "levels":
        width = channels + 4
        coarse = draw.normal(0, 1, (4, channels, 3, 3)).astype(np.float32)
        constants |= {"coarse_kernel": coarse, "times": np.float32(4)}
        node("Conv", ["fine", "coarse_kernel"], "coarse_conv", strides=[3, 3])
        node("Relu", ["coarse_conv"], "coarse")
        for name in ("fine", "coarse"):
            node("GlobalAveragePool", [name], f"{name}_mean")
            node("Flatten", [f"{name}_mean"], f"{name}_flat")
        node("Mul", ["coarse_flat", "times"], "coarse_times")
        node("Concat", ["fine_flat", "coarse_times"], "joined", axis=1)
        node("Identity", ["joined"], "features")
    else:
        width = channels * cells**2
        node("Flatten", ["fine"], "flat" if pooling == "dense" else "features")
        if pooling == "dense":
            constants["dense"] = draw.normal(0, 1, (width, 6)).astype(np.float32)
            width = 6
            node("Gemm", ["flat", "dense"], "units")
            node("Relu", ["units"], "features")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [info("pixels", TensorProto.UINT8, ["N", side, side, 3])],
        [info("features", TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)
    return Backbone("by hand", file, "", InputSpec(side, side))


def write_finder(file: Path, fit: ResizeMode = "pad", side: int = SIDE) -> Path:
    """A classifier of `localizer.COLOURS` whose maps show where its colour is.

    The padding is grey, so it is evidence for no class.
    """
    backbone = write_backbone(file.with_suffix(".backbone"), "mean", side, random=False)
    weights = np.zeros((3, len(LABELS)), np.float32)
    for row, label in enumerate(("red", "green", "blue")):
        weights[row, LABELS.index(label)] = 20
    head = Head(weights, np.zeros(3, np.float32), 1.0, 1.0)
    manifest = Manifest(LABELS, InputSpec(side, side, fit), model="by hand")
    write_model(backbone, head, manifest, file=file, additions=[add_heat])
    return file


def _averages() -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Each colour's mean over 4 x 4 pixels, less what all three have in common."""
    kernel = np.zeros((3, 3, 4, 4))
    for channel in range(3):
        kernel[channel] = -1 / 2
        kernel[channel, channel] = 1
    return kernel / 16 / 255
