"""Make the nodes of a TensorFlow graph without TensorFlow, one by one or from ONNX nodes.

TensorBoard has the same protobuf messages under another package name, and serializes a
`tensorflow.GraphDef` byte for byte. Attributes that came after TensorFlow 1.4 (`dilations`,
`explicit_paddings`, `Truncate`) are left out: an old reader refuses unknown ones, and a new reader
fills in the defaults.

ONNX stores images as NCHW, TensorFlow as NHWC. A value that is NCHW in ONNX is made as NHWC in
TensorFlow, so that ONNX' transposes need no node.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode, Translation
from sharpeye.core.arrays import Array
from sharpeye.errors import MissingExtra

FLOAT, INT32, INT8 = (np.dtype(kind) for kind in (np.float32, np.int32, np.int8))

# NCHW's axes in the order of NHWC.
TO_NHWC = (0, 2, 3, 1)

# When two affine steps cancel out, only rounding remains: 0.0001 grey levels.
_NO_CHANGE = 1e-6

# Graph version of mid 2017, by the history in tensorflow/core/public/version.h: no operation that
# is written here was deprecated before or after.
_PRODUCER = 24

# Smaller kernels are a small part of a file, and int8 costs three more nodes each.
_MIN_INT8_ELEMENTS = 1024


def new_graph_def() -> Any:
    """An empty GraphDef message; raises `MissingExtra` if TensorBoard is not installed."""
    try:
        from tensorboard.compat.proto.graph_pb2 import GraphDef
    except ImportError:
        raise MissingExtra("tensorboard", "train", "a TensorFlow graph") from None
    return GraphDef()


class NodeList:
    """Nodes in the order in which they were added.

    Args:
        reserved: names that `free_name` does not give.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._graph = new_graph_def()
        self._graph.versions.producer = _PRODUCER
        self._names = set(reserved)

    def free_name(self, name: str) -> str:
        """A legal name like `name` that no node has; it becomes reserved."""
        base = re.sub(r"[^A-Za-z0-9_.\-/]", "_", name).strip("/").lstrip("_-/") or "node"
        free, number = base, 0
        while free in self._names:
            number += 1
            free = f"{base}_{number}"
        self._names.add(free)
        return free

    def add(self, op: str, name: str, inputs: Iterable[str] = (), **attributes: Any) -> str:
        """Add a node, and return its name.

        Args:
            name: legal, and of no other node.
            inputs: names of nodes.
            attributes: a dtype, an array (a tensor), a tuple (a shape; None is an open axis), a
                list of ints, a bool, an int, or bytes.
        """
        node = self._graph.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            _fill(node.attr[key], value)
        return name

    def constant(self, name: str, values: npt.ArrayLike, dtype: Any = FLOAT) -> str:
        """Add a constant under a name like `name`."""
        array = np.asarray(values, dtype)
        return self.add("Const", self.free_name(name), dtype=array.dtype, value=array)

    def kernel(
        self, name: str, values: npt.NDArray[np.float32], input_axes: tuple[int, ...], *, int8: bool
    ) -> str:
        """Add the kernel of a convolution, float32[h,w,...], under a name like `name`.

        Args:
            input_axes: axes that one output channel sums over.
            int8: whether a large one is stored as int8 -127..127 with a float32 scale for each
                output channel: a quarter of the size, with an error of at most half a scale.
        """
        if not int8 or values.size <= _MIN_INT8_ELEMENTS:
            return self.constant(name, values)
        largest = np.abs(values).max(axis=input_axes, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        stored = self.constant(f"{name}/int8", np.rint(values / scale), INT8)
        floats = self.free_name(f"{name}/float")
        self.add("Cast", floats, [stored], SrcT=INT8, DstT=FLOAT)
        factor = self.constant(f"{name}/scale", scale)
        return self.add("Mul", self.free_name(name), [floats, factor], T=FLOAT)

    def to_bytes(self) -> bytes:
        """The GraphDef; two of them in a row are one with the nodes of both."""
        return bytes(self._graph.SerializeToString(deterministic=True))


def _data_type(dtype: np.dtype[Any]) -> int:
    from tensorboard.compat.proto import types_pb2

    return int(types_pb2.DataType.Value(f"DT_{'FLOAT' if dtype == FLOAT else dtype.name.upper()}"))


def _fill(attribute: Any, value: Any) -> None:
    """Put a value into the field of an AttrValue that its type belongs to."""
    match value:
        case np.dtype():
            attribute.type = _data_type(value)
        case np.ndarray():
            tensor = attribute.tensor
            tensor.dtype = _data_type(value.dtype)
            _fill_shape(tensor.tensor_shape, value.shape)
            tensor.tensor_content = value.astype(value.dtype.newbyteorder("<")).tobytes()
        case tuple():
            _fill_shape(attribute.shape, value)
        case list():
            attribute.list.i.extend(value)
        case bool():
            attribute.b = value
        case int():
            attribute.i = value
        case _:
            attribute.s = value


def _fill_shape(shape: Any, sizes: tuple[int | None, ...]) -> None:
    for size in sizes:
        shape.dim.add(size=-1 if size is None else size)


@dataclass(frozen=True)
class GraphDefValue:
    """A value of the ONNX network in TensorFlow.

    Attributes:
        node: the node that makes it.
        layout: the order of its axes in ONNX, `NHWC`, `NCHW` or `NC`; NCHW is NHWC in TensorFlow.
        affine: (scale, offset), float64 scalars or [C], which are still to be applied to `node`.
    """

    node: str
    layout: str
    affine: tuple[Array, Array] | None = None


class GraphDefTranslation(Translation[GraphDefValue]):
    """A translation, with the nodes that it creates; methods raise `ModelError`."""

    def __init__(
        self, network: OnnxNetwork, image: GraphDefValue, nodes: NodeList, *, int8_weights: bool
    ) -> None:
        super().__init__(network, image)
        self.nodes, self.int8_weights = nodes, int8_weights

    def final_value(self, node: OnnxNode, index: int = 0, layout: str = "") -> GraphDefValue:
        """An input in a given layout, with its affine step applied."""
        value = self.value(node, index)
        if layout not in ("", value.layout):
            node.fail(f"it is known for {layout}, not for {value.layout}")
        if value.affine is None:
            return value
        name = value.node
        for op, numbers, neutral in zip(("Mul", "Add"), value.affine, (1, 0), strict=True):
            if np.abs(numbers - neutral).max() > _NO_CHANGE:
                constant = self.nodes.constant(f"normalize/{op.lower()}/by", numbers)
                name = self.emit(op, f"normalize/{op.lower()}", name, constant)
        self.values[node.inputs[index]] = GraphDefValue(name, value.layout)
        return self.values[node.inputs[index]]

    def emit(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        """Add a node on floats under a name like `name`."""
        return self.nodes.add(op, self.nodes.free_name(name), inputs, T=FLOAT, **attributes)

    def add_bias(self, node: OnnxNode, name: str, bias: Array) -> str:
        """The TensorFlow node `name` plus float32[C] on its channels."""
        constant = self.nodes.constant(f"{node.name}/bias", bias)
        return self.emit("BiasAdd", f"{node.name}/BiasAdd", name, constant)

    def add_zeros(self, node: OnnxNode, name: str, paddings: npt.ArrayLike) -> str:
        """The TensorFlow node `name` with zeros around it: int[4,2], before and after, in NHWC."""
        if not np.any(paddings):
            return name
        constant = self.nodes.constant(f"{node.name}/Pad/paddings", paddings, INT32)
        return self.emit("Pad", f"{node.name}/Pad", name, constant, Tpaddings=INT32)

    def aligned_constant(self, node: OnnxNode, index: int, layout: str) -> Array:
        """One of two inputs, a constant: a scalar, [C], or of the other input's rank in NHWC."""
        constant, shape = node.constant(index), node.output_shape()
        if shape != node.input_shape(1 - index):
            node.fail(f"its constant {list(constant.shape)} makes the tensor larger")
        constant = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
        if layout == "NCHW":
            constant = constant.transpose(TO_NHWC)
        if constant.size == 1:
            return constant.reshape(())
        return constant.reshape(-1) if constant.size == constant.shape[-1] else constant
