"""One operation as the rules of shape inference see it: its inputs, attributes and limits."""

from collections.abc import Sequence
from typing import Any

from sharpeye.artefact.verify.inferred_value import GraphError, Value, numbers
from sharpeye.artefact.verify.onnx_parser import Node

# Of operations whose result has the shape of their first input, the attributes that they may have.
SAME = {
    **dict.fromkeys(("Relu", "Sqrt", "Exp", "Log", "Softplus", "Sigmoid", "Clip"), ()),
    **dict.fromkeys(("Round", "Floor", "Identity"), ()),
    "Softmax": ("axis",),
    "QuantizeLinear": ("axis",),
    "DequantizeLinear": ("axis",),
}
JOINED = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Greater", "Equal", "Where")
REDUCED = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL2")
_WINDOW = ("kernel_shape", "strides", "pads")
ATTRIBUTES = {
    "Cast": ("to",),
    "Concat": ("axis",),
    "Flatten": ("axis",),
    "Gather": ("axis",),
    "Transpose": ("perm",),
    "ArgMax": ("axis", "keepdims", "select_last_index"),
    "Conv": (*_WINDOW, "dilations", "group"),
    "MaxPool": _WINDOW,
    "AveragePool": (*_WINDOW, "count_include_pad"),
    "Resize": (
        *("axes", "mode", "antialias", "cubic_coeff_a", "exclude_outside"),
        *("coordinate_transformation_mode", "nearest_mode"),
    ),
    **dict.fromkeys(("Gemm", "MatMul", "Pad", "Range", "Reshape"), ()),
    **dict.fromkeys(("Shape", "Slice", "Squeeze", "GlobalAveragePool", "GlobalMaxPool"), ()),
    **dict.fromkeys(JOINED, ()),
    **dict.fromkeys(REDUCED, ("axes", "keepdims")),
    **SAME,
}
OPERATIONS = frozenset(ATTRIBUTES)


class Operation:
    """One node, with what is known of its inputs.

    Raises:
        GraphError: an operation or attribute that SharpEye does not write.
    """

    def __init__(self, node: Node, inputs: Sequence[Value | None]) -> None:
        self._node, self._inputs = node, inputs
        if node.op not in OPERATIONS:
            raise GraphError("SharpEye writes no such operation")
        odd = set(node.attributes) - set(ATTRIBUTES[node.op])
        if odd:
            raise GraphError(f"SharpEye does not write its attribute {min(odd)[:40]!r}")

    def _given(self) -> list[Value]:
        return [each for each in self._inputs if each is not None]

    def _input(self, index: int) -> Value:
        found = self._optional(index)
        if found is None:
            raise GraphError("one of its inputs is missing")
        return found

    def _optional(self, index: int) -> Value | None:
        return self._inputs[index] if index < len(self._inputs) else None

    def _constant(self, index: int) -> Value:
        """An input that is the same for all images."""
        found = self._input(index)
        if found.batched:
            raise GraphError("it mixes the pictures of a batch")
        return found

    def _whole(self, name: str, default: int) -> int:
        found = self._node.attributes.get(name, default)
        if not isinstance(found, int):
            raise GraphError(f"its {name} is no whole number")
        return found

    def _wholes(self, name: str, default: Sequence[int], least: int) -> list[int]:
        found = self._node.attributes.get(name, list(default))
        if not isinstance(found, list) or len(found) != len(default) or min(found) < least:
            raise GraphError(f"its {name} are out of range")
        return found

    def _axis(self, name: str, default: int, value: Value) -> int:
        return axis_of(self._whole(name, default), value)

    def _axes(self, given: Value, value: Value) -> list[int]:
        """Axes other than that of the images."""
        axes = [axis_of(axis, value) for axis in numbers(given, "its axes")]
        if len(set(axes)) != len(axes) or (value.batched and 0 in axes):
            raise GraphError("it mixes the pictures of a batch")
        return axes


def axis_of(axis: Any, value: Value) -> int:
    rank = len(value.shape)
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise GraphError("an axis is out of range")
    return axis % rank
