"""Translate an ONNX backbone of SharpEye into operations of TensorFlow 1.

There is one rule per operation of SharpEye's backbones; everything else is an error, not a guess.

Operations: https://onnx.ai/onnx/operators/ and tensorflow/core/ops/{array,math,nn}_ops.cc.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod

import numpy as np

from sharpeye.artefact.export.graph_def_nodes import (
    FLOAT,
    INT32,
    TO_NHWC,
    GraphDefTranslation,
    GraphDefValue,
    NodeList,
)
from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode, SlidingWindow
from sharpeye.errors import ModelError

_CHANNEL_AXIS = {"NCHW": 1, "NHWC": 3, "NC": 1}
_SPATIAL_AXES = {"NCHW": {2, 3}, "NHWC": {1, 2}}
_TRANSPOSED_LAYOUT = {("NHWC", (0, 3, 1, 2)): "NCHW", ("NCHW", TO_NHWC): "NHWC"}
_RECTIFIERS = {(0.0, inf): "Relu", (0.0, 6.0): "Relu6"}
_POOLS = {"MaxPool": "MaxPool", "AveragePool": "AvgPool"}


def translate_backbone(
    network: OnnxNetwork,
    nodes: NodeList,
    input_name: str,
    *,
    mean: float,
    std: float,
    int8_weights: bool,
) -> str:
    """Add a backbone's nodes to `nodes`, and return the one that makes its output.

    Args:
        network: uint8 or float32[N,H,W,C], pixels 0..255, to float32[N,D].
        input_name: node float32[N,H,W,C] that gives (pixels - mean) / std, in grey levels.

    Raises:
        ModelError: a node that no rule below translates.
    """
    affine = (np.asarray(std, np.float64), np.asarray(mean, np.float64))
    image = GraphDefValue(input_name, "NHWC", affine)
    graph = GraphDefTranslation(network, image, nodes, int8_weights=int8_weights)
    graph.run(RULES)
    features = graph.values.get(network.outputs[0])
    if features is None or features.layout != "NC":
        raise ModelError("the network does not end in features [N,D]")
    return features.node


def _transpose(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, order = graph.value(node), tuple(node.attributes.get("perm", ()))
    if (x.layout, order) not in _TRANSPOSED_LAYOUT:
        node.fail(f"{x.layout} in the order {order} is not known")
    return replace(x, layout=_TRANSPOSED_LAYOUT[x.layout, order])


def _arithmetic(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    is_constant = node.constant_inputs()
    if node.op == "Sub" and is_constant != [False, True]:
        node.fail("only constants are subtracted, and from tensors only")
    if any(is_constant):
        return _arithmetic_with_constant(graph, node, is_constant.index(True))
    x, y = graph.final_value(node, 0), graph.final_value(node, 1)
    if x.layout != y.layout:
        node.fail(f"{x.layout} and {y.layout} do not go together")
    return GraphDefValue(graph.emit(node.op, node.name, x.node, y.node), x.layout)


def _arithmetic_with_constant(
    graph: GraphDefTranslation, node: OnnxNode, index: int
) -> GraphDefValue:
    """Add, Sub or Mul, with a constant as input `index`."""
    x = graph.value(node, 1 - index)
    constant = graph.aligned_constant(node, index, x.layout)
    op = "Mul" if node.op == "Mul" else "Add"
    if node.op == "Sub":
        constant = -constant
    if x.affine is not None and constant.ndim < 2:
        scale, offset = x.affine
        operand = constant.astype(np.float64)
        if op == "Mul":
            return replace(x, affine=(scale * operand, offset * operand))
        return replace(x, affine=(scale, offset + operand))
    x = graph.final_value(node, 1 - index)
    if op == "Add" and constant.ndim == 1:
        return GraphDefValue(graph.add_bias(node, x.node, constant), x.layout)
    operand_node = graph.nodes.constant(f"{node.name}/by", constant)
    return GraphDefValue(graph.emit(op, node.name, x.node, operand_node), x.layout)


def _convolution(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, group = graph.final_value(node, layout="NCHW"), node.attributes.get("group", 1)
    kernel, channels = node.constant(1), node.input_shape()[1]
    if kernel.shape[1] * group != channels or kernel.shape[0] % group:
        node.fail(f"its kernel {list(kernel.shape)} is not made for {channels} channels")
    window = node.window(kernel.shape[2:])
    input_axes: tuple[int, ...] = (0, 1, 2)
    if group == 1:
        op, kernel = "Conv2D", kernel.transpose(2, 3, 1, 0)  # O,I,H,W -> H,W,I,O
    elif group == channels:
        # Both number the outputs c * m + q, for the q-th of m outputs of input c.
        op, input_axes = "DepthwiseConv2dNative", (0, 1)
        kernel = kernel.reshape(group, -1, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        if window.strides[0] != window.strides[1]:
            node.fail(f"in a depthwise one TensorFlow knows no strides {window.strides}")
    else:
        node.fail(f"it has {group} groups; known are 1 and one for each input channel")
    source, padding = x.node, b"SAME"
    if not window.is_same:
        source, padding = graph.add_zeros(node, x.node, _paddings(window)), b"VALID"
    weights = graph.nodes.kernel(f"{node.name}/kernel", kernel, input_axes, int8=graph.int8_weights)
    strides = [1, *window.strides, 1]
    name = graph.emit(op, node.name, source, weights, strides=strides, padding=padding)
    if node.has_input(2):
        name = graph.add_bias(node, name, node.constant(2))
    return GraphDefValue(name, "NCHW")


def _pool(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, size = graph.final_value(node, layout="NCHW"), tuple(node.attributes["kernel_shape"])
    window = node.window(size)
    source, padding = x.node, b"SAME" if window.is_same else b"VALID"
    if any(window.pads) and node.attributes.get("count_include_pad", 0):
        source, padding = graph.add_zeros(node, x.node, _paddings(window)), b"VALID"
    elif any(window.pads) and not window.is_same:
        node.fail(f"pads {window.pads} are not those of TensorFlow's padding SAME")
    sizes = {"ksize": [1, *size, 1], "strides": [1, *window.strides, 1]}
    name = graph.emit(_POOLS[node.op], node.name, source, padding=padding, **sizes)
    return GraphDefValue(name, "NCHW")


def _paddings(window: SlidingWindow) -> list[tuple[int, int]]:
    top, left, bottom, right = window.pads
    return [(0, 0), (top, bottom), (left, right), (0, 0)]


def _pad(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, given = graph.final_value(node), node.attributes
    pads = node.constant(1) if node.has_input(1) else given.get("pads", ())
    filling = node.constant(2) if node.has_input(2) else given.get("value", 0)
    is_constant = given.get("mode", b"constant") == b"constant"
    if not is_constant or np.any(filling) or node.has_input(3):
        node.fail("only zeros, on axes that are all named, are known")
    paddings = np.reshape(pads, (2, -1)).T
    if paddings.shape != (4, 2) or paddings.min() < 0:
        node.fail(f"pads {paddings.T.tolist()} are not known")
    paddings = paddings[list(TO_NHWC)] if x.layout == "NCHW" else paddings
    return GraphDefValue(graph.add_zeros(node, x.node, paddings), x.layout)


def _rectifier(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, bounds = graph.final_value(node), (0.0, inf)
    if node.op == "Clip":
        low = node.constant(1) if node.has_input(1) else node.attributes.get("min", -inf)
        high = node.constant(2) if node.has_input(2) else node.attributes.get("max", inf)
        bounds = (float(low), float(high))
    if bounds not in _RECTIFIERS:
        node.fail(f"its bounds are {bounds}; known are 0 and 6, 0 and none")
    return GraphDefValue(graph.emit(_RECTIFIERS[bounds], node.name, x.node), x.layout)


def _sigmoid(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x = graph.final_value(node)
    return GraphDefValue(graph.emit("Sigmoid", node.name, x.node), x.layout)


def _maximum(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    first, second = (graph.final_value(node, index) for index in (0, 1))
    if first.layout != second.layout:
        node.fail(f"values of the layouts {first.layout} and {second.layout} are not compared")
    return GraphDefValue(graph.emit("Maximum", node.name, first.node, second.node), first.layout)


def _mean(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, axes, keepdims = graph.final_value(node), node.attributes.get("axes", (2, 3)), True
    if node.op == "ReduceMean":
        axes = node.constant(1) if node.has_input(1) else node.attributes.get("axes")
        keepdims = bool(node.attributes.get("keepdims", 1))
    if axes is None or {int(axis) % 4 for axis in axes} != _SPATIAL_AXES.get(x.layout):
        node.fail("only the mean over height and width is known")
    indices = graph.nodes.constant(f"{node.name}/axes", [1, 2], INT32)
    options = {"Tidx": INT32, "keep_dims": keepdims}
    name = graph.emit("Mean", node.name, x.node, indices, **options)
    return GraphDefValue(name, x.layout if keepdims else "NC")


def _concat(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    values = [graph.final_value(node, index) for index in range(len(node.inputs))]
    layout = values[0].layout
    axis = node.attributes["axis"] % len(layout)
    if axis != _CHANNEL_AXIS[layout] or any(value.layout != layout for value in values):
        node.fail("only channels are joined")
    if len(values) == 1:
        return values[0]
    axis_node = graph.nodes.constant(f"{node.name}/axis", len(layout) - 1, INT32)
    inputs = [*(value.node for value in values), axis_node]
    name = graph.emit("ConcatV2", node.name, *inputs, N=len(values), Tidx=INT32)
    return GraphDefValue(name, layout)


def _gather(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, indices, axis = graph.final_value(node), node.constant(1), node.attributes.get("axis", 0)
    if x.layout != "NCHW" or axis not in (2, 3) or indices.ndim != 1 or (indices < 0).any():
        node.fail("only rows or columns of an image are taken")
    inputs = [
        graph.nodes.constant(f"{node.name}/{name}", values, INT32)
        for name, values in (("indices", indices), ("axis", axis - 1))
    ]
    types = {"Tparams": FLOAT, "Tindices": INT32, "Taxis": INT32}
    name = graph.nodes.free_name(node.name)
    return GraphDefValue(graph.nodes.add("GatherV2", name, [x.node, *inputs], **types), x.layout)


def _flatten(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    before, after = node.input_shape(), node.output_shape()
    if before == after:
        return graph.value(node)
    x = graph.final_value(node)
    in_order = x.layout == "NHWC" or before[2:] == (1, 1)
    if not in_order or after != (1, prod(before)):
        node.fail(f"{x.layout} {list(before)} to {list(after)}; known is [N,C,1,1] to [N,C]")
    sizes = graph.nodes.constant(f"{node.name}/shape", [-1, after[1]], INT32)
    name = graph.emit("Reshape", node.name, x.node, sizes, Tshape=INT32)
    return GraphDefValue(name, "NC")


def _product(graph: GraphDefTranslation, node: OnnxNode) -> GraphDefValue:
    x, weights = graph.final_value(node, layout="NC"), node.constant(1)
    given = node.attributes
    if weights.ndim != 2 or given.get("transA", 0):
        node.fail("only features [N,D] times a constant [D,E] are known")
    weights = (weights.T if given.get("transB", 0) else weights) * given.get("alpha", 1.0)
    constant = graph.nodes.constant(f"{node.name}/weights", weights)
    name = graph.emit("MatMul", node.name, x.node, constant)
    if node.has_input(2):
        bias = node.constant(2).reshape(-1) * given.get("beta", 1.0)
        name = graph.add_bias(node, name, np.broadcast_to(bias, weights.shape[1]))
    return GraphDefValue(name, "NC")


RULES: dict[str, Callable[[GraphDefTranslation, OnnxNode], GraphDefValue]] = {
    **dict.fromkeys(("Cast", "Identity"), GraphDefTranslation.identity),
    "Transpose": _transpose,
    **dict.fromkeys(("Add", "Mul", "Sub"), _arithmetic),
    "Conv": _convolution,
    **dict.fromkeys(_POOLS, _pool),
    "Pad": _pad,
    **dict.fromkeys(("Relu", "Clip"), _rectifier),
    "Sigmoid": _sigmoid,
    "Max": _maximum,
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), _mean),
    "Concat": _concat,
    "Gather": _gather,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), _flatten),
    **dict.fromkeys(("Gemm", "MatMul"), _product),
}
