"""Translate an ONNX network node by node, with one rule per operation."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from sharpeye.artefact.export.onnx_network import OnnxNetwork, OnnxNode

TranslatedValue = TypeVar("TranslatedValue")

_ONNX_FLOAT = 1  # TensorProto.FLOAT


class Translation(Generic[TranslatedValue]):
    """The values that are translated so far.

    Args:
        image: the network's input in the other framework.

    Attributes:
        values: by their names in ONNX.
    """

    def __init__(self, network: OnnxNetwork, image: TranslatedValue) -> None:
        self.network = network
        self.values: dict[str, TranslatedValue] = {network.input: image}

    def run(self, rules: Mapping[str, Callable[[Any, OnnxNode], TranslatedValue]]) -> None:
        """Translate all nodes.

        Args:
            rules: by operation; each gets this translation and a node, and returns the output.

        Raises:
            ModelError: an operation has no rule, or is used in a way that its rule refuses.
        """
        for node in self.network.nodes():
            if node.op not in rules:
                node.fail(f"known are {', '.join(rules)}")
            if len(node.outputs) != 1:
                node.fail("it has more than one output")
            self.values[node.outputs[0]] = rules[node.op](self, node)

    def value(self, node: OnnxNode, index: int = 0) -> TranslatedValue:
        """An input of a node that comes from the image."""
        value = self.values.get(node.inputs[index])
        if value is None:
            node.fail(f"its input {node.inputs[index]!r} does not come from the picture")
        return value

    def identity(self, node: OnnxNode) -> TranslatedValue:
        """The rule of `Identity`, and of a `Cast` to float32, which all values are already."""
        if node.attributes.get("to", _ONNX_FLOAT) != _ONNX_FLOAT:
            node.fail("only casts to float32 are known")
        return self.value(node)
