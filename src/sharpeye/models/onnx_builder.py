"""Collect the nodes and arrays of an ONNX graph. Needs onnx."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Array

if TYPE_CHECKING:
    import onnx

_OPSET, _IR_VERSION = 17, 9  # of 2022: all current runtimes read them


class OnnxBuilder:
    """A graph under construction. Its methods return the name of the value they add."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._nodes: list[Any] = []
        self._arrays: dict[str, Array] = {}

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; its name is that of its output."""
        self._nodes.append(self._helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _array(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add or replace a constant."""
        self._arrays[name] = np.array(value, dtype, order="C")
        return name

    def _model(
        self,
        name: str,
        input_info: tuple[str, int, Sequence[int]],
        outputs: Mapping[str, Sequence[int]],
    ) -> "onnx.ModelProto":
        """The checked model, from one input (name, ONNX type, shape) to float32 outputs.

        All shapes are those of one image.
        """
        from onnx import TensorProto, checker

        make = self._helper.make_tensor_value_info
        input_name, input_type, input_shape = input_info
        graph = self._helper.make_graph(
            self._nodes,
            name,
            [make(input_name, input_type, ["N", *input_shape])],
            [make(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in outputs.items()],
            [self._numpy_helper.from_array(value, name) for name, value in self._arrays.items()],
        )
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], producer_name="sharpeye")
        model.ir_version = _IR_VERSION
        checker.check_model(model)
        return model
