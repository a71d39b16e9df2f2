"""A translation from ONNX to Keras while it is under way: which value is which tensor.

ONNX keeps images as NCHW, Keras as NHWC: a value of rank 4 that is NCHW in ONNX is held as NHWC
here, and turned only where a step looks at the order of its axes.
"""

from dataclasses import dataclass
from typing import Any

from sharpeye.artefact.export.onnx_network import Array, Network, Step


@dataclass(frozen=True)
class Value:
    """A value of the ONNX graph, as it is in Keras.

    Attributes:
        tensor: of Keras.
        turned: whether it is NCHW in ONNX and NHWC here.
    """

    tensor: Any
    turned: bool = False


class KerasTranslation:
    """What is known of a network's values so far, and the layers that make them.

    Attributes:
        network: what is translated.
        values: by their names in ONNX.
        weights: layers, and what they get when the model is whole.
    """

    def __init__(self, network: Network, image: Value) -> None:
        self.network = network
        self.values = {network.input: image}
        self.weights: list[tuple[Any, list[Array]]] = []
        self._names: set[str] = set()

    def value(self, step: Step, index: int = 0) -> Value:
        found = self.values.get(step.inputs[index])
        if found is None:
            step.fail(f"its input {step.inputs[index]!r} does not come from the picture")
        return found

    def name(self, step: Step, ending: str = "") -> str:
        """A name like the step's that no layer has; Keras allows no slashes in names."""
        wanted = "".join(c if c.isalnum() else "_" for c in step.name + ending).strip("_")
        found, number = wanted, 1
        while found in self._names:
            number += 1
            found = f"{wanted}_{number}"
        self._names.add(found)
        return found

    def layer(self, kind: str, step: Step, *tensors: Any, ending: str = "", **options: Any) -> Any:
        """What a layer of Keras' makes of one tensor or several."""
        from keras import layers

        made = getattr(layers, kind)(name=self.name(step, ending), **options)
        return made(tensors[0] if len(tensors) == 1 else list(tensors))

    def weighted(
        self, kind: str, step: Step, tensor: Any, weights: list[Array], **more: Any
    ) -> Any:
        from keras import layers

        made = getattr(layers, kind)(name=self.name(step), use_bias=len(weights) > 1, **more)
        found = made(tensor)
        self.weights.append((made, weights))
        return found

    def plain(self, value: Value) -> Any:
        """The tensor with its axes in ONNX' order."""
        return self._turn(value.tensor, (3, 1, 2)) if value.turned else value.tensor

    def image(self, step: Step, index: int = 0) -> Any:
        """An NCHW input as NHWC."""
        value = self.value(step, index)
        if value.turned:
            return value.tensor
        if len(value.tensor.shape) != 4:
            step.fail("it is known for pictures only")
        return self._turn(value.tensor, (2, 3, 1))

    @staticmethod
    def _turn(tensor: Any, order: tuple[int, ...]) -> Any:
        from keras import layers

        return layers.Permute(order)(tensor)
