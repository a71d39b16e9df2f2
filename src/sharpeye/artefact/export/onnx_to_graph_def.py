"""Translates an ONNX backbone of SharpEye's into operations of TensorFlow 1.

A function for each kind of step. Only what SharpEye's own backbones consist of is known; whatever
else is met is an error, never a guess.

Operations: https://onnx.ai/onnx/operators/ and tensorflow/core/ops/{array,math,nn}_ops.cc.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod

import numpy as np

from sharpeye.artefact.export.graph_def_nodes import INT32, NodeList
from sharpeye.artefact.export.graph_def_translation import TO_NHWC, Tensor, Translation
from sharpeye.artefact.export.onnx_network import Network, Step, Window
from sharpeye.errors import ModelError

_CHANNEL_AXIS = {"NCHW": 1, "NHWC": 3, "NC": 1}
_SPATIAL_AXES = {"NCHW": {2, 3}, "NHWC": {1, 2}}
_TRANSPOSED = {("NHWC", (0, 3, 1, 2)): "NCHW", ("NCHW", TO_NHWC): "NHWC"}
_RECTIFIERS = {(0.0, inf): "Relu", (0.0, 6.0): "Relu6"}
_POOLS = {"MaxPool": "MaxPool", "AveragePool": "AvgPool"}


def translate(
    network: Network,
    nodes: NodeList,
    input_name: str,
    mean: float,
    std: float,
    *,
    int8_weights: bool = False,
) -> str:
    """Add a backbone's nodes to a list.

    Args:
        network: uint8 or float32[N,H,W,C], pixels 0..255, to float32[N,D].
        nodes: gets the translated ones.
        input_name: node float32[N,H,W,C] that gives (pixels - mean) / std.
        mean, std: grey levels.
        int8_weights: see `NodeList.kernel`.

    Returns:
        the node that makes the network's output.

    Raises:
        ModelError: an operation, or the way it is used, is not known here.
    """
    affine = (np.asarray(std, np.float64), np.asarray(mean, np.float64))
    image = Tensor(input_name, "NHWC", affine)
    on = Translation(network, nodes, image, int8_weights=int8_weights)
    for step in network.steps():
        on.tensors[step.outputs[0]] = step.rule(_KNOWN)(on, step)
    output = on.tensors.get(network.output)
    if output is None or output.layout != "NC":
        raise ModelError("the network does not end in features [N,D]")
    return output.node


def _same(on: Translation, step: Step) -> Tensor:
    """Nothing is to be done."""
    step.require_unchanged()
    return on.find(step)


def _transpose(on: Translation, step: Step) -> Tensor:
    x, order = on.find(step), tuple(step.attributes.get("perm", ()))
    if (x.layout, order) not in _TRANSPOSED:
        step.fail(f"{x.layout} in the order {order} is not known")
    return replace(x, layout=_TRANSPOSED[x.layout, order])


def _arithmetic(on: Translation, step: Step) -> Tensor:
    constant = [name in on.network.constants for name in step.inputs]
    if step.op == "Sub" and constant != [False, True]:
        step.fail("only constants are subtracted, and from tensors only")
    if any(constant):
        return _with_constant(on, step, constant.index(True))
    x, y = on.take(step, 0), on.take(step, 1)
    if x.layout != y.layout:
        step.fail(f"{x.layout} and {y.layout} do not go together")
    return Tensor(on.emit(step.op, step.name, x.node, y.node), x.layout)


def _with_constant(on: Translation, step: Step, index: int) -> Tensor:
    """Add, Sub or Mul, with a constant as input `index`."""
    x = on.find(step, 1 - index)
    values = on.aligned(step, index, x.layout)
    op = "Mul" if step.op == "Mul" else "Add"
    if step.op == "Sub":
        values = -values
    if x.affine is not None and values.ndim < 2:
        scale, offset = x.affine
        wide = values.astype(np.float64)
        affine = (scale * wide, offset * wide) if op == "Mul" else (scale, offset + wide)
        return replace(x, affine=affine)
    x = on.take(step, 1 - index)
    if op == "Add" and values.ndim == 1:
        return Tensor(on.with_bias(step, x.node, values), x.layout)
    by = on.nodes.constant(f"{step.name}/by", values)
    return Tensor(on.emit(op, step.name, x.node, by), x.layout)


def _convolution(on: Translation, step: Step) -> Tensor:
    x, group = on.take(step, layout="NCHW"), step.attributes.get("group", 1)
    kernel, channels = on.network.constant(step, 1), on.network.shape(step, step.inputs[0])[1]
    if kernel.shape[1] * group != channels or kernel.shape[0] % group:
        step.fail(f"its kernel {list(kernel.shape)} is not made for {channels} channels")
    window = on.network.window(step, kernel.shape[2:])
    summed: tuple[int, ...] = (0, 1, 2)
    if group == 1:
        op, kernel = "Conv2D", kernel.transpose(2, 3, 1, 0)  # O,I,H,W -> H,W,I,O
    elif group == channels:
        # Both number the outputs c * m + q, for the q-th of m outputs of input c.
        op, summed = "DepthwiseConv2dNative", (0, 1)
        kernel = kernel.reshape(group, -1, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        if window.strides[0] != window.strides[1]:
            step.fail(f"in a depthwise one TensorFlow knows no strides {window.strides}")
    else:
        step.fail(f"it has {group} groups; known are 1 and one for each input channel")
    source, padding = x.node, b"SAME"
    if not window.is_same:
        source, padding = on.with_zeros(step, x.node, _around(window)), b"VALID"
    weights = on.nodes.kernel(f"{step.name}/kernel", kernel, summed, int8=on.int8_weights)
    strides = [1, *window.strides, 1]
    node = on.emit(op, step.name, source, weights, strides=strides, padding=padding)
    if step.has_input(2):
        node = on.with_bias(step, node, on.network.constant(step, 2))
    return Tensor(node, "NCHW")


def _pool(on: Translation, step: Step) -> Tensor:
    x, size = on.take(step, layout="NCHW"), tuple(step.attributes["kernel_shape"])
    window = on.network.window(step, size)
    source, padding = x.node, b"SAME" if window.is_same else b"VALID"
    if any(window.pads) and step.attributes.get("count_include_pad", 0):
        source, padding = on.with_zeros(step, x.node, _around(window)), b"VALID"
    elif any(window.pads) and not window.is_same:
        step.fail(f"pads {window.pads} are not those of TensorFlow's padding SAME")
    sizes = {"ksize": [1, *size, 1], "strides": [1, *window.strides, 1]}
    node = on.emit(_POOLS[step.op], step.name, source, padding=padding, **sizes)
    return Tensor(node, "NCHW")


def _around(window: Window) -> list[tuple[int, int]]:
    top, left, bottom, right = window.pads
    return [(0, 0), (top, bottom), (left, right), (0, 0)]


def _pad(on: Translation, step: Step) -> Tensor:
    x, given = on.take(step), step.attributes
    pads = on.network.constant(step, 1) if step.has_input(1) else given.get("pads", ())
    value = on.network.constant(step, 2) if step.has_input(2) else given.get("value", 0)
    if given.get("mode", b"constant") != b"constant" or np.any(value) or step.has_input(3):
        step.fail("only zeros, on axes that are all named, are known")
    around = np.reshape(pads, (2, -1)).T
    if around.shape != (4, 2) or around.min() < 0:
        step.fail(f"pads {around.T.tolist()} are not known")
    around = around[list(TO_NHWC)] if x.layout == "NCHW" else around
    return Tensor(on.with_zeros(step, x.node, around), x.layout)


def _rectifier(on: Translation, step: Step) -> Tensor:
    x, bounds = on.take(step), (0.0, inf)
    if step.op == "Clip":
        constant, given = on.network.constant, step.attributes
        low = constant(step, 1) if step.has_input(1) else given.get("min", -inf)
        high = constant(step, 2) if step.has_input(2) else given.get("max", inf)
        bounds = (float(low), float(high))
    if bounds not in _RECTIFIERS:
        step.fail(f"its bounds are {bounds}; known are 0 and 6, 0 and none")
    return Tensor(on.emit(_RECTIFIERS[bounds], step.name, x.node), x.layout)


def _mean(on: Translation, step: Step) -> Tensor:
    x, axes, keep = on.take(step), step.attributes.get("axes", (2, 3)), True
    if step.op == "ReduceMean":
        axes = on.network.constant(step, 1) if step.has_input(1) else step.attributes.get("axes")
        keep = bool(step.attributes.get("keepdims", 1))
    if axes is None or {int(axis) % 4 for axis in axes} != _SPATIAL_AXES.get(x.layout):
        step.fail("only the mean over height and width is known")
    where = on.nodes.constant(f"{step.name}/axes", [1, 2], INT32)
    node = on.emit("Mean", step.name, x.node, where, Tidx=INT32, keep_dims=keep)
    return Tensor(node, x.layout if keep else "NC")


def _concat(on: Translation, step: Step) -> Tensor:
    parts = [on.take(step, index) for index in range(len(step.inputs))]
    layout = parts[0].layout
    axis = step.attributes["axis"] % len(layout)
    if axis != _CHANNEL_AXIS[layout] or any(part.layout != layout for part in parts):
        step.fail("only channels are joined")
    if len(parts) == 1:
        return parts[0]
    where = on.nodes.constant(f"{step.name}/axis", len(layout) - 1, INT32)
    sources = [part.node for part in parts]
    node = on.emit("ConcatV2", step.name, *sources, where, N=len(parts), Tidx=INT32)
    return Tensor(node, layout)


def _flatten(on: Translation, step: Step) -> Tensor:
    before = on.network.shape(step, step.inputs[0])
    after = on.network.shape(step, step.outputs[0])
    if before == after:
        return on.find(step)
    x = on.take(step)
    in_order = x.layout == "NHWC" or before[2:] == (1, 1)
    if not in_order or after != (1, prod(before)):
        step.fail(f"{x.layout} {list(before)} to {list(after)}; known is [N,C,1,1] to [N,C]")
    sizes = on.nodes.constant(f"{step.name}/shape", [-1, after[1]], INT32)
    return Tensor(on.emit("Reshape", step.name, x.node, sizes, Tshape=INT32), "NC")


def _product(on: Translation, step: Step) -> Tensor:
    x, weights = on.take(step, layout="NC"), on.network.constant(step, 1)
    given = step.attributes
    if weights.ndim != 2 or given.get("transA", 0):
        step.fail("only features [N,D] times a constant [D,E] are known")
    weights = (weights.T if given.get("transB", 0) else weights) * given.get("alpha", 1.0)
    node = on.emit("MatMul", step.name, x.node, on.nodes.constant(f"{step.name}/weights", weights))
    if step.has_input(2):
        bias = on.network.constant(step, 2).reshape(-1) * given.get("beta", 1.0)
        node = on.with_bias(step, node, np.broadcast_to(bias, weights.shape[1]))
    return Tensor(node, "NC")


_KNOWN: dict[str, Callable[[Translation, Step], Tensor]] = {
    **dict.fromkeys(("Cast", "Identity"), _same),
    "Transpose": _transpose,
    **dict.fromkeys(("Add", "Mul", "Sub"), _arithmetic),
    "Conv": _convolution,
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    "Pad": _pad,
    **dict.fromkeys(("Relu", "Clip"), _rectifier),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), _mean),
    "Concat": _concat,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), _flatten),
    **dict.fromkeys(("Gemm", "MatMul"), _product),
}
