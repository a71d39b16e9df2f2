"""Appends nodes and constants to an ONNX graph, all under one prefix."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx


class Nodes:
    """Adds to a graph.

    Args:
        graph: where the nodes and constants go, at its end.
        prefix: begins all names, such as `preprocess/`: by it they can be found again.
    """

    def __init__(self, graph: "onnx.GraphProto", prefix: str) -> None:
        from onnx import helper, numpy_helper

        self._graph, self._prefix = graph, prefix
        self._helper, self._numpy_helper = helper, numpy_helper
        self._taken: dict[str, int] = {}

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the name of the value.

        Args:
            inputs: names of values; "" leaves an optional one out.
            output: the value's name; by default one is made under the prefix.
        """
        name = self._free_name(op.lower())
        output = output or name
        self._graph.node.append(self._helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def constant(self, value: npt.ArrayLike, kind: npt.DTypeLike, name: str = "constant") -> str:
        """Add a constant; returns its name."""
        name = self._free_name(name)
        array = np.array(value, kind, order="C")
        self._graph.initializer.append(self._numpy_helper.from_array(array, name))
        return name

    def output(self, name: str, width: int) -> None:
        """Make a value float32[N,width] an output of the graph; float32[N] with a width of 0."""
        from onnx import TensorProto

        shape = ["N", width] if width else ["N"]
        kind = self._helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self._graph.output.append(kind)

    def _free_name(self, name: str) -> str:
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return f"{self._prefix}{name}{count if count > 1 else ''}"
