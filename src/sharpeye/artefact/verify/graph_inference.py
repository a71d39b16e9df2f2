"""The facts that shape inference derives about a graph's values and nodes.

A value has a shape, and numbers if they are few; a node has a cost. Shapes are those of one image.
A `batched` value holds one entry per image along its first axis, and nothing else depends on the
number of images, so the results for one image hold for many.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sharpeye.artefact.verify.onnx_parser import DTYPES, ParsedNode
from sharpeye.core.arrays import Array, Bools

Shape = tuple[int, ...]

# Shapes, pads and the numbers that they are computed from have at most so many elements; larger
# values are pixels, features or weights.
_MAX_DATA_ELEMENTS = 16
_MAX_EXACT = 2.0**53  # larger sums in float64 and in int64 may differ
_MAX_AXES = 8

# The error if the entry of one image would depend on another image.
MIXES_IMAGES = "it mixes the images of a batch"


class GraphError(ValueError):
    """The graph is refused; the message says why."""


def require(condition: object, reason: str) -> None:
    if not condition:
        raise GraphError(reason)


@dataclass(frozen=True, slots=True)
class InferredValue:
    """One value of a graph.

    Attributes:
        shape: for one image; every axis is known and above 0.
        data_type: number of `TensorProto.DataType`.
        batched: whether the first axis is that of the images.
        data: the numbers of a small value that is independent of image content.
        known: bool, in the shape of `data`: which numbers are known; None for all.
    """

    shape: Shape
    data_type: int
    batched: bool = False
    data: Array | None = None
    known: Bools | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def with_shape(self, shape: Sequence[int], data_type: int | None = None) -> "InferredValue":
        """A value with another shape for the same images, without known numbers."""
        return make_value(shape, data_type or self.data_type, batched=self.batched)


def make_value(shape: Sequence[int], data_type: int, *, batched: bool = False) -> InferredValue:
    """A value without known numbers; `GraphError` if its shape is impossible."""
    shape = tuple(int(side) for side in shape)
    if len(shape) > _MAX_AXES or any(side < 1 for side in shape):
        raise GraphError(f"a value would have the shape {list(shape)[: _MAX_AXES + 1]}")
    require(not batched or shape[:1] == (1,), MIXES_IMAGES)
    return InferredValue(shape, data_type, batched)


def constant_value(array: Array, data_type: int) -> InferredValue:
    data = array if array.size <= _MAX_DATA_ELEMENTS else None
    return replace(make_value(array.shape, data_type), data=data)


def known_value(data: Array, known: Bools | None, data_type: int) -> InferredValue:
    """A value with known numbers, except those that are not finite or beyond `_MAX_EXACT`."""
    value = make_value(data.shape, data_type)
    if data.size > _MAX_DATA_ELEMENTS:
        return value
    exact = [-_MAX_EXACT < number < _MAX_EXACT for number in data.ravel().tolist()]
    if not all(exact):
        mask = np.array(exact, bool).reshape(data.shape)
        known = mask if known is None else known & mask
    return replace(value, data=data, known=known)


def require_numbers(value: InferredValue | None, what: str, kinds: str = "iu") -> list[Any]:
    """The numbers of a value, which must not depend on images or on their number.

    Args:
        kinds: NumPy's letters of the allowed types; whole numbers by default.
    """
    if value is None or value.data is None or not (value.known is None or value.known.all()):
        raise GraphError(f"{what} are not known before it runs")
    require(value.data.dtype.kind in kinds, f"{what} are of another type")
    return list(value.data.reshape(-1).tolist())


def rearrange(
    values: Sequence[InferredValue], move: Callable[..., Array], data_type: int
) -> InferredValue | None:
    """Apply `move`, such as a reshape, to the numbers of values; None if any value has none."""
    data = [value.data for value in values if value.data is not None]
    if len(data) != len(values):
        return None
    return known_value(move(*data), _rearrange_known(values, move), data_type)


def _rearrange_known(values: Sequence[InferredValue], move: Callable[..., Array]) -> Array | None:
    if all(value.known is None for value in values):
        return None
    return move(*(np.ones(v.shape, bool) if v.known is None else v.known for v in values))


def _divide(dividend: Array, divisor: Array) -> Array:
    """Division as in ONNX, which rounds integers towards zero."""
    if dividend.dtype.kind == "f":
        return np.asarray(dividend / divisor)
    quotient = np.abs(dividend) // np.abs(divisor)
    return np.asarray(quotient * np.sign(dividend) * np.sign(divisor), dividend.dtype)


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Greater": np.greater,
    "Equal": np.equal,
    "Where": np.where,
    "Round": np.rint,
    "Floor": np.floor,
    "Identity": np.array,
}


def evaluate(op: str, values: Sequence[InferredValue], data_type: int) -> InferredValue | None:
    """The result of an operation on known numbers; None if it is unknown."""
    data = [value.data for value in values if value.data is not None]
    if op not in _ARITHMETIC or len(data) != len(values):
        return None
    operands = data[1:] if op == "Where" else data
    if any(operand.dtype != operands[0].dtype for operand in operands):
        return None
    if op == "Div" and operands[0].dtype.kind != "f" and not operands[1].all():
        return None
    result = np.asarray(_ARITHMETIC[op](*data), DTYPES[data_type])
    return known_value(result, _rearrange_known(values, _all), data_type)


def _all(*known: Array) -> Array:
    """A mask of the elements that are known in all operands."""
    return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*known)))


def broadcast(values: Sequence[InferredValue]) -> tuple[Shape, bool]:
    """The common shape of values, and whether it is batched."""
    shape = values[0].shape
    try:
        if any(value.shape != shape for value in values):
            shape = np.broadcast_shapes(*(value.shape for value in values))
    except ValueError:
        raise GraphError("it joins values whose shapes do not fit") from None
    require(all(len(v.shape) == len(shape) for v in values if v.batched), MIXES_IMAGES)
    return shape, any(value.batched for value in values)


class NodeInference:
    """A node with the inferred values of its inputs; every method raises `GraphError`.

    Attributes:
        op: the operation.
        attributes: the attributes in the file.
        inputs: None where an optional one is absent.
        multiplications: an upper bound on their number for one image.
        scratch: the numbers it holds besides its output, for one image.
    """

    def __init__(self, node: ParsedNode, inputs: Sequence[InferredValue | None]) -> None:
        self.op, self.attributes, self.inputs = node.op, node.attributes, inputs
        self.multiplications = self.scratch = 0

    def present_inputs(self) -> list[InferredValue]:
        return [value for value in self.inputs if value is not None]

    def input(self, index: int) -> InferredValue:
        value = self.optional_input(index)
        if value is None:
            raise GraphError("one of its inputs is missing")
        return value

    def optional_input(self, index: int) -> InferredValue | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant_input(self, index: int) -> InferredValue:
        """An input that is the same for all images."""
        value = self.input(index)
        require(not value.batched, MIXES_IMAGES)
        return value

    def image_input(self) -> InferredValue:
        """The first input, [N,C,H,W]."""
        value = self.input(0)
        require(len(value.shape) == 4, "it takes values of four axes only")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise GraphError(f"its {name} is no whole number")
        return value

    def integers(self, name: str, default: Sequence[int], minimum: int) -> list[int]:
        values = self.attributes.get(name, list(default))
        if not isinstance(values, list) or len(values) != len(default) or min(values) < minimum:
            raise GraphError(f"its {name} are out of range")
        return values

    def axis(self, name: str, default: int, value: InferredValue) -> int:
        return normalize_axis(self.integer(name, default), value)

    def axes(self, index: int, value: InferredValue) -> list[int]:
        """Axes of `value` that input `index` names; not the axis of the images."""
        given = require_numbers(self.input(index), "its axes")
        axes = [normalize_axis(axis, value) for axis in given]
        require(len(set(axes)) == len(axes) and not (value.batched and 0 in axes), MIXES_IMAGES)
        return axes


def normalize_axis(axis: Any, value: InferredValue) -> int:
    """The axis, counted from the first."""
    rank = len(value.shape)
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise GraphError("an axis is out of range")
    return axis % rank
