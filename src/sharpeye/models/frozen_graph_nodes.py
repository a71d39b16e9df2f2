"""The nodes of a frozen TensorFlow graph between its image and its features, in order."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.errors import ModelError

# The node that takes the scaled image: (grey level - mean) / std. Source: `create_model_info` of
# retrain.py; `Mul` follows the JPEG decoder of inception-2015-12-05.
_IMAGES = {"Mul": (128.0, 128.0), "input": (127.5, 127.5)}
_POOLINGS = ("AvgPool", "Mean")
_MAX_NODES = 100_000
_MAX_CONSTANT_BYTES = 2**29  # of all together; Inception v3 has a third, and it is copied twice

# TensorFlow's numbers of the types that constants have: tensorflow/core/framework/types.proto.
_TYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 19: np.float16}
_LISTS = {1: "float_val", 2: "double_val", 3: "int_val", 9: "int64_val", 19: "half_val"}

# Operations on constants, which freezing tools leave in batch norms.
_FOLDED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("Identity", "StopGradient", "CheckNumerics"), lambda x: x),
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), np.add),
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Reshape": lambda x, shape: x.reshape(shape.astype(int)),
}


class Node:
    """A node, with the names of its inputs without their control inputs and output numbers."""

    def __init__(self, node: Any, file: Path) -> None:
        self.name, self.op, self._file = node.name, node.op, file
        self.inputs = [name.partition(":")[0] for name in node.input if not name.startswith("^")]
        self._attributes = node.attr

    def fail(self, reason: str) -> NoReturn:
        raise ModelError(
            f"{self._file}: node {self.name} ({self.op}) cannot be read: {reason}; give a frozen "
            "graph of Inception v3 or a MobileNet"
        )

    def number(self, key: str, default: float) -> float:
        return float(self._attributes[key].f) if key in self._attributes else default

    def flag(self, key: str, *, default: bool = False) -> bool:
        return bool(self._attributes[key].b) if key in self._attributes else default

    def strides(self) -> list[int]:
        """Of height and width, of a node on NHWC."""
        return self._spatial("strides")

    def window(self) -> list[int]:
        """Height and width of a pooling."""
        return self._spatial("ksize")

    def padding(self) -> str:
        """The ONNX value of `auto_pad`."""
        padding = bytes(self._attributes["padding"].s)
        if padding not in (b"SAME", b"VALID"):
            self.fail(f"its padding is {padding!r}")
        return "SAME_UPPER" if padding == b"SAME" else "VALID"

    def constant_bytes(self) -> int:
        """An upper limit of the size of a Const, by its declared shape."""
        dims = self._attributes["value"].tensor.tensor_shape.dim
        return 8 * math.prod(max(0, int(dim.size)) for dim in dims)

    def constant(self) -> Array:
        """The value of a Const."""
        tensor = self._attributes["value"].tensor
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.dtype not in _TYPES or any(size < 0 for size in shape):
            self.fail(f"its type {tensor.dtype} or its shape {shape} is not known")
        dtype, count = np.dtype(_TYPES[tensor.dtype]), math.prod(shape)
        values = np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<"))
        if not tensor.tensor_content:
            values = np.array(getattr(tensor, _LISTS[tensor.dtype]))
            if dtype == np.float16:
                values = values.astype(np.uint16).view(np.float16)
        if len(values) == 1 < count:  # one number for all
            values = np.broadcast_to(values, count)
        if len(values) != count:
            self.fail(f"it has {len(values)} numbers for the shape {shape}")
        if not np.isfinite(values).all():
            self.fail("it holds values that are no numbers")
        if np.issubdtype(dtype, np.floating):
            dtype = np.dtype(np.float32)
        return values.astype(dtype, copy=False).reshape(shape)

    def _spatial(self, key: str) -> list[int]:
        sizes = list(self._attributes[key].list.i)
        rates = self._attributes["dilations"].list.i if "dilations" in self._attributes else ()
        layout = self._attributes["data_format"].s if "data_format" in self._attributes else b""
        if len(sizes) != 4 or sizes[0] != 1 or sizes[3] != 1 or min(sizes) < 1:
            self.fail(f"its {key} are {sizes}")
        if layout not in (b"", b"NHWC") or any(rate != 1 for rate in rates):
            self.fail("its layout or dilation is not known")
        return sizes[1:3]


class FrozenNodes:
    """The part of a graph from its image to its features.

    Attributes:
        image: name of the node that takes the scaled image.
        scale: (mean, std) in grey levels: the node takes (grey level - mean) / std.
        pooling: the last pooling; its output is the features.
        tensor_nodes: the nodes between the two, each after its inputs, without constants.
        constants: by name.

    Raises:
        ModelError: there is no image or no pooling, or nodes are missing or in a circle.
    """

    def __init__(self, graph: Any, file: Path) -> None:
        if len(graph.node) > _MAX_NODES:
            raise ModelError(f"{file} has more than {_MAX_NODES} nodes")
        self._file = file
        self._nodes = {node.name: Node(node, file) for node in graph.node}
        image = next((n for n in _IMAGES if n in self._nodes and self._is_image(n)), None)
        if image is None:
            raise ModelError(
                f"{file} has no node `input` or `Mul` that takes an image; give the frozen graph "
                "of a MobileNet or of inception-2015-12-05"
            )
        self.image, self.scale = image, _IMAGES[image]
        self.pooling = self._find_pooling()
        self.constants: dict[str, Array] = {}
        self._bytes_left = _MAX_CONSTANT_BYTES
        self.tensor_nodes: list[Node] = []
        for node in self._in_order(self.pooling.inputs[0]):
            self._sort(node)

    def constant(self, node: Node, index: int) -> Array:
        """An input of a node, which must be a constant."""
        try:
            return self.constants[node.inputs[index]]
        except (IndexError, KeyError):
            node.fail(f"its input {index} is no constant")

    def pool_window(self) -> list[int]:
        """Height and width of the last pooling; empty if it takes the mean over all."""
        return self.pooling.window() if self.pooling.op == "AvgPool" else []

    def _is_image(self, name: str) -> bool:
        return self._nodes[name].op in ("Placeholder", "Mul")

    def _find_pooling(self) -> Node:
        """The first pooling on the way back from the graph's outputs."""
        used = {name for node in self._nodes.values() for name in node.inputs}
        level = [node for name, node in self._nodes.items() if name not in used]
        visited: set[str] = set()
        while level:
            for node in level:
                if node.op in _POOLINGS and node.inputs:
                    return node
            names = dict.fromkeys(name for node in level for name in node.inputs)
            level = [self._nodes[n] for n in names if n in self._nodes and n not in visited]
            visited |= set(names)
        raise ModelError(f"{self._file} has no pooling before its scores, and so no features")

    def _in_order(self, last: str) -> Iterable[Node]:
        """All nodes that a node depends on, and itself, each after its inputs."""
        done: set[str] = {self.image}
        opened: set[str] = set()
        stack = [last]
        while stack:
            name = stack[-1]
            if name in done:
                stack.pop()
                continue
            if name not in self._nodes:
                raise ModelError(f"{self._file} lacks the node {name}")
            node = self._nodes[name]
            missing = [each for each in node.inputs if each not in done]
            if missing and name in opened:
                node.fail("it depends on itself")
            if missing:
                opened.add(name)
                stack += missing
                continue
            done.add(name)
            yield node

    def _sort(self, node: Node) -> None:
        """Compute a constant, or list a node that depends on the image."""
        if node.op == "Const":
            self._reserve(node, node.constant_bytes())
            self.constants[node.name] = node.constant()
            return
        values = [self.constants[name] for name in node.inputs if name in self.constants]
        if node.op not in _FOLDED or not values or len(values) < len(node.inputs):
            self.tensor_nodes.append(node)
            return
        try:
            if node.op != "Reshape":
                size = math.prod(np.broadcast_shapes(*(value.shape for value in values)))
                self._reserve(node, size * values[0].itemsize)
            self.constants[node.name] = np.asarray(_FOLDED[node.op](*values))
        except (ValueError, TypeError) as error:
            node.fail(str(error))

    def _reserve(self, node: Node, count: int) -> None:
        """Count the bytes of a constant, before there are any."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            node.fail(f"its constants have more than {_MAX_CONSTANT_BYTES // 2**20} MiB")
