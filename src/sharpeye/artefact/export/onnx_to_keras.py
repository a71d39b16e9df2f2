"""Build a Keras model of plain layers from an ONNX network of SharpEye. Needs Keras.

The network is read from the model file alone: an export needs no pretrained weights, no registry
and no configuration, and Keras alone can load the result. There is one rule per operation that
SharpEye writes; everything else is an error, not a guess.

Operations: https://onnx.ai/onnx/operators/ and https://keras.io/api/layers/.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.keras_translation import KerasTranslation, KerasValue
from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode, SlidingWindow
from sharpeye.core.arrays import Array
from sharpeye.core.keras_import import import_keras

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
_MERGES = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply", "Min": "Minimum", "Max": "Maximum"}


def keras_model(file: Path, name: str) -> Any:
    """The network as a Keras model.

    Args:
        file: ONNX, uint8[N,H,W,C] to `probs` float32[N,classes] and maybe `box` float32[N,4].

    Returns:
        keras.Model, `image` float32[N,H,W,C] 0..255 to a dictionary with the same outputs.

    Raises:
        ModelError: a node that no rule below translates.
    """
    import_keras("tensorflow")
    import keras

    network = OnnxNetwork(file, several_outputs=True)
    image = keras.Input(network.shapes[network.input][1:], name="image", dtype="float32")
    graph = KerasTranslation(network, KerasValue(image))
    graph.run(RULES)
    outputs = {name: graph.onnx_order(graph.values[name]) for name in network.outputs}
    model = keras.Model(image, outputs, name=name)
    for layer, weights in graph.weights:
        layer.set_weights(weights)
    return model


def _transpose(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    value, order = graph.value(node), tuple(node.attributes.get("perm", ()))
    if not value.channels_last and order == _TO_NCHW:
        return KerasValue(value.tensor, channels_last=True)
    if value.channels_last and order == _TO_NHWC:
        return KerasValue(value.tensor)
    if not order or order[0] != 0:
        node.fail(f"the order {order} moves the batch")
    tensor = graph.onnx_order(value)
    return KerasValue(graph.layer("Permute", node, tensor, dims=order[1:]))


def _arithmetic(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    is_constant = node.constant_inputs()
    if len(is_constant) != 2 or all(is_constant):
        node.fail("it has not two inputs")
    if any(is_constant):
        return _arithmetic_with_constant(graph, node, is_constant.index(True))
    first, second = graph.value(node, 0), graph.value(node, 1)
    channels_last = first.channels_last or second.channels_last
    if channels_last and not (first.channels_last and second.channels_last):
        first, second = (KerasValue(graph.nhwc(node, i), True) for i in (0, 1))
    tensor = graph.layer(_MERGES[node.op], node, first.tensor, second.tensor)
    return KerasValue(tensor, channels_last)


def _arithmetic_with_constant(graph: KerasTranslation, node: OnnxNode, index: int) -> KerasValue:
    """Arithmetic with a constant as input `index`."""
    import keras

    value, constant = graph.value(node, 1 - index), node.constant(index)
    if value.channels_last:
        shape = (1,) * (4 - constant.ndim) + constant.shape
        constant = constant.reshape(shape).transpose(_TO_NHWC)
    by_channel = constant.size in (1, constant.shape[-1] if constant.ndim else 1)
    is_linear = node.op in ("Add", "Sub", "Mul") and not (node.op == "Sub" and index == 0)
    if is_linear and by_channel:
        tensor = _rescaled(graph, node, value.tensor, operand=constant)
        return KerasValue(tensor, value.channels_last)
    if constant.ndim > len(value.tensor.shape) or node.op not in ("Add", "Mul"):
        node.fail(f"its constant {list(constant.shape)} is not known")
    operation = keras.ops.add if node.op == "Add" else keras.ops.multiply
    return KerasValue(operation(value.tensor, constant.astype(np.float32)), value.channels_last)


def _rescaled(graph: KerasTranslation, node: OnnxNode, tensor: Any, *, operand: Array) -> Any:
    """The sum, difference or product with a number, or a number per channel."""
    sign = -1.0 if node.op == "Sub" else 1.0
    numbers = (operand.reshape(-1).astype(np.float64) * sign).tolist()
    number = numbers[0] if len(numbers) == 1 else numbers
    scale, offset = (number, 0.0) if node.op == "Mul" else (1.0, number)
    return graph.layer("Rescaling", node, tensor, scale=scale, offset=offset)


def _relu(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    x = graph.value(node)
    bounds = [float(node.constant(i)) if node.has_input(i) else None for i in (1, 2)]
    if node.op == "Clip" and bounds[0] != 0:
        node.fail(f"its bounds are {bounds}; the lower must be 0")
    return replace(x, tensor=graph.layer("ReLU", node, x.tensor, max_value=bounds[1]))


def _softmax(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    axis = int(node.attributes.get("axis", -1))
    tensor = graph.onnx_order(graph.value(node))
    return KerasValue(graph.layer("Softmax", node, tensor, axis=axis))


def _activation(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    x = graph.value(node)
    tensor = graph.layer("Activation", node, x.tensor, activation=node.op.lower())
    return replace(x, tensor=tensor)


def _sqrt(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    import keras

    x = graph.value(node)
    return replace(x, tensor=keras.ops.sqrt(x.tensor))


def _reduce_sum(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    import keras

    axes, keepdims = tuple(node.constant(1).tolist()), bool(node.attributes.get("keepdims", 1))
    tensor = graph.onnx_order(graph.value(node))
    return KerasValue(keras.ops.sum(tensor, axis=axes, keepdims=keepdims))


def _dense(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    given = node.attributes
    if given.get("transA") or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1:
        node.fail("only x @ W + b is known")
    kernel = node.constant(1)
    kernel = kernel.T if given.get("transB") else kernel
    tensor, units = graph.onnx_order(graph.value(node)), kernel.shape[1]
    return KerasValue(graph.weighted_layer("Dense", node, tensor, kernel=kernel, units=units))


def _convolution(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    x, group = graph.nhwc(node), node.attributes.get("group", 1)
    kernel, channels = node.constant(1), int(x.shape[-1])
    window = node.window(kernel.shape[2:])
    if not window.is_same:
        x = _add_zeros(graph, node, x, pads=window.pads)
    options = {"kernel_size": kernel.shape[2:], **_window_options(window)}
    if group == 1:
        kind, options["filters"] = "Conv2D", len(kernel)
        kernel = kernel.transpose(2, 3, 1, 0)  # O,I,H,W -> H,W,I,O
    elif group == channels:
        # Both number the outputs c * m + q, for the q-th of m outputs of input c.
        multiplier = len(kernel) // channels
        kind, options["depth_multiplier"] = "DepthwiseConv2D", multiplier
        kernel = kernel.reshape(group, multiplier, *kernel.shape[2:]).transpose(2, 3, 0, 1)
    else:
        node.fail(f"it has {group} groups; known are 1 and one for each channel")
    tensor = graph.weighted_layer(kind, node, x, kernel=kernel, **options)
    return KerasValue(tensor, channels_last=True)


def _window_options(window: SlidingWindow) -> dict[str, Any]:
    return {"strides": window.strides, "padding": "same" if window.is_same else "valid"}


def _add_zeros(graph: KerasTranslation, node: OnnxNode, x: Any, *, pads: tuple[int, ...]) -> Any:
    """`pads`: top, left, bottom, right."""
    if not any(pads):
        return x
    top, left, bottom, right = (int(pad) for pad in pads)
    padding = ((top, bottom), (left, right))
    return graph.layer("ZeroPadding2D", node, x, suffix="_pad", padding=padding)


def _pad(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    x, pads = graph.nhwc(node), node.constant(1).tolist()
    filling = node.constant(2) if node.has_input(2) else np.zeros(1)
    if node.attributes.get("mode", b"constant") != b"constant" or filling.any():
        node.fail("only zeros are put around an image")
    if any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        node.fail(f"its pads {pads} are not around an image")
    spatial = (pads[2], pads[3], pads[6], pads[7])
    return KerasValue(_add_zeros(graph, node, x, pads=spatial), channels_last=True)


def _pool(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    size = tuple(node.attributes["kernel_shape"])
    x, window = graph.nhwc(node), node.window(size)
    if any(window.pads) and not window.is_same:
        node.fail(f"its pads {window.pads} are not those of `same`")
    if any(window.pads) and node.attributes.get("count_include_pad"):
        node.fail("its mean counts what is outside the image")
    kind = "MaxPooling2D" if node.op == "MaxPool" else "AveragePooling2D"
    tensor = graph.layer(kind, node, x, pool_size=size, **_window_options(window))
    return KerasValue(tensor, channels_last=True)


def _global_average(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    x = graph.nhwc(node)
    return KerasValue(graph.layer("GlobalAveragePooling2D", node, x, keepdims=True), True)


def _flatten(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    if node.attributes.get("axis", 1) != 1:
        node.fail("only all axes but the first are known")
    value = graph.value(node)
    has_one_cell = value.channels_last and tuple(value.tensor.shape[1:3]) == (1, 1)
    tensor = value.tensor if has_one_cell else graph.onnx_order(value)
    if len(tensor.shape) > 2:
        tensor = graph.layer("Flatten", node, tensor)
    return KerasValue(tensor)


def _reshape(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    tensor = graph.onnx_order(graph.value(node))
    shape = node.constant(1).tolist()
    if shape[0] not in (0, -1) or shape.count(-1) > 1:
        node.fail(f"the shape {shape} does not keep the batch")
    sizes = [tensor.shape[axis] if size == 0 else size for axis, size in enumerate(shape)][1:]
    target_shape = tuple(map(int, sizes))
    return KerasValue(graph.layer("Reshape", node, tensor, target_shape=target_shape))


def _concat(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    values = [graph.value(node, index) for index in range(len(node.inputs))]
    axis = node.attributes["axis"]
    if all(value.channels_last for value in values) and axis in (1, -3):
        tensors = [value.tensor for value in values]
        return KerasValue(graph.layer("Concatenate", node, *tensors, axis=-1), True)
    tensors = [graph.onnx_order(value) for value in values]
    return KerasValue(graph.layer("Concatenate", node, *tensors, axis=axis))


def _slice(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    tensor = graph.onnx_order(graph.value(node))
    starts, ends, axes = (node.constant(index).tolist() for index in (1, 2, 3))
    if node.has_input(4) and set(node.constant(4).tolist()) != {1}:
        node.fail("only whole stretches are cut")
    slices = [slice(None)] * len(tensor.shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = tensor.shape[axis]
        if axis == 0 or not 0 <= start < size:
            node.fail(f"from {start} of axis {axis} is not known")
        slices[axis] = slice(int(start), int(min(end, size)))
    return KerasValue(tensor[tuple(slices)])


def _gather(graph: KerasTranslation, node: OnnxNode) -> KerasValue:
    import keras

    value, axis = graph.value(node), int(node.attributes.get("axis", 0))
    indices = node.constant(1)
    if axis < 1 or indices.ndim != 1 or (indices < 0).any():
        node.fail("only cells along one axis of an image are taken")
    keras_axis = (0, 3, 1, 2)[axis] if value.channels_last else axis
    tensor = keras.ops.take(value.tensor, indices.astype(np.int32), axis=keras_axis)
    return KerasValue(tensor, value.channels_last)


RULES: dict[str, Callable[[KerasTranslation, OnnxNode], KerasValue]] = {
    **dict.fromkeys(("Cast", "Identity"), KerasTranslation.identity),
    **dict.fromkeys(_MERGES, _arithmetic),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("Clip", "Relu"), _relu),
    "Concat": _concat,
    "Conv": _convolution,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _dense,
    "GlobalAveragePool": _global_average,
    "Pad": _pad,
    "ReduceSum": _reduce_sum,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    **dict.fromkeys(("Sigmoid", "Softplus"), _activation),
    "Sqrt": _sqrt,
    "Transpose": _transpose,
}
