"""Adds class activation maps to a graph: which cells of the feature maps speak for which class.

A linear head on pooled features is a sum over the cells as well (CAM, Zhou et al. 2016,
arXiv:1512.04150). What a feature brings to a logit, its weight times what the head takes of it, is
dealt out to the cells in the proportion of its map there. For plain features that is CAM itself;
for their square roots it is nearly twice Grad-CAM's weight w / (2 sqrt(f)) times the map
(Selvaraju et al. 2017, arXiv:1610.02391), and, as with CAM, nothing is left over: the mean over the
cells is the logit without its bias. A softmax sees only how logits differ, so the mean over the
classes is taken away, and softmax(mean over the cells + bias) is the head's answer.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.graph_builder import Nodes
from sharpeye.artefact.preprocess_nodes import OPSET
from sharpeye.artefact.write_model import FEATURES, HEAD_BIAS, HEAD_INPUT, HEAD_WEIGHTS

if TYPE_CHECKING:
    import onnx

HEAT, PREFIX = "heat", "heat/"

# What leaves each feature in its place, whatever it does to its value.
_PASSED = ("Identity", "Flatten", "Reshape", "Squeeze", "Dropout", "Cast")
_PASSED_WITH_CONSTANT = ("Mul", "Add", "Sub", "Div")

# ONNX Runtime computes `heat` whether it is asked for or not. Of an answer's time that was 1.6 %
# with 8 classes, 4 % with 100, 5 to 10 % with 300, 25 % with 1,000 (EfficientNet-Lite0, 320 pixels,
# one thread); of MobileNetV2 0.35's at 96 pixels, 50 % with 1,000. Beyond it, there is occlusion.
MAX_CLASSES = 100

# Features under this are 0 to the head: their maps are 0 everywhere.
_LEAST = 1e-12
# Shape inference copies the weights several times; these are the largest that it needs.
_MAX_SHAPE_ELEMENTS = 256


@dataclass(frozen=True)
class _Level:
    """Feature maps that are pooled to a stretch of the features.

    Attributes:
        maps: float32[N,channels,height,width], 0 or more, as `models.spec.ModelSpec` demands.
        pooled: float32[N,channels,1,1] or [N,channels].
        largest: whether it is their largest value, not their mean.
    """

    maps: str
    pooled: str
    largest: bool
    channels: int
    height: int
    width: int


def add_heat(graph: "onnx.GraphProto") -> None:
    """Give a graph the output `heat` float32[N,C,h,w]; an `Addition` of `graph.write_model`.

    Nothing is added where the features have no places: where they come from dense layers, or from
    maps that are not pooled; nor where there are more than `MAX_CLASSES`.
    """
    from onnx import TensorProto, helper

    (classes,) = next(each.dims for each in graph.initializer if each.name == HEAD_BIAS)
    levels = _Walk(graph).levels(FEATURES) if classes <= MAX_CLASSES else None
    if not levels:
        return
    nodes = Nodes(graph, PREFIX)
    height, width = max((level.height, level.width) for level in levels)
    start, whole = 0, ""
    for level in levels:
        part = _of_level(nodes, level, start, classes)
        if (level.height, level.width) != (height, width):
            part = _resized(nodes, part, height / level.height, width / level.width)
        whole = nodes.add("Add", whole, part) if whole else part
        start += level.channels
    common = nodes.add("ReduceMean", whole, nodes.constant([1], np.int64), keepdims=1)
    nodes.add("Sub", whole, common, output=HEAT)
    shape = ["N", classes, height, width]
    graph.output.append(helper.make_tensor_value_info(HEAT, TensorProto.FLOAT, shape))


def _of_level(nodes: Nodes, level: _Level, start: int, classes: int) -> str:
    """float32[N,C,h,w]: what a level brings to the logits; summed up, as a mean over its cells."""
    own = _stretch(nodes, HEAD_INPUT, start, level.channels, axis=1)
    column = nodes.add("Reshape", own, nodes.constant([0, level.channels, 1, 1], np.int64))
    brought = nodes.add("Mul", _shares(nodes, level), column)
    cells = nodes.add("Reshape", brought, nodes.constant([0, 0, -1], np.int64))
    rows = _stretch(nodes, HEAD_WEIGHTS, start, level.channels, axis=0)
    logits = nodes.add("MatMul", nodes.add("Transpose", rows, perm=[1, 0]), cells)
    shape = nodes.constant([0, classes, level.height, level.width], np.int64)
    return nodes.add("Reshape", logits, shape)


def _shares(nodes: Nodes, level: _Level) -> str:
    """float32[N,channels,h,w]: how much of its feature each cell made; 1 on average."""
    maps = level.maps
    if level.largest:
        # The cell with the largest value made all of it; several such cells share it.
        one = nodes.constant([0, level.channels, 1, 1], np.int64)
        at_top = nodes.add("Equal", maps, nodes.add("Reshape", level.pooled, one))
        maps = nodes.add("Cast", at_top, to=1)  # to float32
    mean = nodes.add("GlobalAveragePool", maps)
    guarded = nodes.add("Max", mean, nodes.constant(_LEAST, np.float32))
    return nodes.add("Div", maps, guarded)


def _resized(nodes: Nodes, part: str, down: float, across: float) -> str:
    """Brought to the size of the largest level, with the mean that it had."""
    scales = nodes.constant([1, 1, down, across], np.float32)
    larger = nodes.add("Resize", part, "", scales, mode="linear")
    before, after = (nodes.add("GlobalAveragePool", each) for each in (part, larger))
    return nodes.add("Add", larger, nodes.add("Sub", before, after))


def _stretch(nodes: Nodes, value: str, start: int, count: int, axis: int) -> str:
    cut = (nodes.constant([number], np.int64) for number in (start, start + count, axis))
    return nodes.add("Slice", value, *cut)


class _Walk:
    """Goes back from the features to the maps that they were pooled from."""

    def __init__(self, graph: "onnx.GraphProto") -> None:
        self._made = {name: node for node in graph.node for name in node.output}
        self._constants = {each.name for each in graph.initializer}
        self._shapes = _infer_shapes(graph)

    def levels(self, value: str) -> list[_Level] | None:
        """In the order of the features; None as soon as one of them comes from elsewhere."""
        node = self._made.get(value)
        if node is None:
            return None
        if node.op_type == "Concat":
            found = [self.levels(name) for name in node.input]
            known = [level for each in found for level in each or ()]
            return known if all(found) and self._joins_channels(node) else None
        if node.op_type in _PASSED:
            return self.levels(node.input[0])
        if node.op_type in _PASSED_WITH_CONSTANT:
            open_ones = [name for name in node.input if name not in self._constants]
            return self.levels(open_ones[0]) if len(open_ones) == 1 else None
        return self._pooled(node)

    def _joins_channels(self, node: "onnx.NodeProto") -> bool:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        return axis in (1, 1 - len(self._shapes.get(node.output[0], ())))

    def _pooled(self, node: "onnx.NodeProto") -> list[_Level] | None:
        """The one level that a node pools over all of its cells."""
        before = self._shapes.get(node.input[0], ())
        after = self._shapes.get(node.output[0], ())
        if len(before) != 4 or 0 in before[1:] or int(np.prod(after[1:])) != before[1]:
            return None
        if node.op_type in ("AveragePool", "MaxPool") and after[2:] != (1, 1):
            return None
        largest = node.op_type in ("GlobalMaxPool", "MaxPool", "ReduceMax")
        if not largest and node.op_type not in ("GlobalAveragePool", "AveragePool", "ReduceMean"):
            return None
        return [_Level(node.input[0], node.output[0], largest, *before[1:])]


def _infer_shapes(graph: "onnx.GraphProto") -> dict[str, tuple[int, ...]]:
    """Shapes by the names of values; 0 stands for an axis that is open."""
    from onnx import helper, shape_inference

    light = helper.make_graph(graph.node, graph.name, graph.input, ())
    for each in graph.initializer:
        if np.prod(each.dims) > _MAX_SHAPE_ELEMENTS:
            light.input.append(helper.make_tensor_value_info(each.name, each.data_type, each.dims))
        else:
            light.initializer.append(each)
    model = helper.make_model(light, opset_imports=[helper.make_opsetid("", OPSET)])
    inferred = shape_inference.infer_shapes(model).graph
    return {
        each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim)
        for each in [*inferred.input, *inferred.value_info, *inferred.output]
    }
