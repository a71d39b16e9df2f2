"""The ONNX operations that SharpEye writes: the shape rule of each, and its allowed attributes."""

from collections.abc import Callable
from typing import NamedTuple

from sharpeye.artefact.verify import shape_inference as rules
from sharpeye.artefact.verify.inferred_value import GraphError, InferredValue
from sharpeye.artefact.verify.node_inference import NodeInference


class Operation(NamedTuple):
    """The shape rule of an operation, and the attributes that it may have."""

    infer: Callable[[NodeInference], InferredValue]
    attributes: tuple[str, ...] = ()


_UNARY = ("Relu", "Sqrt", "Exp", "Log", "Softplus", "Sigmoid", "Clip", "Round", "Floor", "Identity")
_BROADCAST = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Greater", "Equal", "Where")
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL2")
_WINDOW = ("kernel_shape", "strides", "pads")
_RESIZE = (
    *("axes", "mode", "antialias", "cubic_coeff_a", "exclude_outside"),
    *("coordinate_transformation_mode", "nearest_mode"),
)

OP_TABLE: dict[str, Operation] = {
    **dict.fromkeys(_UNARY, Operation(rules.same_shape)),
    "Softmax": Operation(rules.same_shape, ("axis",)),
    "QuantizeLinear": Operation(rules.same_shape, ("axis",)),
    "DequantizeLinear": Operation(rules.same_shape, ("axis",)),
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


def infer_output(node: NodeInference) -> InferredValue:
    """The output of a node; its cost is set.

    Raises:
        GraphError: SharpEye writes no such operation or attribute, or the shapes do not fit, or
            are not known before the graph runs.
    """
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
