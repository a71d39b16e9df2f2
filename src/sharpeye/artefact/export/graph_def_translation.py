"""The state of a translation from ONNX to a TensorFlow graph: which node makes which value.

ONNX stores images as NCHW, TensorFlow as NHWC. A value that is NCHW in ONNX is made as NHWC in
TensorFlow, so that ONNX' transposes need no node.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.export.graph_def_nodes import FLOAT, INT32, NodeList
from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode, Translation
from sharpeye.core.arrays import Array

# NCHW's axes in the order of NHWC.
TO_NHWC = (0, 2, 3, 1)

# What is left when two affine steps undo each other is rounding: 0.0001 grey levels.
_NO_CHANGE = 1e-6


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
        """An input, of a certain layout, to which its affine step was applied."""
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
