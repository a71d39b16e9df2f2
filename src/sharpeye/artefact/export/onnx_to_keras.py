"""Needs Keras. Builds a Keras model of plain layers from one of SharpEye's ONNX networks.

The network is read from the shipped file itself: no pretrained weights, no zoo and no configuration
are needed to write a run down for TensorFlow, and batch norms are folded already. What is made
loads with Keras alone: its layers are Keras' own.

A function for each kind of step. Only what SharpEye writes is known; whatever else is met is an
error, never a guess.

Operations: https://onnx.ai/onnx/operators/ and https://keras.io/api/layers/.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.keras_translation import KerasTranslation, Value
from sharpeye.artefact.export.onnx_network import Network, Step
from sharpeye.errors import MissingExtra

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def keras_model(file: Path, name: str) -> Any:
    """The network as a Keras model.

    Args:
        file: ONNX, uint8[N,H,W,C] to `probs` float32[N,classes] and maybe `box` float32[N,4].
        name: of the model.

    Returns:
        keras.Model, `image` float32[N,H,W,C] 0..255 to a dictionary with the same outputs.

    Raises:
        MissingExtra: Keras, or what it runs on, is not installed.
        ModelError: a step that is not known here.
    """
    try:
        import keras
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", "writing a Keras model") from None
    network = Network(file, several_outputs=True)
    shape = network.shapes[network.input]
    image = keras.Input(shape[1:], name="image", dtype="float32")
    on = KerasTranslation(network, Value(image))
    for step in network.steps():
        on.values[step.outputs[0]] = step.rule(_KNOWN)(on, step)
    outputs = {name: on.plain(on.values[name]) for name in network.outputs}
    model = keras.Model(image, outputs, name=name)
    for layer, weights in on.weights:
        layer.set_weights(weights)
    return model


def _same(on: KerasTranslation, step: Step) -> Value:
    """Nothing is to be done."""
    step.require_unchanged()
    return on.value(step)


def _transpose(on: KerasTranslation, step: Step) -> Value:
    value, order = on.value(step), tuple(step.attributes.get("perm", ()))
    if not value.turned and order == _TO_NCHW:
        return Value(value.tensor, turned=True)
    if value.turned and order == _TO_NHWC:
        return Value(value.tensor)
    if not order or order[0] != 0:
        step.fail(f"the order {order} moves the batch")
    return Value(on.layer("Permute", step, on.plain(value), dims=order[1:]))


_MERGED = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply", "Min": "Minimum", "Max": "Maximum"}


def _arithmetic(on: KerasTranslation, step: Step) -> Value:
    constant = [name in on.network.constants for name in step.inputs]
    if len(constant) != 2 or all(constant):
        step.fail("it has not two inputs")
    if any(constant):
        return _with_constant(on, step, constant.index(True))
    first, second = on.value(step, 0), on.value(step, 1)
    turned = first.turned or second.turned
    if turned and not (first.turned and second.turned):
        first, second = (Value(on.image(step, i), turned=True) for i in (0, 1))
    return Value(on.layer(_MERGED[step.op], step, first.tensor, second.tensor), turned)


def _with_constant(on: KerasTranslation, step: Step, index: int) -> Value:
    """Arithmetic with a constant as input `index`."""
    import keras

    value, constant = on.value(step, 1 - index), on.network.constant(step, index)
    rank = len(value.tensor.shape)
    if value.turned:
        shape = (1,) * (4 - constant.ndim) + constant.shape
        constant = constant.reshape(shape).transpose(_TO_NHWC)
    last = constant.size in (1, constant.shape[-1] if constant.ndim else 1)
    if step.op in ("Add", "Sub", "Mul") and last and not (step.op == "Sub" and index == 0):
        numbers: Any = constant.reshape(-1).astype(np.float64).tolist()
        numbers = numbers[0] if len(numbers) == 1 else numbers
        if step.op == "Mul":
            options: dict[str, Any] = {"scale": numbers, "offset": 0.0}
        else:
            sign = -1.0 if step.op == "Sub" else 1.0
            offset = (np.asarray(numbers) * sign).tolist()
            options = {"scale": 1.0, "offset": offset}
        return Value(on.layer("Rescaling", step, value.tensor, **options), value.turned)
    if constant.ndim > rank or step.op not in ("Add", "Mul"):
        step.fail(f"its constant {list(constant.shape)} is not known")
    both = keras.ops.add if step.op == "Add" else keras.ops.multiply
    return Value(both(value.tensor, constant.astype(np.float32)), value.turned)


def _convolution(on: KerasTranslation, step: Step) -> Value:
    x, group = on.image(step), step.attributes.get("group", 1)
    kernel, channels = on.network.constant(step, 1), int(x.shape[-1])
    window = on.network.window(step, kernel.shape[2:])
    padding, x = (
        ("same", x) if window.is_same else ("valid", _zeros_around(on, step, x, window.pads))
    )
    bias = [on.network.constant(step, 2)] if step.has_input(2) else []
    options: dict[str, Any] = {
        "kernel_size": kernel.shape[2:],
        "strides": window.strides,
        "padding": padding,
    }
    if group == 1:
        weights = [kernel.transpose(2, 3, 1, 0), *bias]  # O,I,H,W -> H,W,I,O
        tensor = on.weighted("Conv2D", step, x, weights, filters=len(kernel), **options)
    elif group == channels:
        # Both number the outputs c * m + q, for the q-th of m outputs of input c.
        times = len(kernel) // channels
        weights = [kernel.reshape(group, times, *kernel.shape[2:]).transpose(2, 3, 0, 1), *bias]
        tensor = on.weighted("DepthwiseConv2D", step, x, weights, depth_multiplier=times, **options)
    else:
        step.fail(f"it has {group} groups; known are 1 and one for each channel")
    return Value(tensor, turned=True)


def _zeros_around(on: KerasTranslation, step: Step, x: Any, pads: tuple[int, ...]) -> Any:
    """`pads`: top, left, bottom, right."""
    if not any(pads):
        return x
    top, left, bottom, right = (int(each) for each in pads)
    padding = ((top, bottom), (left, right))
    return on.layer("ZeroPadding2D", step, x, ending="_pad", padding=padding)


def _pad(on: KerasTranslation, step: Step) -> Value:
    x, pads = on.image(step), on.network.constant(step, 1).tolist()
    filling = on.network.constant(step, 2) if step.has_input(2) else np.zeros(1)
    if step.attributes.get("mode", b"constant") != b"constant" or filling.any():
        step.fail("only zeros are put around a picture")
    if any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        step.fail(f"its pads {pads} are not around a picture")
    return Value(_zeros_around(on, step, x, (pads[2], pads[3], pads[6], pads[7])), turned=True)


def _relu(on: KerasTranslation, step: Step) -> Value:
    value = on.value(step)
    return Value(on.layer("ReLU", step, value.tensor), value.turned)


def _clip(on: KerasTranslation, step: Step) -> Value:
    value = on.value(step)
    bounds = [float(on.network.constant(step, i)) if step.has_input(i) else None for i in (1, 2)]
    if bounds[0] != 0:
        step.fail(f"its bounds are {bounds}; the lower must be 0")
    return Value(on.layer("ReLU", step, value.tensor, max_value=bounds[1]), value.turned)


def _pool(on: KerasTranslation, step: Step) -> Value:
    size = tuple(step.attributes["kernel_shape"])
    x, window = on.image(step), on.network.window(step, size)
    padding = "same" if window.is_same else "valid"
    if any(window.pads) and not window.is_same:
        step.fail(f"its pads {window.pads} are not those of `same`")
    if any(window.pads) and step.attributes.get("count_include_pad"):
        step.fail("its mean counts what is outside the picture")
    kind = "MaxPooling2D" if step.op == "MaxPool" else "AveragePooling2D"
    options: dict[str, Any] = {"pool_size": size, "strides": window.strides, "padding": padding}
    return Value(on.layer(kind, step, x, **options), turned=True)


def _global_average(on: KerasTranslation, step: Step) -> Value:
    return Value(on.layer("GlobalAveragePooling2D", step, on.image(step), keepdims=True), True)


def _flatten(on: KerasTranslation, step: Step) -> Value:
    if step.attributes.get("axis", 1) != 1:
        step.fail("only all axes but the first are known")
    value = on.value(step)
    one_cell = value.turned and tuple(value.tensor.shape[1:3]) == (1, 1)
    tensor = value.tensor if one_cell else on.plain(value)
    return Value(on.layer("Flatten", step, tensor) if len(tensor.shape) > 2 else tensor)


def _reshape(on: KerasTranslation, step: Step) -> Value:
    tensor = on.plain(on.value(step))
    wanted = on.network.constant(step, 1).tolist()
    if wanted[0] not in (0, -1) or wanted.count(-1) > 1:
        step.fail(f"the shape {wanted} does not keep the batch")
    sizes = [tensor.shape[i] if size == 0 else size for i, size in enumerate(wanted)][1:]
    return Value(on.layer("Reshape", step, tensor, target_shape=tuple(map(int, sizes))))


def _dense(on: KerasTranslation, step: Step) -> Value:
    given = step.attributes
    if given.get("transA") or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1:
        step.fail("only x @ W + b is known")
    kernel = on.network.constant(step, 1)
    kernel = kernel.T if given.get("transB") else kernel
    bias = [on.network.constant(step, 2)] if step.has_input(2) else []
    tensor = on.plain(on.value(step))
    found = on.weighted("Dense", step, tensor, [kernel, *bias], units=kernel.shape[1])
    return Value(found)


def _softmax(on: KerasTranslation, step: Step) -> Value:
    axis = int(step.attributes.get("axis", -1))
    return Value(on.layer("Softmax", step, on.plain(on.value(step)), axis=axis))


def _softplus(on: KerasTranslation, step: Step) -> Value:
    value = on.value(step)
    return Value(on.layer("Activation", step, value.tensor, activation="softplus"), value.turned)


def _root(on: KerasTranslation, step: Step) -> Value:
    import keras

    value = on.value(step)
    return Value(keras.ops.sqrt(value.tensor), value.turned)


def _concat(on: KerasTranslation, step: Step) -> Value:
    values, axis = [on.value(step, i) for i in range(len(step.inputs))], step.attributes["axis"]
    if all(value.turned for value in values) and axis in (1, -3):
        tensors = [value.tensor for value in values]
        return Value(on.layer("Concatenate", step, *tensors, axis=-1), turned=True)
    return Value(on.layer("Concatenate", step, *(on.plain(v) for v in values), axis=axis))


def _slice(on: KerasTranslation, step: Step) -> Value:
    tensor = on.plain(on.value(step))
    starts, ends, axes = (on.network.constant(step, i).tolist() for i in (1, 2, 3))
    if step.has_input(4) and set(on.network.constant(step, 4).tolist()) != {1}:
        step.fail("only whole stretches are cut")
    cut = [slice(None)] * len(tensor.shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        size = tensor.shape[axis]
        if axis == 0 or not 0 <= start < size:
            step.fail(f"from {start} of axis {axis} is not known")
        cut[axis] = slice(int(start), int(min(end, size)))
    return Value(tensor[tuple(cut)])


def _gather(on: KerasTranslation, step: Step) -> Value:
    import keras

    value, axis = on.value(step), int(step.attributes.get("axis", 0))
    cells = on.network.constant(step, 1)
    if axis < 1 or cells.ndim != 1 or (cells < 0).any():
        step.fail("only cells along one axis of a picture are taken")
    tensor = value.tensor
    along = (0, 3, 1, 2)[axis] if value.turned else axis
    return Value(keras.ops.take(tensor, cells.astype(np.int32), axis=along), value.turned)


def _sum(on: KerasTranslation, step: Step) -> Value:
    import keras

    axes = tuple(on.network.constant(step, 1).tolist())
    kept = bool(step.attributes.get("keepdims", 1))
    return Value(keras.ops.sum(on.plain(on.value(step)), axis=axes, keepdims=kept))


_KNOWN: dict[str, Callable[[KerasTranslation, Step], Value]] = {
    "Add": _arithmetic,
    "AveragePool": _pool,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _dense,
    "GlobalAveragePool": _global_average,
    "Identity": _same,
    "Max": _arithmetic,
    "MaxPool": _pool,
    "Min": _arithmetic,
    "Mul": _arithmetic,
    "Pad": _pad,
    "ReduceSum": _sum,
    "Relu": _relu,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Sqrt": _root,
    "Sub": _arithmetic,
    "Transpose": _transpose,
}
