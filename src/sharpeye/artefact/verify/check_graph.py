"""Verify a graph before a runtime opens it: its operations, its outputs, and its cost.

A graph is a program. It passes if it has only operations that SharpEye writes, and if the size of
every value follows from the image size: then it terminates, and its memory and work are known in
advance. The limits are several times the needs of the largest networks.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sharpeye.artefact.verify import shape_inference as rules
from sharpeye.artefact.verify.graph_inference import (
    GraphError,
    InferredValue,
    NodeInference,
    Shape,
    constant_value,
    make_value,
)
from sharpeye.artefact.verify.onnx_parser import UINT8, ParsedModel, ParsedValueInfo

# SharpEye has written IR 8 and 9 and opsets 15 to 18; a few neighbours are accepted too.
_IR_VERSIONS, _OPSETS = range(7, 12), range(13, 22)

_MAX_NODES = 20_000

# Limits for one image: a base for any network, an allowance per input pixel, and a cap on their
# sum. EfficientNet-Lite0 needs 450 and 8,000 a pixel, Inception v3 260 and 64,000.
_MAX_NUMBERS = (2**26, 1_500, 2**32)  # elements of all values together, mostly of up to four bytes
_MAX_MULTIPLICATIONS = (10**10, 500_000, 10**12)


class Operation(NamedTuple):
    """The shape rule of an operation, and its allowed attributes."""

    infer: Callable[[NodeInference], InferredValue]
    attributes: tuple[str, ...] = ()


_UNARY = ("Relu", "Sqrt", "Exp", "Log", "Softplus", "Sigmoid", "Clip", "Round", "Floor", "Identity")
_BROADCAST = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Greater", "Equal", "Where")
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL2")
_ALONG_AXIS = ("Softmax", "QuantizeLinear", "DequantizeLinear")
_WINDOW = ("kernel_shape", "strides", "pads")
_RESIZE = (
    *("axes", "mode", "antialias", "cubic_coeff_a", "exclude_outside"),
    *("coordinate_transformation_mode", "nearest_mode"),
)

# The ONNX operations that SharpEye writes.
OP_TABLE: dict[str, Operation] = {
    **dict.fromkeys(_UNARY, Operation(rules.same_shape)),
    **dict.fromkeys(_ALONG_AXIS, Operation(rules.same_shape, ("axis",))),
    **dict.fromkeys(_BROADCAST, Operation(rules.broadcast_inputs)),
    **dict.fromkeys(_REDUCTIONS, Operation(rules.reduction, ("axes", "keepdims"))),
    "ArgMax": Operation(rules.arg_max, ("axis", "keepdims", "select_last_index")),
    "Cast": Operation(rules.cast_input, ("to",)),
    "Shape": Operation(rules.shape),
    "Range": Operation(rules.integer_range),
    "Transpose": Operation(rules.transpose, ("perm",)),
    "Flatten": Operation(rules.flatten, ("axis",)),
    "Reshape": Operation(rules.reshape),
    "Squeeze": Operation(rules.squeeze),
    "Concat": Operation(rules.concat, ("axis",)),
    "Gather": Operation(rules.gather, ("axis",)),
    "Slice": Operation(rules.slice_axes),
    "Pad": Operation(rules.pad),
    "Resize": Operation(rules.resize, _RESIZE),
    "Gemm": Operation(rules.gemm),
    "MatMul": Operation(rules.mat_mul),
    "Conv": Operation(rules.convolution, (*_WINDOW, "dilations", "group")),
    "MaxPool": Operation(rules.pool, _WINDOW),
    "AveragePool": Operation(rules.pool, (*_WINDOW, "count_include_pad")),
    "GlobalAveragePool": Operation(rules.global_pool),
    "GlobalMaxPool": Operation(rules.global_pool),
}


def check_graph(model: ParsedModel, image_shape: Shape) -> dict[str, InferredValue]:
    """The outputs of an accepted graph, in order.

    Args:
        image_shape: height, width and channels of its input images.

    Raises:
        GraphError: the graph differs from what SharpEye writes, or needs too much.
    """
    if model.ir_version not in _IR_VERSIONS or model.opset not in _OPSETS:
        raise GraphError(
            f"it is ONNX of IR {model.ir_version} and opset {model.opset}; allowed are IR "
            f"{_describe(_IR_VERSIONS)} and opset {_describe(_OPSETS)}"
        )
    if len(model.nodes) > _MAX_NODES:
        raise GraphError(f"it has {len(model.nodes)} operations; allowed are {_MAX_NODES}")
    with np.errstate(all="ignore"):
        values = _infer_values(model, image_shape)
    for output in model.outputs:
        if output.name not in values:
            raise GraphError(f"its output {output.name[:60]!r} is not there")
    # A quantizer keeps declarations of values that it has removed.
    declared = (info for info in model.value_infos if info.name in values)
    _check_declarations([*model.outputs, *declared], values)
    return {output.name: values[output.name] for output in model.outputs}


def _describe(versions: Sequence[int]) -> str:
    return f"{versions[0]} to {versions[-1]}"


def _infer_values(model: ParsedModel, image_shape: Shape) -> dict[str, InferredValue]:
    """All values by name: constants, the input, and the output of every node."""
    values: dict[str, InferredValue] = {}
    _add_constants(values, model)
    _add_input(values, model, image_shape)
    pixels = image_shape[0] * image_shape[1]
    numbers_left, multiplications_left = (
        min(maximum, base + per_pixel * pixels)
        for base, per_pixel, maximum in (_MAX_NUMBERS, _MAX_MULTIPLICATIONS)
    )
    for parsed in model.nodes:
        try:
            node = NodeInference(parsed, [values[n] if n else None for n in parsed.inputs])
        except KeyError as error:
            raise GraphError(f"{parsed.op[:40]!r} takes {error}, which is not there") from None
        try:
            output = _infer_output(node)
            multiplications_left -= node.multiplications
            numbers_left -= output.size
            if min(numbers_left - node.scratch, multiplications_left) < 0:
                raise GraphError("it needs more memory or time than any network of SharpEye's")
            _add_value(values, parsed.output, output)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            reason = error if isinstance(error, GraphError) else "SharpEye does not write it so"
            raise GraphError(f"{parsed.op[:40]!r} ({parsed.output[:60]!r}): {reason}") from None
    return values


def _infer_output(node: NodeInference) -> InferredValue:
    """The output of a node; its cost is set."""
    operation = OP_TABLE.get(node.op)
    if operation is None:
        raise GraphError("SharpEye writes no such operation")
    unexpected = set(node.attributes) - set(operation.attributes)
    if unexpected:
        raise GraphError(f"SharpEye does not write its attribute {min(unexpected)[:40]!r}")
    output = operation.infer(node)
    sizes = (output.size, *(value.size for value in node.present_inputs()))
    node.multiplications = max(node.multiplications, *sizes)
    return output


def _add_value(values: dict[str, InferredValue], name: str, value: InferredValue) -> None:
    if not name or name in values:
        raise GraphError(f"two values have the name {name[:60]!r}")
    values[name] = value


def _add_constants(values: dict[str, InferredValue], model: ParsedModel) -> None:
    for tensor in model.initializers:
        array = tensor.values
        # Fast path: a finite sum proves all elements finite. Large ones may add up to infinity.
        suspect = array.dtype.kind == "f" and not math.isfinite(np.add.reduce(array, None))
        if suspect and not np.isfinite(array).all():
            raise GraphError(f"the constant {tensor.name[:60]!r} is not finite")
        _add_value(values, tensor.name, constant_value(array, tensor.data_type))


def _add_input(values: dict[str, InferredValue], model: ParsedModel, image_shape: Shape) -> None:
    if len(model.inputs) != 1:
        raise GraphError(f"it has {len(model.inputs)} inputs; a model takes images only")
    image = model.inputs[0]
    batch, *sides = image.shape or (0,)
    fits = len(sides) == 3 and all(s in (None, p) for s, p in zip(sides, image_shape, strict=True))
    if image.data_type != UINT8 or not fits or batch not in (None, 1):
        shown = ["N" if side is None else side for side in image.shape or ()]
        raise GraphError(
            f"its input {image.name[:60]!r} is {'' if image.data_type == UINT8 else 'not '}uint8"
            f"{shown}; it must be uint8[N,{','.join(map(str, image_shape))}]"
        )
    _add_value(values, image.name, make_value((1, *image_shape), UINT8, batched=True))


def _check_declarations(
    declarations: Iterable[ParsedValueInfo], values: dict[str, InferredValue]
) -> None:
    """Require correct declared shapes: a runtime may plan its memory by them."""
    for declared in declarations:
        value = values[declared.name]
        shape = value.shape if declared.shape is None else declared.shape
        fits = len(shape) == len(value.shape) and declared.data_type in (0, value.data_type)
        if not fits or any(s not in (None, v) for s, v in zip(shape, value.shape, strict=True)):
            raise GraphError(
                f"it says {list(shape)} of {declared.name[:60]!r}, which is {list(value.shape)}"
            )
