"""Append nodes, constants and outputs to an ONNX graph."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx


class GraphBuilder:
    """Appends to a graph.

    Args:
        graph: it is changed in place.
        prefix: begins all names, such as `preprocess/`, so that the nodes can be found again.
    """

    def __init__(self, graph: "onnx.GraphProto", prefix: str) -> None:
        from onnx import helper, numpy_helper

        self._graph, self._prefix = graph, prefix
        self._helper, self._numpy_helper = helper, numpy_helper
        self._name_counts: dict[str, int] = {}

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the name of its value.

        Args:
            inputs: names of values; "" leaves an optional one out.
            output: name of the value; by default a new one under the prefix.
        """
        name = self._new_name(op.lower())
        output = output or name
        self._graph.node.append(self._helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike, name: str = "constant") -> str:
        """Add a constant, and return its name."""
        name = self._new_name(name)
        array = np.array(value, dtype, order="C")
        self._graph.initializer.append(self._numpy_helper.from_array(array, name))
        return name

    def add_output(self, name: str, width: int) -> None:
        """Make a value float32[N,width] an output of the graph; float32[N] with a width of 0."""
        from onnx import TensorProto

        shape = ["N", width] if width else ["N"]
        info = self._helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self._graph.output.append(info)

    def _new_name(self, name: str) -> str:
        count = self._name_counts[name] = self._name_counts.get(name, 0) + 1
        return f"{self._prefix}{name}{count if count > 1 else ''}"
