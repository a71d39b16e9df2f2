"""Nodes and constants of an ONNX graph under construction."""

from typing import Any

import numpy as np

from sharpeye.core.arrays import Array


class OnnxNodes:
    """Nodes and constants. Methods return the name of the value that they add."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._arrays: dict[str, Array] = {}

    def _node(self, op: str, output: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; its name is that of its output."""
        from onnx import helper

        self._nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _array(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add or replace a constant."""
        self._arrays[name] = np.array(value, dtype, order="C")
        return name

    def _slice(self, name: str, value: str, start: int, *, count: int, axis: int = 1) -> str:
        """`count` elements of an axis, from `start`."""
        bounds = [
            self._array(f"{name}/{key}{start}", [number], np.int64)
            for key, number in (("from", start), ("to", start + count), ("axis", axis))
        ]
        return self._node("Slice", f"{name}/cut{start}", value, *bounds)
