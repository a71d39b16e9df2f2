"""What each operation that SharpEye writes makes of shapes: a method an operation.

Source: https://onnx.ai/onnx/operators.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from sharpeye.artefact.verify.inferred_value import (
    GraphError,
    Shape,
    Value,
    broadcast,
    cast,
    computed,
    made,
    numbers,
    rearranged,
    shape_of,
)
from sharpeye.artefact.verify.onnx_parser import BOOL, INT64, UINT8, Node
from sharpeye.artefact.verify.op_table import JOINED, REDUCED, SAME, Operation, axis_of

# Reading what lies around a new pixel: of a cubic filter four rows and columns.
_RESIZE_READS = 16


class Step(Operation):
    """One node, with what is known of its inputs.

    After `result`, `work` is how many multiplications it needs at most, and `room` how many
    numbers it keeps beside its result, for one image.
    """

    def __init__(self, node: Node, inputs: Sequence[Value | None]) -> None:
        super().__init__(node, inputs)
        self.work, self.room = 0, 0

    def result(self) -> Value:
        """What the node gives.

        Raises:
            GraphError: shapes that do not fit, or that are not known beforehand.
        """
        op = self._node.op
        rule: Callable[[], Value]
        if op in SAME:
            rule = self._same
        elif op in JOINED:
            rule = self._joined
        elif op in REDUCED:
            rule = self._reduced
        else:
            rule = getattr(self, f"_{op.lower()}")
        found = rule()
        self.work = max(self.work, found.size, *(each.size for each in self._given()))
        return found

    # --- of a shape that is there already --------------------------------------------------------

    def _same(self) -> Value:
        first = self._input(0)
        for other in self._inputs[1:]:
            if other is not None and (other.batched or len(other.shape) > 1):
                raise GraphError("SharpEye writes it with constants of one axis only")
        kind = first.kind
        if self._node.op == "QuantizeLinear":
            third = self._optional(2)
            kind = UINT8 if third is None else third.kind
        elif self._node.op == "DequantizeLinear":
            kind = self._input(1).kind
        known = computed(self._node.op, [first], kind) if len(self._inputs) == 1 else None
        return known or first.with_shape(first.shape, kind)

    def _joined(self) -> Value:
        op, values = self._node.op, self._given()
        if len(values) != (3 if op == "Where" else 2):
            raise GraphError(f"SharpEye does not write it with {len(values)} inputs")
        kind = BOOL if op in ("Greater", "Equal") else values[-1].kind
        shape, batched = broadcast(values)
        return computed(op, values, kind) or made(shape, kind, batched=batched)

    def _cast(self) -> Value:
        return cast(self._input(0), self._whole("to", 0))

    def _shape(self) -> Value:
        return shape_of(self._input(0))

    def _transpose(self) -> Value:
        value = self._input(0)
        order = self._wholes("perm", range(len(value.shape))[::-1], 0)
        if sorted(order) != list(range(len(order))) or (value.batched and order[0]):
            raise GraphError("it mixes the pictures of a batch")
        return value.with_shape([value.shape[axis] for axis in order])

    def _flatten(self) -> Value:
        value = self._input(0)
        if self._whole("axis", 1) != 1 or not value.shape:
            raise GraphError("SharpEye writes it for axis 1 only")
        return value.with_shape([value.shape[0], math.prod(value.shape[1:])])

    def _reshape(self) -> Value:
        value, wanted = self._input(0), numbers(self._input(1), "its sizes")
        if value.batched and (not wanted or wanted[0] not in (0, -1)):
            raise GraphError("it mixes the pictures of a batch")
        if wanted.count(-1) > 1 or wanted[len(value.shape) :].count(0):
            raise GraphError("its sizes are out of range")
        shape = [side or value.shape[i] for i, side in enumerate(wanted)]
        rest = math.prod(side for side in shape if side != -1)
        shape = [value.size // rest if side == -1 and rest > 0 else side for side in shape]
        if any(side < 1 for side in shape) or math.prod(shape) != value.size:
            raise GraphError("its sizes do not fit")
        moved = rearranged([value], lambda data: data.reshape(shape), value.kind)
        return moved or value.with_shape(shape)

    def _squeeze(self) -> Value:
        value = self._input(0)
        if len(self._inputs) > 1:
            axes = self._axes(self._input(1), value)
        else:
            axes = [i for i, side in enumerate(value.shape) if side == 1]
        if value.batched and 0 in axes:
            raise GraphError("its axes are missing")
        if any(value.shape[axis] != 1 for axis in axes):
            raise GraphError("its axes are out of range")
        shape = [side for i, side in enumerate(value.shape) if i not in axes]
        moved = rearranged([value], lambda data: data.reshape(shape), value.kind)
        return moved or value.with_shape(shape)

    # --- of parts --------------------------------------------------------------------------------

    def _concat(self) -> Value:
        values = self._given()
        if not values or len(values) != len(self._inputs) or not values[0].shape:
            raise GraphError("one of its inputs is missing")
        axis = self._axis("axis", 0, values[0])
        others = {each.shape[:axis] + each.shape[axis + 1 :] for each in values}
        ranks = {len(each.shape) for each in values}
        batched = any(each.batched for each in values)
        if len(others) != 1 or len(ranks) != 1 or (batched and axis == 0):
            raise GraphError("it joins values whose shapes do not fit")
        shape = list(values[0].shape)
        shape[axis] = sum(each.shape[axis] for each in values)
        moved = rearranged(values, lambda *data: np.concatenate(data, axis), values[0].kind)
        return moved or made(shape, values[0].kind, batched=batched)

    def _gather(self) -> Value:
        value, index = self._input(0), self._input(1)
        axis = self._axis("axis", 0, value)
        # Rows of a table may be picked by what is in an image, rows of images may not.
        if (value.batched and (axis == 0 or index.batched)) or (index.batched and axis):
            raise GraphError("it mixes the pictures of a batch")
        side = value.shape[axis]
        if value.data is not None and index.data is not None:
            taken = numbers(index, "its places")
            if any(not -side <= place < side for place in taken):
                raise GraphError("its places are out of range")
            places = np.array(taken, np.int64).reshape(index.shape)
            found = rearranged([value], lambda data: np.take(data, places, axis), value.kind)
            if found:
                return found
        shape = (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
        return made(shape, value.kind, batched=value.batched or index.batched)

    def _slice(self) -> Value:
        value = self._input(0)
        starts, ends = (numbers(self._input(i), "its places") for i in (1, 2))
        axes = self._axes(self._input(3), value)
        if len(self._inputs) > 4 or not len(starts) == len(ends) == len(axes):
            raise GraphError("SharpEye writes it without steps, and with axes")
        cut = [slice(None)] * len(value.shape)
        for start, end, axis in zip(starts, ends, axes, strict=True):
            cut[axis] = slice(start, end)
        shape = [len(range(side)[part]) for side, part in zip(value.shape, cut, strict=True)]
        moved = rearranged([value], lambda data: data[tuple(cut)], value.kind)
        return moved or value.with_shape(shape)

    def _pad(self) -> Value:
        value, pads = self._input(0), numbers(self._input(1), "its pads")
        rank = len(value.shape)
        third = self._optional(2)
        if len(self._inputs) > 3 or len(pads) != 2 * rank or min(pads, default=0) < 0:
            raise GraphError("its pads are out of range")
        if (value.batched and (pads[0] or pads[rank])) or (third and third.size != 1):
            raise GraphError("it mixes the pictures of a batch")
        return value.with_shape([s + pads[i] + pads[rank + i] for i, s in enumerate(value.shape)])

    def _resize(self) -> Value:
        value = self._input(0)
        if len(self._inputs) < 3 or self._inputs[1] is not None:
            raise GraphError("SharpEye writes it without a region")
        given = self._node.attributes.get("axes", list(range(len(value.shape))))
        axes = [axis_of(axis, value) for axis in given]
        shape = list(value.shape)
        if self._inputs[2] is not None:
            wanted = [
                int(np.float32(scale) * np.float32(value.shape[axis]))
                for scale, axis in zip(
                    numbers(self._inputs[2], "its sizes", "f"), axes, strict=False
                )
                if abs(scale) < 2**32
            ]
        else:
            wanted = numbers(self._optional(3), "its sizes")
        if len(wanted) != len(axes):
            raise GraphError("its sizes are out of range")
        for axis, side in zip(axes, wanted, strict=True):
            shape[axis] = side
        found = value.with_shape(shape)
        self.work = _RESIZE_READS * (value.size + found.size)
        self.room = sum(shape) * _RESIZE_READS + value.size
        return found

    def _range(self) -> Value:
        first, last, step = (numbers(self._input(i), "its ends")[0] for i in range(3))
        if self._input(0).kind != INT64 or step != 1:
            raise GraphError("SharpEye writes it in steps of one only")
        return made([last - first], INT64)

    # --- sums ------------------------------------------------------------------------------------

    def _reduced(self) -> Value:
        value = self._input(0)
        if "axes" in self._node.attributes:
            given = self._node.attributes["axes"]
            axes = [axis_of(axis, value) for axis in given]
            if value.batched and 0 in axes:
                raise GraphError("it mixes the pictures of a batch")
        elif len(self._inputs) > 1:
            axes = self._axes(self._input(1), value)
        else:
            raise GraphError("its axes are missing")
        return self._without(value, axes, value.kind)

    def _argmax(self) -> Value:
        value = self._input(0)
        axis = self._axis("axis", 0, value)
        if value.batched and axis == 0:
            raise GraphError("it mixes the pictures of a batch")
        return self._without(value, [axis], INT64)

    def _without(self, value: Value, axes: list[int], kind: int) -> Value:
        keep = self._whole("keepdims", 1)
        if keep not in (0, 1):
            raise GraphError("its keepdims must be 0 or 1")
        shape = [1 if i in axes else s for i, s in enumerate(value.shape) if keep or i not in axes]
        return value.with_shape(shape, kind)

    def _gemm(self) -> Value:
        first, second = self._input(0), self._constant(1)
        third = self._optional(2)
        if len(first.shape) != 2 or len(second.shape) != 2 or first.shape[1] != second.shape[0]:
            raise GraphError("it multiplies values whose shapes do not fit")
        shape = (first.shape[0], second.shape[1])
        if third is not None and broadcast([made(shape, first.kind), third])[0] != shape:
            raise GraphError("it joins values whose shapes do not fit")
        self.work = first.size * second.shape[1]
        return first.with_shape(shape)

    def _matmul(self) -> Value:
        first, second = self._input(0), self._input(1)
        if min(len(first.shape), len(second.shape)) < 2 or first.shape[-1] != second.shape[-2]:
            raise GraphError("it multiplies values whose shapes do not fit")
        shape = _product_shape(first, second)
        self.work = math.prod(shape) * first.shape[-1]
        return made(shape, first.kind, batched=first.batched or second.batched)

    # --- of windows that slide over images -----------------------------------------------------

    def _globalaveragepool(self) -> Value:
        value = self._image()
        return value.with_shape((*value.shape[:2], 1, 1))

    _globalmaxpool = _globalaveragepool

    def _image(self) -> Value:
        value = self._input(0)
        if len(value.shape) != 4:
            raise GraphError("it takes values of four axes only")
        return value

    def _conv(self) -> Value:
        value, kernel = self._image(), self._constant(1)
        group = self._whole("group", 1)
        if len(kernel.shape) != 4 or group < 1 or value.shape[1] != kernel.shape[1] * group:
            raise GraphError("its kernel does not fit")
        window = self._wholes("kernel_shape", kernel.shape[2:], 1)
        bias = self._optional(2)
        if tuple(window) != kernel.shape[2:] or (bias and bias.shape != kernel.shape[:1]):
            raise GraphError("its kernel does not fit")
        sides = self._slid(value, window, self._wholes("dilations", (1, 1), 1))
        found = value.with_shape((value.shape[0], kernel.shape[0], *sides))
        self.work = found.size * math.prod(kernel.shape[1:])
        self.room = math.prod(sides) * value.shape[1] * math.prod(window)
        return found

    def _slid(self, value: Value, window: list[int], apart: list[int]) -> Shape:
        strides, pads = self._wholes("strides", (1, 1), 1), self._wholes("pads", (0, 0, 0, 0), 0)
        return tuple(
            (side + pads[i] + pads[i + 2] - apart[i] * (window[i] - 1) - 1) // strides[i] + 1
            for i, side in enumerate(value.shape[2:])
        )

    def _maxpool(self) -> Value:
        value, window = self._image(), self._wholes("kernel_shape", (0, 0), 1)
        found = value.with_shape((*value.shape[:2], *self._slid(value, window, [1, 1])))
        self.work = found.size * math.prod(window)
        return found

    _averagepool = _maxpool


def _product_shape(first: Value, second: Value) -> Shape:
    """Shape of a matrix product; one of images keeps them on its first axis."""
    for one, other in ((first, second), (second, first)):
        rows_of_images = len(one.shape) == 2 and (one is second or other.batched)
        if one.batched and (rows_of_images or len(one.shape) < len(other.shape)):
            raise GraphError("it mixes the pictures of a batch")
    try:
        outer = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    except ValueError:
        raise GraphError("it multiplies values whose shapes do not fit") from None
    return (*outer, first.shape[-2], second.shape[-1])
