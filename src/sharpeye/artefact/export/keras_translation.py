"""The state of a translation from ONNX to Keras: values, layer names and weights.

ONNX stores images as NCHW, Keras as NHWC. A value that is NCHW in ONNX is kept as NHWC here, and
transposed only where a node depends on the order of its axes.
"""

from dataclasses import dataclass
from typing import Any

from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode, Translation
from sharpeye.core.arrays import Array


@dataclass(frozen=True)
class KerasValue:
    """A value of the ONNX network in Keras."""

    tensor: Any
    channels_last: bool = False  # whether it is NCHW in ONNX and NHWC here


class KerasTranslation(Translation[KerasValue]):
    """A translation; `weights` are set in its layers when the model is complete."""

    def __init__(self, network: OnnxNetwork, image: KerasValue) -> None:
        super().__init__(network, image)
        self.weights: list[tuple[Any, list[Array]]] = []
        self._names: set[str] = set()

    def layer(
        self, kind: str, node: OnnxNode, *tensors: Any, suffix: str = "", **options: Any
    ) -> Any:
        """The output of a new Keras layer for one tensor or several."""
        from keras import layers

        layer = getattr(layers, kind)(name=self._new_name(node, suffix), **options)
        return layer(tensors[0] if len(tensors) == 1 else list(tensors))

    def weighted_layer(
        self, kind: str, node: OnnxNode, tensor: Any, *, kernel: Array, **options: Any
    ) -> Any:
        """The output of a new layer with a kernel, and the node's third input as bias, if any."""
        from keras import layers

        weights = [kernel, *([node.constant(2)] if node.has_input(2) else [])]
        use_bias = len(weights) > 1
        layer = getattr(layers, kind)(name=self._new_name(node), use_bias=use_bias, **options)
        self.weights.append((layer, weights))
        return layer(tensor)

    def _new_name(self, node: OnnxNode, suffix: str = "") -> str:
        """A name like the node's that no layer has; Keras allows no slashes in names."""
        base = "".join(c if c.isalnum() else "_" for c in node.name + suffix).strip("_")
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def onnx_order(self, value: KerasValue) -> Any:
        """The tensor with its axes in ONNX' order."""
        return _permute(value.tensor, (3, 1, 2)) if value.channels_last else value.tensor

    def nhwc(self, node: OnnxNode, index: int = 0) -> Any:
        """An input that is NCHW in ONNX, as NHWC."""
        value = self.value(node, index)
        if value.channels_last:
            return value.tensor
        if len(value.tensor.shape) != 4:
            node.fail("it is known for images only")
        return _permute(value.tensor, (2, 3, 1))


def _permute(tensor: Any, order: tuple[int, ...]) -> Any:
    from keras import layers

    return layers.Permute(order)(tensor)
