"""An ONNX network as steps, constants and shapes, for whoever translates it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from sharpeye.errors import MissingExtra, ModelError

Array = npt.NDArray[Any]
Rule = TypeVar("Rule")

# Shapes, pads and axes have fewer elements; what has more is weights.
_MAX_SHAPE_ELEMENTS = 16
_ONNX_FLOAT = 1  # TensorProto.FLOAT


@dataclass(frozen=True)
class Step:
    """One node.

    Attributes:
        op: the operation.
        name: the node's, or else that of its output.
        inputs: names of tensors; "" where an optional one is left out.
        outputs: names of tensors.
        attributes: those that are given; texts are bytes.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def has_input(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] != ""

    def rule(self, known: Mapping[str, Rule]) -> Rule:
        """How a step like this one is translated, from the rules by operation.

        Raises:
            ModelError: there is no rule for it, or it has more than one output.
        """
        if self.op not in known:
            self.fail(f"known are {', '.join(known)}")
        if len(self.outputs) != 1:
            self.fail("it has more than one output")
        return known[self.op]

    def require_unchanged(self) -> None:
        """Refuse a cast to anything but what ONNX calls floats: those are floats already."""
        if self.attributes.get("to", _ONNX_FLOAT) != _ONNX_FLOAT:
            self.fail("only casts to float32 are known")

    def fail(self, reason: str) -> NoReturn:
        """Refuse to translate it.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.op} {self.name!r} has no form in a TensorFlow graph: {reason}")


@dataclass(frozen=True)
class Window:
    """How a convolution or a pooling slides over an image.

    Attributes:
        strides: down, right.
        pads: top, left, bottom, right; what is added outside the image.
        is_same: whether `pads` are those of TensorFlow's padding SAME, and not all 0.
    """

    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    is_same: bool


class Network:
    """An ONNX network that takes images [N,H,W,C] of one size.

    Args:
        several_outputs: whether it may have more than one output.

    Attributes:
        input: name of a tensor.
        outputs: names of tensors; `output` is the first.
        constants: by name.
        shapes: of the tensors that have a known one, for a batch of one image; an open axis is 0.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: not an ONNX file, not whole, or with other inputs and outputs.
    """

    def __init__(self, file: Path, *, several_outputs: bool = False) -> None:
        try:
            import onnx
            from onnx import helper, numpy_helper
        except ImportError:
            raise MissingExtra("onnx", "train", "writing a TensorFlow graph") from None
        try:
            model = onnx.load(file)
        except OSError as error:
            raise ModelError(f"cannot open {file}: {error.strerror or error}") from None
        except Exception:  # protobuf has no types, and its error is not onnx'
            raise ModelError(f"{file} is not an ONNX model, or it is damaged") from None
        graph = model.graph
        self._nodes, self._value = list(graph.node), helper.get_attribute_value
        self.constants: dict[str, Array] = {
            each.name: numpy_helper.to_array(each) for each in graph.initializer
        }
        inputs = [each for each in graph.input if each.name not in self.constants]
        if len(inputs) != 1 or not graph.output or (len(graph.output) > 1 and not several_outputs):
            raise ModelError(
                f"{file} has {len(inputs)} inputs and {len(graph.output)} outputs; "
                "a backbone has one of each"
            )
        self.input: str = inputs[0].name
        self.outputs: tuple[str, ...] = tuple(each.name for each in graph.output)
        self.output: str = self.outputs[0]
        axes = inputs[0].type.tensor_type.shape.dim
        if len(axes) != 4 or not all(axis.dim_value for axis in axes[1:]):
            raise ModelError(f"{file} does not take pictures [N,H,W,C] of one size")
        self.shapes = _infer_shapes(model, inputs[0], file)

    def steps(self) -> Iterator[Step]:
        """What is to be computed, in an order in which it can be."""
        for node in self._nodes:
            step = Step(
                op=node.op_type,
                name=node.name or node.output[0].removesuffix(":0"),
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                attributes={each.name: self._value(each) for each in node.attribute},
            )
            if step.op == "Identity" and step.inputs[0] in self.constants:
                self.constants[step.outputs[0]] = self.constants[step.inputs[0]]
            else:
                yield step

    def constant(self, step: Step, index: int) -> Array:
        """An input of a step that must be a constant."""
        found = self.constants.get(step.inputs[index])
        if found is None:
            step.fail(f"its input {step.inputs[index]!r} is not a constant")
        return found

    def shape(self, step: Step, name: str) -> tuple[int, ...]:
        """Shape of a step's input or output, for one image."""
        shape = self.shapes.get(name, ())
        if not shape or 0 in shape:
            step.fail(f"the shape of {name!r} is not fixed")
        return shape

    def window(self, step: Step, size: tuple[int, ...]) -> Window:
        """The window (height, width) of a step, which slides over the NCHW of its first input."""
        given = step.attributes
        if any(rate != 1 for rate in given.get("dilations", ())):
            step.fail("it is dilated")
        high, wide = self.shape(step, step.inputs[0])[2:]
        down, right = given.get("strides", (1, 1))
        rows, columns = _same_pads(high, size[0], down), _same_pads(wide, size[1], right)
        same = (rows[0], columns[0], rows[1], columns[1])
        kind = given.get("auto_pad", b"NOTSET")
        if kind not in (b"NOTSET", b"VALID", b"SAME_UPPER"):
            step.fail(f"auto_pad is {kind.decode()}")
        top, left, bottom, far = same if kind == b"SAME_UPPER" else given.get("pads", (0, 0, 0, 0))
        slid = (
            (high + top + bottom - size[0]) // down + 1,
            (wide + left + far - size[1]) // right + 1,
        )
        if slid != self.shape(step, step.outputs[0])[2:]:
            step.fail("the size of its output is rounded up")
        pads = (top, left, bottom, far)
        return Window((down, right), pads, any(pads) and pads == same)


def _same_pads(length: int, window: int, stride: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's SAME: `GetWindowedOutputSizeVerbose` in
    tensorflow/core/framework/kernel_shape_util.cc.
    """
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


def _infer_shapes(model: Any, image: Any, file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name; `model` is changed."""
    from onnx import helper, shape_inference

    graph = model.graph
    image.type.tensor_type.shape.dim[0].dim_value = 1
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    # Inference copies the model several times; without the weights 20 ms of 900 ms are left for
    # Inception v3 (onnx 1.23, two cores).
    given = {each.name for each in graph.input}
    for each in list(graph.initializer):
        if np.prod(each.dims) > _MAX_SHAPE_ELEMENTS:
            graph.initializer.remove(each)
            if each.name not in given:
                info = helper.make_tensor_value_info(each.name, each.data_type, each.dims)
                graph.input.append(info)
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    except shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file} is not a whole network: {reason}") from None
    return {
        each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim)
        for each in [*graph.input, *graph.value_info, *graph.output]
    }
