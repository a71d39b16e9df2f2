"""Infer the output shape of each operation in `check_graph.OP_TABLE`.

Source: https://onnx.ai/onnx/operators.
"""

import math
from collections.abc import Sequence

import numpy as np

from sharpeye.artefact.verify.graph_inference import (
    MIXES_IMAGES,
    GraphError,
    InferredValue,
    NodeInference,
    Shape,
    broadcast,
    evaluate,
    known_value,
    make_value,
    normalize_axis,
    rearrange,
    require,
    require_numbers,
)
from sharpeye.artefact.verify.onnx_parser import BOOL, DTYPES, INT64, UINT8

# A new pixel depends on its neighbours: a cubic filter reads four rows and columns.
_RESIZE_READS = 16


def same_shape(node: NodeInference) -> InferredValue:
    first = node.input(0)
    for value in node.inputs[1:]:
        fits = value is None or (not value.batched and len(value.shape) < 2)
        require(fits, "SharpEye writes it with constants of one axis only")
    data_type = first.data_type
    if node.op == "QuantizeLinear":
        zero_point = node.optional_input(2)
        data_type = UINT8 if zero_point is None else zero_point.data_type
    elif node.op == "DequantizeLinear":
        data_type = node.input(1).data_type
    known = evaluate(node.op, [first], data_type) if len(node.inputs) == 1 else None
    return known or first.with_shape(first.shape, data_type)


def broadcast_inputs(node: NodeInference) -> InferredValue:
    values = node.present_inputs()
    expected = 3 if node.op == "Where" else 2
    require(len(values) == expected, f"SharpEye does not write it with {len(values)} inputs")
    data_type = BOOL if node.op in ("Greater", "Equal") else values[-1].data_type
    shape, batched = broadcast(values)
    known = evaluate(node.op, values, data_type)
    return known or make_value(shape, data_type, batched=batched)


def cast_input(node: NodeInference) -> InferredValue:
    value, data_type = node.input(0), node.integer("to", 0)
    require(data_type in DTYPES, f"it casts to the unknown type {data_type}")
    if value.data is None or data_type == BOOL:
        return value.with_shape(value.shape, data_type)
    dtype = np.dtype(DTYPES[data_type])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if not all(info.min <= number <= info.max for number in value.data.ravel().tolist()):
            return value.with_shape(value.shape, data_type)
    return known_value(value.data.astype(dtype), value.known, data_type)


def shape(node: NodeInference) -> InferredValue:
    """The sides of a value; all but the number of images are known."""
    value = node.input(0)
    sides = np.array(value.shape, np.int64)
    return known_value(sides, np.arange(len(sides)) > 0 if value.batched else None, INT64)


def transpose(node: NodeInference) -> InferredValue:
    value = node.input(0)
    order = node.integers("perm", range(len(value.shape))[::-1], 0)
    is_permutation = sorted(order) == list(range(len(order)))
    require(is_permutation and not (value.batched and order[0]), MIXES_IMAGES)
    return value.with_shape([value.shape[axis] for axis in order])


def flatten(node: NodeInference) -> InferredValue:
    value = node.input(0)
    require(node.integer("axis", 1) == 1 and value.shape, "SharpEye writes it for axis 1 only")
    return value.with_shape([value.shape[0], math.prod(value.shape[1:])])


def reshape(node: NodeInference) -> InferredValue:
    value, sizes = node.input(0), require_numbers(node.input(1), "its sizes")
    require(not value.batched or sizes[:1] in ([0], [-1]), MIXES_IMAGES)
    in_range = sizes.count(-1) <= 1 and 0 not in sizes[len(value.shape) :]
    require(in_range, "its sizes are out of range")
    shape = [side or value.shape[axis] for axis, side in enumerate(sizes)]
    known = math.prod(side for side in shape if side != -1)
    shape = [value.size // known if side == -1 and known > 0 else side for side in shape]
    require(min(shape, default=1) > 0 and math.prod(shape) == value.size, "its sizes do not fit")
    return _reshaped(value, shape)


def squeeze(node: NodeInference) -> InferredValue:
    value = node.input(0)
    if len(node.inputs) > 1:
        axes = node.axes(1, value)
    else:
        axes = [axis for axis, side in enumerate(value.shape) if side == 1]
    require(not (value.batched and 0 in axes), "its axes are missing")
    require(all(value.shape[axis] == 1 for axis in axes), "its axes are out of range")
    return _reshaped(value, [side for axis, side in enumerate(value.shape) if axis not in axes])


def _reshaped(value: InferredValue, shape: Sequence[int]) -> InferredValue:
    known = rearrange([value], lambda data: data.reshape(shape), value.data_type)
    return known or value.with_shape(shape)


def concat(node: NodeInference) -> InferredValue:
    values = node.present_inputs()
    complete = values and len(values) == len(node.inputs) and values[0].shape
    require(complete, "one of its inputs is missing")
    axis = node.axis("axis", 0, values[0])
    other_sides = {value.shape[:axis] + value.shape[axis + 1 :] for value in values}
    ranks = {len(value.shape) for value in values}
    batched = any(value.batched for value in values)
    fits = len(other_sides) == len(ranks) == 1 and not (batched and axis == 0)
    require(fits, "it joins values whose shapes do not fit")
    shape, data_type = list(values[0].shape), values[0].data_type
    shape[axis] = sum(value.shape[axis] for value in values)
    known = rearrange(values, lambda *data: np.concatenate(data, axis), data_type)
    return known or make_value(shape, data_type, batched=batched)


def gather(node: NodeInference) -> InferredValue:
    value, index = node.input(0), node.input(1)
    axis = node.axis("axis", 0, value)
    # An image's content may select rows of a table, but not rows of other images.
    mixes = (value.batched and (axis == 0 or index.batched)) or (index.batched and axis)
    require(not mixes, MIXES_IMAGES)
    side = value.shape[axis]
    if value.data is not None and index.data is not None:
        numbers = require_numbers(index, "its places")
        require(all(-side <= n < side for n in numbers), "its places are out of range")
        indices = np.array(numbers, np.int64).reshape(index.shape)
        known = rearrange([value], lambda data: np.take(data, indices, axis), value.data_type)
        if known:
            return known
    shape = (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
    return make_value(shape, value.data_type, batched=value.batched or index.batched)


def slice_axes(node: NodeInference) -> InferredValue:
    value = node.input(0)
    starts, ends = (require_numbers(node.input(index), "its places") for index in (1, 2))
    axes = node.axes(3, value)
    fits = len(node.inputs) <= 4 and len(starts) == len(ends) == len(axes)
    require(fits, "SharpEye writes it without steps, and with axes")
    slices = [slice(None)] * len(value.shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        slices[axis] = slice(start, end)
    shape = [len(range(side)[cut]) for side, cut in zip(value.shape, slices, strict=True)]
    known = rearrange([value], lambda data: data[tuple(slices)], value.data_type)
    return known or value.with_shape(shape)


def pad(node: NodeInference) -> InferredValue:
    value, pads = node.input(0), require_numbers(node.input(1), "its pads")
    rank, filling = len(value.shape), node.optional_input(2)
    in_range = len(node.inputs) <= 3 and len(pads) == 2 * rank and min(pads, default=0) >= 0
    require(in_range, "its pads are out of range")
    require(not (value.batched and (pads[0] or pads[rank])), MIXES_IMAGES)
    require(filling is None or filling.size == 1, MIXES_IMAGES)
    return value.with_shape([s + pads[i] + pads[rank + i] for i, s in enumerate(value.shape)])


def resize(node: NodeInference) -> InferredValue:
    value = node.input(0)
    is_plain = len(node.inputs) >= 3 and node.inputs[1] is None
    require(is_plain, "SharpEye writes it without a region")
    given = node.attributes.get("axes", list(range(len(value.shape))))
    axes = [normalize_axis(axis, value) for axis in given]
    if node.inputs[2] is not None:
        scales = require_numbers(node.inputs[2], "its sizes", "f")
        sizes = [
            int(np.float32(scale) * np.float32(value.shape[axis]))
            for scale, axis in zip(scales, axes, strict=False)
            if abs(scale) < 2**32
        ]
    else:
        sizes = require_numbers(node.optional_input(3), "its sizes")
    require(len(sizes) == len(axes), "its sizes are out of range")
    shape = list(value.shape)
    for axis, side in zip(axes, sizes, strict=True):
        shape[axis] = side
    output = value.with_shape(shape)
    node.multiplications = _RESIZE_READS * (value.size + output.size)
    node.scratch = sum(shape) * _RESIZE_READS + value.size
    return output


def integer_range(node: NodeInference) -> InferredValue:
    first, last, step = (require_numbers(node.input(index), "its ends")[0] for index in range(3))
    is_plain = node.input(0).data_type == INT64 and step == 1
    require(is_plain, "SharpEye writes it in steps of one only")
    return make_value([last - first], INT64)


def reduction(node: NodeInference) -> InferredValue:
    value = node.input(0)
    if "axes" in node.attributes:
        axes = [normalize_axis(axis, value) for axis in node.attributes["axes"]]
        require(not (value.batched and 0 in axes), MIXES_IMAGES)
    else:
        require(len(node.inputs) > 1, "its axes are missing")
        axes = node.axes(1, value)
    return _reduced(node, axes, value.data_type)


def arg_max(node: NodeInference) -> InferredValue:
    value = node.input(0)
    axis = node.axis("axis", 0, value)
    require(not (value.batched and axis == 0), MIXES_IMAGES)
    return _reduced(node, [axis], INT64)


def _reduced(node: NodeInference, axes: Sequence[int], data_type: int) -> InferredValue:
    value, keep = node.input(0), node.integer("keepdims", 1)
    require(keep in (0, 1), "its keepdims must be 0 or 1")
    shape = [1 if i in axes else s for i, s in enumerate(value.shape) if keep or i not in axes]
    return value.with_shape(shape, data_type)


def gemm(node: NodeInference) -> InferredValue:
    first, second, bias = node.input(0), node.constant_input(1), node.optional_input(2)
    are_matrices = len(first.shape) == len(second.shape) == 2
    fits = are_matrices and first.shape[1] == second.shape[0]
    require(fits, "it multiplies values whose shapes do not fit")
    shape = (first.shape[0], second.shape[1])
    if bias is not None and broadcast([make_value(shape, first.data_type), bias])[0] != shape:
        raise GraphError("it joins values whose shapes do not fit")
    node.multiplications = first.size * second.shape[1]
    return first.with_shape(shape)


def mat_mul(node: NodeInference) -> InferredValue:
    first, second = node.input(0), node.input(1)
    are_matrices = min(len(first.shape), len(second.shape)) >= 2
    fits = are_matrices and first.shape[-1] == second.shape[-2]
    require(fits, "it multiplies values whose shapes do not fit")
    shape = _product_shape(first, second)
    node.multiplications = math.prod(shape) * first.shape[-1]
    return make_value(shape, first.data_type, batched=first.batched or second.batched)


def _product_shape(first: InferredValue, second: InferredValue) -> Shape:
    """The shape of a matrix product; a product of batched values keeps them on its first axis."""
    for value, factor in ((first, second), (second, first)):
        is_matrix = len(value.shape) == 2 and (value is second or factor.batched)
        moves = is_matrix or len(value.shape) < len(factor.shape)
        require(not (value.batched and moves), MIXES_IMAGES)
    try:
        outer = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    except ValueError:
        raise GraphError("it multiplies values whose shapes do not fit") from None
    return (*outer, first.shape[-2], second.shape[-1])


def convolution(node: NodeInference) -> InferredValue:
    value, kernel, bias = node.image_input(), node.constant_input(1), node.optional_input(2)
    group = node.integer("group", 1)
    fits = len(kernel.shape) == 4 and group >= 1 and value.shape[1] == kernel.shape[1] * group
    require(fits, "its kernel does not fit")
    window = node.integers("kernel_shape", kernel.shape[2:], 1)
    fits = tuple(window) == kernel.shape[2:] and (not bias or bias.shape == kernel.shape[:1])
    require(fits, "its kernel does not fit")
    sides = _window_positions(node, window, node.integers("dilations", (1, 1), 1))
    output = value.with_shape((value.shape[0], kernel.shape[0], *sides))
    node.multiplications = output.size * math.prod(kernel.shape[1:])
    node.scratch = math.prod(sides) * value.shape[1] * math.prod(window)
    return output


def pool(node: NodeInference) -> InferredValue:
    value, window = node.image_input(), node.integers("kernel_shape", (0, 0), 1)
    output = value.with_shape((*value.shape[:2], *_window_positions(node, window, (1, 1))))
    node.multiplications = output.size * math.prod(window)
    return output


def _window_positions(
    node: NodeInference, window: Sequence[int], dilations: Sequence[int]
) -> Shape:
    """Height and width of the output."""
    strides, pads = node.integers("strides", (1, 1), 1), node.integers("pads", (0, 0, 0, 0), 0)
    return tuple(
        (side + pads[i] + pads[i + 2] - dilations[i] * (window[i] - 1) - 1) // strides[i] + 1
        for i, side in enumerate(node.image_input().shape[2:])
    )


def global_pool(node: NodeInference) -> InferredValue:
    value = node.image_input()
    return value.with_shape((*value.shape[:2], 1, 1))
