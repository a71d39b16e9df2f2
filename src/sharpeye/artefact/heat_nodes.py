"""Write class activation maps as ONNX nodes: how each cell of the feature maps affects each class.

A linear head on pooled features is a sum over cells as well (CAM, Zhou et al. 2016,
arXiv:1512.04150). A feature's contribution to a logit, its weight times the head's input, is shared
out to the cells in proportion to the feature's map. For plain features that is CAM itself; for
their square roots it is nearly twice Grad-CAM's weight w / (2 sqrt(f)) times the map (Selvaraju et
al. 2017, arXiv:1610.02391), and, as with CAM, the shares are complete: the mean over the cells is
the logit without its bias. A softmax depends only on how logits differ, so the mean over the
classes is subtracted, and softmax(mean over the cells + bias) is the head's output.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.onnx_model import GraphBuilder, infer_shapes
from sharpeye.artefact.preprocess_nodes import OPSET
from sharpeye.artefact.write_model import FEATURES, HEAD_BIAS, HEAD_INPUT, HEAD_WEIGHTS

if TYPE_CHECKING:
    import onnx

# Operations that keep each feature's position, whatever they do to its value.
_POSITION_KEEPING = ("Identity", "Flatten", "Reshape", "Squeeze", "Dropout", "Cast")
_POSITION_KEEPING_WITH_CONSTANT = ("Mul", "Add", "Sub", "Div")

# ONNX Runtime computes `heat` even if it is not requested. It took 1.6 % of a prediction's time
# with 8 classes, 4 % with 100, 5 to 10 % with 300, 25 % with 1,000 (EfficientNet-Lite0, 320 pixels,
# one thread); with MobileNetV2 0.35 at 96 pixels, 50 % with 1,000. Beyond: occlusion.
MAX_CLASSES = 100

# The head treats features below it as 0: their maps are 0 everywhere.
_MIN_FEATURE = 1e-12


@dataclass(frozen=True)
class _Level:
    """Feature maps that are pooled to a range of the features."""

    maps: str  # float32[N,channels,height,width], 0 or more, as `models.spec.ModelSpec` demands
    pooled: str  # float32[N,channels,1,1] or [N,channels]
    is_max: bool  # whether pooling takes the largest value, not the mean
    channels: int
    height: int
    width: int


def add_heat(graph: "onnx.GraphProto") -> None:
    """Give a graph the output `heat` float32[N,C,h,w]; an `Addition` of `write_model`.

    Nothing is added if features have no position, because they come from dense layers or from maps
    that are not pooled, or if there are more than `MAX_CLASSES`.
    """
    (classes,) = next(tensor.dims for tensor in graph.initializer if tensor.name == HEAD_BIAS)
    levels = _LevelFinder(graph).find(FEATURES) if classes <= MAX_CLASSES else None
    if not levels:
        return
    nodes = GraphBuilder(graph, "heat/")
    height, width = max((level.height, level.width) for level in levels)
    start, total = 0, ""
    for level in levels:
        heat = _level_heat(nodes, level, start, classes=classes)
        if (level.height, level.width) != (height, width):
            heat = _resized(nodes, heat, height / level.height, horizontal=width / level.width)
        total = nodes.add("Add", total, heat) if total else heat
        start += level.channels
    common = nodes.add("ReduceMean", total, nodes.constant([1], np.int64), keepdims=1)
    nodes.add("Sub", total, common, output="heat")
    nodes.add_output("heat", classes, height, width)


def _level_heat(nodes: GraphBuilder, level: _Level, start: int, *, classes: int) -> str:
    """float32[N,C,h,w]: a level's contributions to the logits, which are their mean over cells."""
    features = _slice(nodes, HEAD_INPUT, start, count=level.channels, axis=1)
    column = nodes.add("Reshape", features, nodes.constant([0, level.channels, 1, 1], np.int64))
    contributions = nodes.add("Mul", _cell_shares(nodes, level), column)
    cells = nodes.add("Reshape", contributions, nodes.constant([0, 0, -1], np.int64))
    weights = _slice(nodes, HEAD_WEIGHTS, start, count=level.channels, axis=0)
    logits = nodes.add("MatMul", nodes.add("Transpose", weights, perm=[1, 0]), cells)
    shape = nodes.constant([0, classes, level.height, level.width], np.int64)
    return nodes.add("Reshape", logits, shape)


def _cell_shares(nodes: GraphBuilder, level: _Level) -> str:
    """float32[N,channels,h,w]: how much each cell contributes to its feature; 1 on average."""
    maps = level.maps
    if level.is_max:
        # The cell with the largest value is the whole feature; equal cells share it.
        shape = nodes.constant([0, level.channels, 1, 1], np.int64)
        is_largest = nodes.add("Equal", maps, nodes.add("Reshape", level.pooled, shape))
        maps = nodes.add("Cast", is_largest, to=1)  # to float32
    mean = nodes.add("GlobalAveragePool", maps)
    divisor = nodes.add("Max", mean, nodes.constant(_MIN_FEATURE, np.float32))
    return nodes.add("Div", maps, divisor)


def _resized(nodes: GraphBuilder, heat: str, vertical: float, *, horizontal: float) -> str:
    """Resize to the largest level's size, and restore the mean."""
    scales = nodes.constant([1, 1, vertical, horizontal], np.float32)
    larger = nodes.add("Resize", heat, "", scales, mode="linear")
    before, after = (nodes.add("GlobalAveragePool", value) for value in (heat, larger))
    return nodes.add("Add", larger, nodes.add("Sub", before, after))


def _slice(nodes: GraphBuilder, value: str, start: int, *, count: int, axis: int) -> str:
    bounds = (nodes.constant([number], np.int64) for number in (start, start + count, axis))
    return nodes.add("Slice", value, *bounds)


class _LevelFinder:
    """Follows a graph back from the features to the maps that they are pooled from."""

    def __init__(self, graph: "onnx.GraphProto") -> None:
        self._producers = {name: node for node in graph.node for name in node.output}
        self._constants = {tensor.name for tensor in graph.initializer}
        self._shapes = infer_shapes(graph, OPSET)

    def find(self, value: str) -> list[_Level] | None:
        """Levels in the order of the features; None if any feature has another source."""
        node = self._producers.get(value)
        if node is None:
            return None
        if node.op_type == "Concat":
            inputs = [self.find(name) for name in node.input]
            levels = [level for input_levels in inputs for level in input_levels or ()]
            axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
            joins_channels = axis in (1, 1 - len(self._shapes.get(node.output[0], ())))
            return levels if all(inputs) and joins_channels else None
        if node.op_type in _POSITION_KEEPING:
            return self.find(node.input[0])
        if node.op_type in _POSITION_KEEPING_WITH_CONSTANT:
            variables = [name for name in node.input if name not in self._constants]
            return self.find(variables[0]) if len(variables) == 1 else None
        return self._pooled_level(node)

    def _pooled_level(self, node: "onnx.NodeProto") -> list[_Level] | None:
        """The level that a node pools over all of its cells."""
        before = self._shapes.get(node.input[0], ())
        after = self._shapes.get(node.output[0], ())
        if len(before) != 4 or 0 in before[1:] or int(np.prod(after[1:])) != before[1]:
            return None
        if node.op_type in ("AveragePool", "MaxPool") and after[2:] != (1, 1):
            return None
        is_max = node.op_type in ("GlobalMaxPool", "MaxPool", "ReduceMax")
        if not is_max and node.op_type not in ("GlobalAveragePool", "AveragePool", "ReduceMean"):
            return None
        return [_Level(node.input[0], node.output[0], is_max, *before[1:])]
