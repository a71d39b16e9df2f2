"""The layers of `box_heads.py` as ONNX nodes."""

from typing import Any

import numpy as np

from sharpeye.models.onnx_nodes import OnnxNodes


class BoxLayers(OnnxNodes):
    """A method for each class of layer, with the layer and the names of its inputs."""

    def _emit_flatmaps(self, layer: Any, *values: str) -> str:
        flat = [
            self._node("Flatten", f"{layer.name}/{i}", value, axis=1)
            for i, value in enumerate(values)
        ]
        return self._node("Concat", layer.name, *flat, axis=1)

    def _emit_slicemap(self, layer: Any, value: str) -> str:
        height, width, channels = layer.map_shape
        flat = self._slice(layer.name, value, layer.start, count=height * width * channels)
        shape = self._array(f"{layer.name}/shape", [-1, channels, height, width], np.int64)
        return self._node("Reshape", layer.name, flat, shape)

    def _emit_nearestresize(self, layer: Any, value: str) -> str:
        # Not Resize: its rounded scale loses cells, such as one of 53.
        for axis, size in ((1, layer.height), (2, layer.width)):
            cells = np.arange(size) * layer.input.shape[axis] // size
            indices = self._array(f"{layer.name}/cells{axis}", cells, np.int64)
            value = self._node("Gather", f"{layer.name}/{axis}", value, indices, axis=axis + 1)
        return value

    def _emit_proposals(self, layer: Any, value: str) -> str:
        from sharpeye.models.box_heads import EDGE_SCALES, cell_centres

        # The cells' positions are omitted: only the loss needs them.
        name, (height, width) = layer.name, layer.input.shape[1:3]
        shape = self._array(f"{name}/shape", [0, 5, height * width], np.int64)
        flat = self._node("Reshape", f"{name}/flat", value, shape)
        rows = self._node("Transpose", f"{name}/rows", flat, perm=[0, 2, 1])
        logit = self._slice(name, rows, 0, count=1, axis=2)
        raw_distances = self._slice(name, rows, 1, count=4, axis=2)
        softplus = self._node("Softplus", f"{name}/far", raw_distances)
        scales = self._array(f"{name}/directions", EDGE_SCALES)
        distances = self._node("Mul", f"{name}/reach", softplus, scales)
        centres = self._array(f"{name}/middles", cell_centres(height, width))
        edges = self._node("Add", f"{name}/edges", distances, centres)
        return self._node("Concat", name, logit, edges, axis=2)

    def _emit_weightedboxmean(self, layer: Any, value: str) -> str:
        name = layer.name
        logit = self._slice(name, value, 0, count=1, axis=2)
        weights = self._node("Softmax", f"{name}/trust", logit, axis=1)
        edges = self._slice(name, value, 1, count=4, axis=2)
        weighted = self._node("Mul", f"{name}/parts", weights, edges)
        axes = self._array(f"{name}/cells", [1], np.int64)
        return self._node("ReduceSum", f"{name}/mean", weighted, axes, keepdims=0)

    def _emit_corners(self, layer: Any, value: str) -> str:
        first, second = (self._slice(layer.name, value, start, count=2) for start in (0, 2))
        low = self._node("Min", f"{layer.name}/low", first, second)
        high = self._node("Max", f"{layer.name}/high", first, second)
        return self._node("Concat", f"{layer.name}/both", low, high, axis=1)
