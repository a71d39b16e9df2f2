"""A node during shape inference: checked access to its inputs and attributes, and its cost."""

from collections.abc import Sequence
from typing import Any

from sharpeye.artefact.verify.inferred_value import (
    MIXES_IMAGES,
    GraphError,
    InferredValue,
    require,
    require_numbers,
)
from sharpeye.artefact.verify.onnx_parser import ParsedNode


class NodeInference:
    """A node with the inferred values of its inputs; every method raises `GraphError`.

    Attributes:
        op: the operation.
        attributes: those that the file gives.
        inputs: None where an optional one is absent.
        multiplications: upper bound of those that the node needs for one image.
        scratch: how many numbers it holds beside its output, for one image.
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
