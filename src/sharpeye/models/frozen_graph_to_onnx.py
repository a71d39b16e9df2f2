"""Convert a frozen TensorFlow graph to an ONNX backbone, in a separate process.

    python -m sharpeye.models.frozen_graph_to_onnx NAME FILE HEIGHTxWIDTH OUT

TensorFlow is not needed: the convolutional networks of TensorFlow-for-Poets consist of a dozen
operations. They are followed from the last pooling, whose output is the features, back to the
image. Batch norms, in any of the four forms that freezing tools leave, become a factor and an
offset of the convolution before them.

Operations: tensorflow/core/ops/{array,math,nn}_ops.cc and https://onnx.ai/onnx/operators/.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.processes import run_child
from sharpeye.errors import MissingExtra, ModelError, SharpEyeError, one_line
from sharpeye.models.frozen_graph_nodes import FrozenNodes, Node
from sharpeye.models.onnx_emitter import checked_model
from sharpeye.models.registry import get_spec
from sharpeye.models.weights.frozen_graph_file import read_frozen_graph

_CHANNELS_LAST = 3  # the axis of the channels
_ORDERED = ("Sub", "RealDiv")


def convert(name: str, weights: str, *, size: str, out: str) -> str:
    """Write the backbone; returns the lines that `models.backbone` reads: no maps, and a report.

    Raises:
        MissingExtra: onnx or TensorBoard is not installed.
        ModelError: the file is damaged, or holds another network than the model.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtra("onnx", "train", f"preparing {name}") from None
    file = Path(weights)
    try:
        return _convert(file, name, size=size, out=out)
    except (SharpEyeError, OSError, MemoryError):
        raise
    except Exception as error:  # of onnx, NumPy or protobuf, for a graph that makes no sense
        reason = one_line(error) or type(error).__name__
        raise ModelError(f"{file} is not a graph of {name}, or is damaged: {reason}") from None


def _convert(file: Path, name: str, *, size: str, out: str) -> str:
    import onnx

    spec = get_spec(name)
    height, width = map(int, size.split("x"))
    nodes = FrozenNodes(read_frozen_graph(file), file)
    model = _Translation(nodes).to_onnx(name, (height, width, spec.input.channels))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred.value_info
    }
    _write_pads(model.graph, known)
    pooled, features = known[_POOL_INPUT], known[_FLAT][1]
    if features != spec.features:
        raise ModelError(
            f"{file} is of another network than {name}: its features are {features}, not "
            f"{spec.features}"
        )
    window = nodes.pool_window()
    if window and window != pooled[2:]:
        raise ModelError(
            f"{file} is made for another image size than {width} x {height}: its last pooling "
            f"takes {window}, not {pooled[2:]}"
        )
    onnx.save(model, out)
    return f"[]\nweights from {file.name}: {nodes.pooling.name} is its features"


def _write_pads(graph: Any, shapes: dict[str, list[int]]) -> None:
    """Replace TensorFlow's words for padding by numbers, as SharpEye's models have them."""
    from onnx import helper

    arrays = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if "auto_pad" not in given:
            continue
        window = given.get("kernel_shape") or arrays[node.input[1]][2:]
        pairs = [(0, 0), (0, 0)]
        if given["auto_pad"] == b"SAME_UPPER":
            sizes = zip(shapes[node.input[0]][2:], window, given["strides"], strict=True)
            pairs = [_same_pads(*size) for size in sizes]
        word = next(each for each in node.attribute if each.name == "auto_pad")
        node.attribute.remove(word)
        pads = [before for before, _ in pairs] + [after for _, after in pairs]
        if any(pads):
            node.attribute.append(helper.make_attribute("pads", pads))


def _same_pads(length: int, window: int, stride: int) -> tuple[int, int]:
    """The pixels that TensorFlow's padding SAME adds before and after."""
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


_POOL_INPUT, _FLAT = "last_maps", "flat_features"


@dataclass(frozen=True)
class _Value:
    """A value of the graph: the name of its ONNX value, or a convolution that is to be added.

    Attributes:
        kernel, bias: of the convolution, [O,I,H,W] and [O].
        attributes: of the convolution.
    """

    name: str
    kernel: Array | None = None
    bias: Array | None = None
    attributes: tuple[tuple[str, Any], ...] = ()


class _Translation:
    def __init__(self, nodes: FrozenNodes) -> None:
        self._nodes = nodes
        self._onnx: list[Any] = []
        self._arrays: dict[str, Array] = {}
        self._values: dict[str, _Value] = {}
        self._uses = Counter(name for node in nodes.tensor_nodes for name in node.inputs)

    def to_onnx(self, name: str, shape: tuple[int, int, int]) -> Any:
        """uint8 `image` [N,H,W,C] to `features` float32[N,D]."""
        from onnx import TensorProto, helper, numpy_helper

        self._add_image()
        for node in self._nodes.tensor_nodes:
            self._values[node.name] = self._translate(node)
        pooling = self._nodes.pooling
        self._node("Identity", _POOL_INPUT, self._emit(pooling.inputs[0]))
        pooled = self._node("GlobalAveragePool", "pooled_features", _POOL_INPUT)
        self._node("Flatten", _FLAT, pooled)
        self._node("Identity", "features", _FLAT)
        features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", None])
        graph = helper.make_graph(
            self._onnx,
            name,
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
            [features],
            [numpy_helper.from_array(array, key) for key, array in self._arrays.items()],
        )
        return checked_model(graph)

    def _add_image(self) -> None:
        mean, std = self._nodes.scale
        value = self._node("Transpose", "image_nchw", "image", perm=[0, 3, 1, 2])
        value = self._node("Cast", "image_float", value, to=1)
        value = self._node("Mul", "image/mul", value, self._array("image/mul_by", 1 / std))
        value = self._node("Add", "image/add", value, self._array("image/add_by", -mean / std))
        self._values[self._nodes.image] = _Value(value)

    def _translate(self, node: Node) -> _Value:
        if node.op not in _RULES:
            node.fail("this operation is not known")
        return _RULES[node.op](self, node)

    def _node(self, op: str, output: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        self._onnx.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _array(self, name: str, value: Any) -> str:
        self._arrays[name] = np.array(value, np.float32, order="C")
        return name

    def _emit(self, name: str) -> str:
        """The ONNX value of a node, after its convolution is added."""
        value = self._values[name]
        if value.kernel is None:
            return value.name
        inputs = [value.name, self._array(f"{name}/kernel", value.kernel)]
        inputs.append(self._array(f"{name}/bias", value.bias))
        output = self._node("Conv", name, *inputs, **dict(value.attributes))
        self._values[name] = _Value(output)
        return output

    def convolution(self, node: Node) -> _Value:
        kernel = self._nodes.constant(node, 1)
        if kernel.ndim != 4:
            node.fail(f"its kernel has the shape {list(kernel.shape)}")
        group = 1
        if node.op == "Conv2D":
            kernel = kernel.transpose(3, 2, 0, 1)  # H,W,I,O -> O,I,H,W
        else:
            group = kernel.shape[2]
            kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])  # H,W,C,M
        attributes = {"group": group, "auto_pad": node.padding(), "strides": node.strides()}
        source = self._emit(node.inputs[0])
        bias = np.zeros(len(kernel), np.float32)
        return _Value(source, kernel, bias, tuple(attributes.items()))

    def batch_norm(self, node: Node) -> _Value:
        constants = [self._nodes.constant(node, index).ravel() for index in range(1, 5)]
        if node.op == "BatchNormWithGlobalNormalization":
            mean, variance, beta, gamma = constants
            epsilon = node.number("variance_epsilon", 0.0)
            gamma = gamma if node.flag("scale_after_normalization") else np.ones_like(gamma)
        else:
            gamma, beta, mean, variance = constants
            epsilon = node.number("epsilon", 1e-4)
            if node.flag("is_training", default=True):
                node.fail("it is a batch norm that is still training; freeze it for inference")
        factor = gamma / np.sqrt(variance + epsilon)
        return self._affine(node, node.inputs[0], factor=factor, offset=beta - mean * factor)

    def arithmetic(self, node: Node) -> _Value:
        constants = self._nodes.constants
        if not any(name in constants for name in node.inputs):
            if node.op not in ("Add", "AddV2"):
                node.fail("of two tensors, only sums are known")
            return _Value(self._node("Add", node.name, *map(self._emit, node.inputs)))
        index = 0 if node.inputs[0] in constants else 1
        number, source = constants[node.inputs[index]], node.inputs[1 - index]
        if number.size != max(number.shape, default=1) or (node.op in _ORDERED and index == 0):
            node.fail("this form of its constant is not known")
        number = number.ravel()
        if node.op in ("Mul", "RealDiv"):
            return self._affine(
                node,
                source,
                factor=number if node.op == "Mul" else 1 / number,
                offset=np.zeros(1),
            )
        offset = -number if node.op == "Sub" else number
        return self._affine(node, source, factor=np.ones(1), offset=offset)

    def _affine(self, node: Node, source: str, *, factor: Array, offset: Array) -> _Value:
        """A factor and an offset for each channel, or for all."""
        value = self._values[source]
        if value.kernel is not None and value.bias is not None and self._uses[source] == 1:
            if len(factor) not in (1, len(value.bias)) or len(offset) not in (1, len(value.bias)):
                node.fail("its constant is not of one number for each channel")
            factor = np.broadcast_to(factor, value.bias.shape)
            kernel = value.kernel * factor[:, None, None, None]
            return replace(value, kernel=kernel, bias=value.bias * factor + offset)
        name = self._emit(source)
        for op, numbers in (("Mul", factor), ("Add", offset)):
            array = self._array(f"{node.name}/{op}_by", numbers.reshape(1, -1, 1, 1))
            name = self._node(op, f"{node.name}/{op}", name, array)
        return _Value(name)

    def rectifier(self, node: Node) -> _Value:
        source = self._emit(node.inputs[0])
        if node.op == "Relu":
            return _Value(self._node("Relu", node.name, source))
        bounds = self._array("zero", 0.0), self._array("six", 6.0)
        return _Value(self._node("Clip", node.name, source, *bounds))

    def pool(self, node: Node) -> _Value:
        source, (height, width) = self._emit(node.inputs[0]), node.window()
        op = "MaxPool" if node.op == "MaxPool" else "AveragePool"
        options = {"kernel_shape": [height, width], "strides": node.strides()}
        return _Value(self._node(op, node.name, source, auto_pad=node.padding(), **options))

    def concat(self, node: Node) -> _Value:
        first = node.op == "Concat"  # its axis is the first input
        axis = int(self._nodes.constant(node, 0 if first else -1))
        if axis % 4 != _CHANNELS_LAST:
            node.fail("only channels are joined")
        names = [self._emit(name) for name in (node.inputs[1:] if first else node.inputs[:-1])]
        return _Value(self._node("Concat", node.name, *names, axis=1))

    def same(self, node: Node) -> _Value:
        return _Value(self._emit(node.inputs[0]))


_RULES: dict[str, Callable[[_Translation, Node], _Value]] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative"), _Translation.convolution),
    **dict.fromkeys(
        (
            *("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
            "BatchNormWithGlobalNormalization",
        ),
        _Translation.batch_norm,
    ),
    **dict.fromkeys(("BiasAdd", "Add", "AddV2", "Sub", "Mul", "RealDiv"), _Translation.arithmetic),
    **dict.fromkeys(("Relu", "Relu6"), _Translation.rectifier),
    **dict.fromkeys(("MaxPool", "AvgPool"), _Translation.pool),
    **dict.fromkeys(("Concat", "ConcatV2"), _Translation.concat),
    **dict.fromkeys(("Identity", "CheckNumerics", "StopGradient"), _Translation.same),
}


def main() -> int:
    name, weights, size, out = sys.argv[1:]

    def work() -> None:
        print(convert(name, weights, size=size, out=out))  # noqa: T201  The parent reads it.

    return run_child(work, out)


if __name__ == "__main__":
    sys.exit(main())
