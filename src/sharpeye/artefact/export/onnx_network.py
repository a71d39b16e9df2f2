"""Read an ONNX network, and translate it node by node with one rule per operation."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from sharpeye.artefact.onnx_model import infer_shapes, load_onnx
from sharpeye.core.arrays import Array
from sharpeye.errors import ModelError, one_line

TranslatedValue = TypeVar("TranslatedValue")

_ONNX_FLOAT = 1  # TensorProto.FLOAT


@dataclass(frozen=True)
class SlidingWindow:
    """How a convolution or a pooling slides over an image."""

    strides: tuple[int, int]  # vertical, horizontal
    pads: tuple[int, int, int, int]  # top, left, bottom, right of the image
    is_same: bool  # whether `pads` are those of TensorFlow's padding SAME, and not all 0


@dataclass(frozen=True)
class OnnxNode:
    """One node; methods raise `ModelError` where a translation is impossible.

    Attributes:
        name: the node's, or else that of its output.
        inputs: names of values; "" where an optional one is absent.
        attributes: the attributes in the file; texts are bytes.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    network: "OnnxNetwork" = field(repr=False)

    def fail(self, reason: str) -> NoReturn:
        """Refuse to translate the node."""
        raise ModelError(f"{self.op} {self.name!r} has no form in a TensorFlow graph: {reason}")

    def has_input(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] != ""

    def constant_inputs(self) -> list[bool]:
        """For each input, whether it is a constant."""
        return [name in self.network.constants for name in self.inputs]

    def constant(self, index: int) -> Array:
        """An input that must be a constant."""
        array = self.network.constants.get(self.inputs[index])
        if array is None:
            self.fail(f"its input {self.inputs[index]!r} is not a constant")
        return array

    def input_shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an input, for one image."""
        return self._shape(self.inputs[index])

    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output, for one image."""
        return self._shape(self.outputs[0])

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.network.shapes.get(name, ())
        if not shape or 0 in shape:
            self.fail(f"the shape of {name!r} is not fixed")
        return shape

    def window(self, size: tuple[int, ...]) -> SlidingWindow:
        """The window of (height, width) that slides over the first input, NCHW."""
        given = self.attributes
        if any(rate != 1 for rate in given.get("dilations", ())):
            self.fail("it is dilated")
        height, width = self.input_shape()[2:]
        strides = tuple(given.get("strides", (1, 1)))
        top, bottom = _same_pads(height, size[0], strides[0])
        left, right = _same_pads(width, size[1], strides[1])
        same = (top, left, bottom, right)
        auto_pad = given.get("auto_pad", b"NOTSET")
        if auto_pad not in (b"NOTSET", b"VALID", b"SAME_UPPER"):
            self.fail(f"auto_pad is {auto_pad.decode()}")
        pads = same if auto_pad == b"SAME_UPPER" else tuple(given.get("pads", (0, 0, 0, 0)))
        positions = (
            (height + pads[0] + pads[2] - size[0]) // strides[0] + 1,
            (width + pads[1] + pads[3] - size[1]) // strides[1] + 1,
        )
        if positions != self.output_shape()[2:]:
            self.fail("the size of its output is rounded up")
        return SlidingWindow(strides, pads, any(pads) and pads == same)


def _same_pads(length: int, window: int, stride: int) -> tuple[int, int]:
    """The pixels that TensorFlow's padding SAME adds before and after."""
    # `GetWindowedOutputSizeVerbose` in tensorflow/core/framework/kernel_shape_util.cc
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


class OnnxNetwork:
    """An ONNX network that takes images [N,H,W,C] of one size.

    Attributes:
        shapes: by the names of values, for a batch of one image; an open axis is 0.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: not an ONNX file, inconsistent, or with unexpected inputs or outputs.
    """

    def __init__(self, file: Path, *, several_outputs: bool = False) -> None:
        model = load_onnx(file, "writing a TensorFlow graph")
        from onnx import numpy_helper, shape_inference

        graph = model.graph
        self._nodes = list(graph.node)
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or not graph.output or (len(graph.output) > 1 and not several_outputs):
            raise ModelError(
                f"{file} has {len(inputs)} inputs and {len(graph.output)} outputs; "
                "a backbone has one of each"
            )
        self.input: str = inputs[0].name
        self.outputs: tuple[str, ...] = tuple(value.name for value in graph.output)
        axes = inputs[0].type.tensor_type.shape.dim
        if len(axes) != 4 or not all(axis.dim_value for axis in axes[1:]):
            raise ModelError(f"{file} does not take images [N,H,W,C] of one size")
        axes[0].dim_value = 1
        opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        try:
            self.shapes = infer_shapes(graph, opset, strict=True)
        except shape_inference.InferenceError as error:
            raise ModelError(f"{file} is not a whole network: {one_line(error)}") from None

    def nodes(self) -> Iterator[OnnxNode]:
        """The nodes in the order of computation; constants behind `Identity` are resolved."""
        from onnx import helper

        for proto in self._nodes:
            node = OnnxNode(
                op=proto.op_type,
                name=proto.name or proto.output[0].removesuffix(":0"),
                inputs=tuple(proto.input),
                outputs=tuple(proto.output),
                attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
                network=self,
            )
            if node.op == "Identity" and node.inputs[0] in self.constants:
                self.constants[node.outputs[0]] = self.constants[node.inputs[0]]
            else:
                yield node


class Translation(Generic[TranslatedValue]):
    """The values translated so far, by their ONNX names.

    Args:
        image: the network's input in the other framework.
    """

    def __init__(self, network: OnnxNetwork, image: TranslatedValue) -> None:
        self.network = network
        self.values: dict[str, TranslatedValue] = {network.input: image}

    def run(self, rules: Mapping[str, Callable[[Any, OnnxNode], TranslatedValue]]) -> None:
        """Translate all nodes by the rule of each operation.

        Raises:
            ModelError: an operation has no rule, or its rule refuses the node.
        """
        for node in self.network.nodes():
            if node.op not in rules:
                node.fail(f"known are {', '.join(rules)}")
            if len(node.outputs) != 1:
                node.fail("it has more than one output")
            self.values[node.outputs[0]] = rules[node.op](self, node)

    def value(self, node: OnnxNode, index: int = 0) -> TranslatedValue:
        """An input of a node that depends on the image."""
        value = self.values.get(node.inputs[index])
        if value is None:
            node.fail(f"its input {node.inputs[index]!r} does not come from the image")
        return value

    def identity(self, node: OnnxNode) -> TranslatedValue:
        """The rule of `Identity`, and of `Cast` to float32, which all values have already."""
        if node.attributes.get("to", _ONNX_FLOAT) != _ONNX_FLOAT:
            node.fail("only casts to float32 are known")
        return self.value(node)
