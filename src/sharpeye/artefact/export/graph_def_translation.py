"""A translation from ONNX to TensorFlow while it is under way: which tensor is made by which node.

ONNX keeps images as NCHW, TensorFlow as NHWC. What is NCHW in ONNX is made as NHWC in TensorFlow,
so that ONNX' transposes need no node.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.export.graph_def_nodes import FLOAT, INT32, NodeList
from sharpeye.artefact.export.onnx_network import Array, Network, Step

# NCHW's axes in the order of NHWC.
TO_NHWC = (0, 2, 3, 1)

# What is left when two affine steps undo each other is rounding: 0.0001 grey levels.
_NO_CHANGE = 1e-6


@dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph, as it is in TensorFlow.

    Attributes:
        node: the node that makes it.
        layout: the order of its axes in ONNX, `NHWC`, `NCHW` or `NC`; NCHW is NHWC in TensorFlow.
        affine: (scale, offset), float64 scalars or [C], which are still to be applied to `node`.
    """

    node: str
    layout: str
    affine: tuple[Array, Array] | None = None


class Translation:
    """What is known of a network's tensors so far, and the nodes that make them.

    Attributes:
        network: uint8 or float32[N,H,W,C], pixels 0..255, to float32[N,D].
        nodes: gets the translated ones.
        tensors: by their names in ONNX.
        int8_weights: see `NodeList.kernel`.
    """

    def __init__(
        self, network: Network, nodes: NodeList, image: Tensor, *, int8_weights: bool
    ) -> None:
        self.network, self.nodes, self.int8_weights = network, nodes, int8_weights
        self.tensors = {network.input: image}

    def find(self, step: Step, index: int = 0) -> Tensor:
        """An input of a step as it is.

        Raises:
            ModelError: it does not come from the image; and so in all methods here.
        """
        tensor = self.tensors.get(step.inputs[index])
        if tensor is None:
            step.fail(f"its input {step.inputs[index]!r} does not come from the picture")
        return tensor

    def take(self, step: Step, index: int = 0, layout: str = "") -> Tensor:
        """An input, of a certain layout, with nothing left to be applied to it."""
        tensor = self.find(step, index)
        if layout not in ("", tensor.layout):
            step.fail(f"it is known for {layout}, not for {tensor.layout}")
        if tensor.affine is None:
            return tensor
        node = tensor.node
        for op, values, neutral in zip(("Mul", "Add"), tensor.affine, (1, 0), strict=True):
            if np.abs(values - neutral).max() > _NO_CHANGE:
                by = self.nodes.constant(f"normalize/{op.lower()}/by", values)
                node = self.emit(op, f"normalize/{op.lower()}", node, by)
        self.tensors[step.inputs[index]] = Tensor(node, tensor.layout)
        return self.tensors[step.inputs[index]]

    def emit(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        """Add a node on floats under a name like `name`."""
        return self.nodes.add(op, self.nodes.free_name(name), inputs, T=FLOAT, **attributes)

    def with_bias(self, step: Step, node: str, bias: Array) -> str:
        """A node plus float32[C] on its channels."""
        by = self.nodes.constant(f"{step.name}/bias", bias)
        return self.emit("BiasAdd", f"{step.name}/BiasAdd", node, by)

    def with_zeros(self, step: Step, node: str, around: npt.ArrayLike) -> str:
        """A node with zeros around it; `around` is int[4,2], before and after, in NHWC."""
        if not np.any(around):
            return node
        by = self.nodes.constant(f"{step.name}/Pad/paddings", around, INT32)
        return self.emit("Pad", f"{step.name}/Pad", node, by, Tpaddings=INT32)

    def aligned(self, step: Step, index: int, layout: str) -> Array:
        """One of two inputs, a constant, as TensorFlow spreads it over the other one.

        Returns:
            a scalar, [C], or an array of the other's rank.
        """
        values = self.network.constant(step, index)
        shape = self.network.shape(step, step.outputs[0])
        if shape != self.network.shape(step, step.inputs[1 - index]):
            step.fail(f"its constant {list(values.shape)} makes the tensor larger")
        values = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
        if layout == "NCHW":
            values = values.transpose(TO_NHWC)
        if values.size == 1:
            return values.reshape(())
        return values.reshape(-1) if values.size == values.shape[-1] else values
