"""What is known of a value in a graph before the graph runs: its shape, and small numbers in it.

All is said for one image. A value that is `batched` holds one entry an image along its first
axis, and nothing else depends on how many there are: so what holds for one holds for many.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.verify.onnx_parser import BOOL, DTYPES, INT64

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

# Shapes, pads and the sums that they are made by have fewer elements; what has more is pixels.
_MAX_KNOWN = 16
# Beyond it, sums in float64 and in int64 may differ.
_LARGEST_KNOWN = 2.0**53
_MAX_AXES = 8


class GraphError(ValueError):
    """A graph that is not let in; the message says why."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a graph.

    Attributes:
        shape: for one image; no axis is 0 or open.
        kind: number of `TensorProto.DataType`.
        batched: whether the first axis is that of the images.
        data: the numbers, of a small one that does not depend on what is in an image.
        sure: bool, of the shape of `data`: which of them are known; None for all.
    """

    shape: Shape
    kind: int
    batched: bool = False
    data: Array | None = None
    sure: Array | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def with_shape(self, shape: Sequence[int], kind: int | None = None) -> "Value":
        """Another value, of numbers that are not known, for the same images."""
        return made(shape, self.kind if kind is None else kind, batched=self.batched)


def made(shape: Sequence[int], kind: int, *, batched: bool = False) -> Value:
    """A value of that shape.

    Raises:
        GraphError: an axis is empty, or there are too many; or the images are mixed up.
    """
    shape = tuple(int(side) for side in shape)
    if len(shape) > _MAX_AXES or any(side < 1 for side in shape):
        raise GraphError(f"a value would have the shape {list(shape)[: _MAX_AXES + 1]}")
    if batched and (not shape or shape[0] != 1):
        raise GraphError("it mixes the pictures of a batch")
    return Value(shape, kind, batched)


def constant(values: Array, kind: int) -> Value:
    """A constant of the graph."""
    shape = made(values.shape, kind).shape
    return Value(shape, kind, False, values if values.size <= _MAX_KNOWN else None)


def known_value(data: Array, sure: Array | None, kind: int) -> Value:
    """A small value; what is no number, or larger than can be counted with, is not known."""
    shape = made(data.shape, kind).shape
    if data.size > _MAX_KNOWN:
        return Value(shape, kind)
    small = [-_LARGEST_KNOWN < each < _LARGEST_KNOWN for each in data.ravel().tolist()]
    if not all(small):
        mask = np.array(small, bool).reshape(data.shape)
        sure = mask if sure is None else sure & mask
    return Value(shape, kind, False, data, sure)


def numbers(value: Value | None, what: str, kinds: str = "iu") -> list[Any]:
    """The numbers of a value that says how large another one is.

    Args:
        kinds: of NumPy's types that are allowed: whole numbers.

    Raises:
        GraphError: they depend on images, or on how many there are; or are of another type.
    """
    known = value is not None and (value.sure is None or value.sure.all())
    if value is None or value.data is None or not known:
        raise GraphError(f"{what} are not known before it runs")
    if value.data.dtype.kind not in kinds:
        raise GraphError(f"{what} are of another type")
    return list(value.data.reshape(-1).tolist())


def rearranged(values: Sequence[Value], move: Callable[..., Array], kind: int) -> Value | None:
    """What `move` makes of small known values; None if one of them is not."""
    data = [each.data for each in values if each.data is not None]
    if len(data) != len(values):
        return None
    return known_value(move(*data), _moved(values, move), kind)


def _moved(values: Sequence[Value], move: Callable[..., Array]) -> Array | None:
    """Which numbers are known after a move; None for all."""
    if all(each.sure is None for each in values):
        return None
    every = [np.ones(each.shape, bool) if each.sure is None else each.sure for each in values]
    return move(*every)


def _together(*sure: Array) -> Array:
    """A sum is known where all of its parts are."""
    return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*sure)))


# --- sums with known numbers ---------------------------------------------------------------------


def _divide(one: Array, other: Array) -> Array:
    """As ONNX divides: integers towards zero."""
    if one.dtype.kind == "f":
        return np.asarray(one / other)
    quotient = np.abs(one) // np.abs(other)
    return np.asarray(quotient * np.sign(one) * np.sign(other), one.dtype)


ARITHMETIC: dict[str, Callable[..., Array]] = {
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


def computed(op: str, values: Sequence[Value], kind: int) -> Value | None:
    """What an operation makes of small known values; None if that is not known."""
    data = [each.data for each in values if each.data is not None]
    if op not in ARITHMETIC or len(data) != len(values):
        return None
    operands = data[1:] if op == "Where" else data
    if any(each.dtype != operands[0].dtype for each in operands):
        return None
    if op == "Div" and operands[0].dtype.kind != "f" and not operands[1].all():
        return None
    found = np.asarray(ARITHMETIC[op](*data), DTYPES[kind])
    return known_value(found, _moved(values, _together), kind)


def cast(value: Value, kind: int) -> Value:
    """A value as another type.

    Raises:
        GraphError: a type that SharpEye does not write.
    """
    if kind not in DTYPES:
        raise GraphError(f"it casts to the unknown type {kind}")
    if value.data is None or kind == BOOL:
        return value.with_shape(value.shape, kind)
    dtype, data = np.dtype(DTYPES[kind]), value.data
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if not all(info.min <= each <= info.max for each in data.ravel().tolist()):
            return value.with_shape(value.shape, kind)
    return known_value(data.astype(dtype), value.sure, kind)


def shape_of(value: Value) -> Value:
    """What `Shape` says: all but the number of images."""
    data = np.array(value.shape, np.int64)
    return known_value(data, np.arange(len(data)) > 0 if value.batched else None, INT64)


def broadcast(values: Sequence[Value]) -> tuple[Shape, bool]:
    """The common shape of values, and whether it is batched.

    Raises:
        GraphError: they have none, or one of them would get images on another axis.
    """
    shape = values[0].shape
    try:
        if any(each.shape != shape for each in values):
            shape = np.broadcast_shapes(*(each.shape for each in values))
    except ValueError:
        raise GraphError("it joins values whose shapes do not fit") from None
    for each in values:
        if each.batched and len(each.shape) != len(shape):
            raise GraphError("it mixes the pictures of a batch")
    return shape, any(each.batched for each in values)
