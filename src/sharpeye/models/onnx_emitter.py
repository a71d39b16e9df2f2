"""Writes a Keras network as ONNX, layer by layer, ready for inference.

Keras' own exporter traces the network with TensorFlow and rewrites the trace with tf2onnx: right,
but 30 s for Inception v3. The networks here are plain graphs of some twenty kinds of layers, each
used once; going over them takes a second, and leaves nothing for an optimiser to find: batch
norms and biases are folded into the convolutions before them, zero padding into those after it.

Images come in as uint8[N,H,W,C] and are transposed once; all else is NCHW, as ONNX has it.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.errors import ModelError

if TYPE_CHECKING:
    import keras
    import onnx

Floats = npt.NDArray[np.float32]
Pads = tuple[int, int, int, int]  # top, left, bottom, right

_OPSET, _IR_VERSION = 17, 9  # of 2022: every runtime of today reads them


def emit_onnx(model: "keras.Model", input_name: str) -> "onnx.ModelProto":
    """The network as ONNX.

    Args:
        model: a functional model of one input, float32[N,H,W,C] 0..255 or float32[N,D], and a
            dictionary of outputs, whose layers are each used once.

    Returns:
        `input_name` uint8[N,H,W,C], or float32[N,D], to float32[N,...] by output name.

    Raises:
        ModelError: a layer that has no ONNX form here.
    """
    return _Emitter(model, input_name).finish()


def _same_pads(layer: Any) -> Pads:
    """What `padding="same"` adds to the layer's input."""
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    kernel = getattr(layer, "pool_size", None) or layer.kernel_size
    totals = [
        max(0, (-(-size // stride) - 1) * stride + window - size)
        for size, stride, window in zip(layer.input.shape[1:3], layer.strides, kernel, strict=True)
    ]
    (top, left), (high, wide) = [total // 2 for total in totals], totals
    return (top, left, high - top, wide - left)


class _Emitter:
    def __init__(self, model: "keras.Model", input_name: str) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._model, self._input = model, input_name
        self._nodes: list[Any] = []
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._names: dict[int, str] = {}  # of ONNX values, by id of the Keras tensor
        self._padding: dict[str, Pads] = {}  # values that are still to be padded with zeros
        self._convolutions: dict[str, str] = {}  # from values to the convolution right before
        self._pooled: dict[str, str] = {}  # the same, with a max pooling between
        self._uses = Counter(id(tensor) for layer in model.layers for tensor in self._inputs(layer))
        self._uses.update(id(tensor) for tensor in model.output.values())

    def finish(self) -> "onnx.ModelProto":
        from onnx import TensorProto, checker

        self._begin()
        for layer in self._model.layers:
            if type(layer).__name__ != "InputLayer":
                self._names[id(layer.output)] = self._emit(layer)
        outputs = dict(self._model.output)
        for name, tensor in outputs.items():
            last = self._padded(self._names[id(tensor)])
            if last != name:
                self._node("Identity", [last], name)
        make, taken = self._helper.make_tensor_value_info, self._model.input.shape
        kind = TensorProto.UINT8 if len(taken) == 4 else TensorProto.FLOAT
        graph = self._helper.make_graph(
            self._nodes,
            self._model.name,
            [make(self._input, kind, ["N", *taken[1:]])],
            [make(name, TensorProto.FLOAT, ["N", *t.shape[1:]]) for name, t in outputs.items()],
            [self._numpy_helper.from_array(value, name) for name, value in self._arrays.items()],
        )
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], producer_name="sharpeye")
        model.ir_version = _IR_VERSION
        checker.check_model(model)
        return model

    def _begin(self) -> None:
        from onnx import TensorProto

        if len(self._model.input.shape) == 2:
            self._names[id(self._model.input)] = self._input
            return
        upright = self._node("Transpose", [self._input], "image_nchw", perm=[0, 3, 1, 2])
        floats = self._node("Cast", [upright], "image_float", to=TensorProto.FLOAT)
        self._names[id(self._model.input)] = floats

    def _emit(self, layer: Any) -> str:
        """Write one layer; returns the name of the value that it gives."""
        kind = type(layer).__name__
        emit: Callable[[Any, list[str]], str] | None = getattr(self, f"_emit_{kind.lower()}", None)
        if emit is None:
            raise ModelError(f"layer {layer.name} of kind {kind} has no ONNX form")
        names = [self._names[id(tensor)] for tensor in self._inputs(layer)]
        if kind not in ("Conv2D", "DepthwiseConv2D"):
            names = [self._padded(name) for name in names]
        return emit(layer, names)

    @staticmethod
    def _inputs(layer: Any) -> list[Any]:
        return layer.input if isinstance(layer.input, list) else [layer.input]

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(self._helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _array(self, name: str, value: Any, kind: Any = np.float32) -> str:
        self._arrays[name] = np.array(value, kind, order="C")
        return name

    def _padded(self, name: str) -> str:
        """The value itself, or with the zero padding that no convolution took over."""
        top, left, bottom, right = self._padding.get(name, (0, 0, 0, 0))
        if not top + left + bottom + right:
            return name
        spec = self._array(f"{name}/pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
        return self._node("Pad", [name, spec], f"{name}/padded")

    @staticmethod
    def _by_channel(layer: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One number a channel, in the shape in which ONNX adds it to the layer's output."""
        return values.reshape((-1, 1, 1) if len(layer.output.shape) == 4 else (-1,))

    # --- a method a kind of layer, called with the names of its inputs ---------------------------

    def _emit_rescaling(self, layer: Any, names: list[str]) -> str:
        value = names[0]
        for op, number, neutral in (("Mul", layer.scale, 1), ("Add", layer.offset, 0)):
            constant = np.asarray(number)
            if np.any(constant != neutral):
                if constant.ndim:
                    constant = self._by_channel(layer, constant)
                array = self._array(f"{layer.name}/{op.lower()}_by", constant)
                value = self._node(op, [value, array], f"{layer.name}/{op.lower()}")
        return value

    def _emit_conv2d(self, layer: Any, names: list[str]) -> str:
        if layer.groups != 1:
            raise ModelError(f"layer {layer.name}: grouped convolutions have no ONNX form here")
        kernel = layer.get_weights()[0].transpose(3, 2, 0, 1)  # H,W,I,O -> O,I,H,W
        return self._convolution(layer, names[0], kernel, group=1)

    def _emit_depthwiseconv2d(self, layer: Any, names: list[str]) -> str:
        kernel = layer.get_weights()[0]  # H,W,I,M
        height, width, channels, times = kernel.shape
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * times, 1, height, width)
        return self._convolution(layer, names[0], kernel, group=channels)

    def _convolution(self, layer: Any, source: str, kernel: Floats, group: int) -> str:
        own = _same_pads(layer)
        earlier = self._padding.get(source, (0, 0, 0, 0))
        name = layer.name
        bias = layer.get_weights()[1] if layer.use_bias else np.zeros(len(kernel))
        value = self._node(
            "Conv",
            [source, self._array(f"{name}/kernel", kernel), self._array(f"{name}/bias", bias)],
            name,
            kernel_shape=list(kernel.shape[2:]),
            strides=list(layer.strides),
            dilations=list(layer.dilation_rate),
            pads=[a + b for a, b in zip(own, earlier, strict=True)],
            group=group,
        )
        if self._uses[id(layer.output)] == 1:
            self._convolutions[value] = name
        return self._activation(layer, value)

    def _emit_batchnormalization(self, layer: Any, names: list[str]) -> str:
        mean, variance = (np.asarray(w) for w in (layer.moving_mean, layer.moving_variance))
        gamma = np.asarray(layer.gamma) if layer.scale else np.ones_like(mean)
        beta = np.asarray(layer.beta) if layer.center else np.zeros_like(mean)
        slope = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + layer.epsilon)
        shift = beta - mean * slope
        value = names[0]
        convolution = self._convolutions.pop(value, None)
        if convolution is None and (slope >= 0).all():  # such functions keep the largest largest
            convolution = self._pooled.pop(value, None)
        if convolution is not None:
            kernel, bias = f"{convolution}/kernel", f"{convolution}/bias"
            self._array(kernel, self._arrays[kernel] * slope[:, None, None, None])
            self._array(bias, self._arrays[bias] * slope + shift)
            return value
        slopes = self._array(f"{layer.name}/slope", self._by_channel(layer, slope))
        shifts = self._array(f"{layer.name}/shift", self._by_channel(layer, shift))
        value = self._node("Mul", [value, slopes], f"{layer.name}/scaled")
        return self._node("Add", [value, shifts], layer.name)

    def _emit_bias(self, layer: Any, names: list[str]) -> str:
        value, bias = names[0], layer.get_weights()[0]
        convolution = self._convolutions.pop(value, None) or self._pooled.pop(value, None)
        if convolution is not None:
            before = f"{convolution}/bias"
            self._array(before, self._arrays[before] + bias)
            return value
        array = self._array(f"{layer.name}/bias", self._by_channel(layer, bias))
        return self._node("Add", [value, array], layer.name)

    def _emit_zeropadding2d(self, layer: Any, names: list[str]) -> str:
        (top, bottom), (left, right) = layer.padding
        value = self._node("Identity", names, layer.name)
        self._padding[value] = (top, left, bottom, right)
        return value

    def _emit_relu(self, layer: Any, names: list[str]) -> str:
        if layer.negative_slope or layer.threshold:
            raise ModelError(f"layer {layer.name}: only plain ReLUs have an ONNX form here")
        return self._relu(names[0], layer.name, layer.max_value)

    def _relu(self, value: str, name: str, limit: float | None) -> str:
        if limit is None:
            return self._node("Relu", [value], name)
        bounds = [self._array("zero", 0.0), self._array(f"limit_{limit:g}", limit)]
        return self._node("Clip", [value, *bounds], name)

    def _emit_activation(self, layer: Any, names: list[str]) -> str:
        return self._activation(layer, names[0])

    def _activation(self, layer: Any, value: str) -> str:
        kind = layer.activation.__name__
        if kind == "linear":
            return value
        name = f"{layer.name}/{kind}" if value == layer.name else layer.name
        if kind in ("relu", "relu6"):
            return self._relu(value, name, 6.0 if kind == "relu6" else None)
        raise ModelError(f"layer {layer.name}: activation {kind} has no ONNX form here")

    def _emit_maxpooling2d(self, layer: Any, names: list[str]) -> str:
        value = self._pool("MaxPool", layer, names)
        if names[0] in self._convolutions and self._uses[id(layer.output)] == 1:
            self._pooled[value] = self._convolutions[names[0]]
        return value

    def _emit_averagepooling2d(self, layer: Any, names: list[str]) -> str:
        # As in TensorFlow, what lies outside the image does not count.
        return self._pool("AveragePool", layer, names, count_include_pad=0)

    def _pool(self, op: str, layer: Any, names: list[str], **attributes: int) -> str:
        return self._node(
            op,
            names,
            layer.name,
            kernel_shape=list(layer.pool_size),
            strides=list(layer.strides),
            pads=list(_same_pads(layer)),
            **attributes,
        )

    def _emit_globalaveragepooling2d(self, layer: Any, names: list[str]) -> str:
        if layer.keepdims:
            return self._node("GlobalAveragePool", names, layer.name)
        value = self._node("GlobalAveragePool", names, f"{layer.name}/mean")
        return self._node("Flatten", [value], layer.name, axis=1)

    def _emit_globalmaxpooling2d(self, layer: Any, names: list[str]) -> str:
        # One window over all: fewer tools know ONNX's GlobalMaxPool.
        name = layer.name if layer.keepdims else f"{layer.name}/max"
        window = list(layer.input.shape[1:3])
        value = self._node("MaxPool", names, name, kernel_shape=window)
        return value if layer.keepdims else self._node("Flatten", [value], layer.name, axis=1)

    def _emit_flatten(self, layer: Any, names: list[str]) -> str:
        if len(layer.input.shape) == 4 and layer.input.shape[1:3] != (1, 1):
            # Keras flattens height, width, channels in this order.
            names = [self._node("Transpose", names, f"{layer.name}/nhwc", perm=[0, 2, 3, 1])]
        return self._node("Flatten", names, layer.name, axis=1)

    def _emit_concatenate(self, layer: Any, names: list[str]) -> str:
        if layer.axis not in (-1, len(layer.output.shape) - 1):
            raise ModelError(f"layer {layer.name}: only channels are joined")
        return self._node("Concat", names, layer.name, axis=1)

    def _emit_add(self, layer: Any, names: list[str]) -> str:
        if len(names) != 2:
            raise ModelError(f"layer {layer.name}: only two values are added")
        return self._node("Add", names, layer.name)

    def _emit_spatialdropout2d(self, layer: Any, names: list[str]) -> str:
        return self._emit_dropout(layer, names)

    def _emit_dropout(self, layer: Any, names: list[str]) -> str:
        return self._node("Identity", names, layer.name)

    def _emit_dense(self, layer: Any, names: list[str]) -> str:
        weights = layer.get_weights()
        bias = weights[1] if layer.use_bias else np.zeros(weights[0].shape[1])
        arrays = [
            self._array(f"{layer.name}/kernel", weights[0]),
            self._array(f"{layer.name}/bias", bias),
        ]
        return self._activation(layer, self._node("Gemm", [*names, *arrays], layer.name))

    # --- of the heads that find boxes; see box_heads.py ------------------------------------------

    def _emit_flatmaps(self, layer: Any, names: list[str]) -> str:
        flat = [
            self._node("Flatten", [name], f"{layer.name}/{i}", axis=1)
            for i, name in enumerate(names)
        ]
        return self._node("Concat", flat, layer.name, axis=1)

    def _emit_slicemap(self, layer: Any, names: list[str]) -> str:
        height, width, channels = layer.map_shape
        own = self._columns(layer.name, names[0], layer.start, height * width * channels)
        shape = self._array(f"{layer.name}/shape", [-1, channels, height, width], np.int64)
        return self._node("Reshape", [own, shape], layer.name)

    def _columns(self, name: str, value: str, start: int, count: int, axis: int = 1) -> str:
        """A stretch of an axis."""
        cut = [
            self._array(f"{name}/{what}{start}", [number], np.int64)
            for what, number in (("from", start), ("to", start + count), ("axis", axis))
        ]
        return self._node("Slice", [value, *cut], f"{name}/cut{start}")

    def _emit_nearestresize(self, layer: Any, names: list[str]) -> str:
        # Resize takes a scale instead of a size: rounded, it loses cells, such as one of 53.
        value = names[0]
        for axis, size in ((1, layer.height), (2, layer.width)):
            cells = np.arange(size) * layer.input.shape[axis] // size
            taken = self._array(f"{layer.name}/cells{axis}", cells, np.int64)
            value = self._node("Gather", [value, taken], f"{layer.name}/{axis}", axis=axis + 1)
        return value

    def _emit_proposals(self, layer: Any, names: list[str]) -> str:
        from sharpeye.models.box_heads import DIRECTIONS, cell_middles

        # Without where the cells are: only the loss asks for that.
        name, (height, width) = layer.name, layer.input.shape[1:3]
        shape = self._array(f"{name}/shape", [0, 5, height * width], np.int64)
        flat = self._node("Reshape", [names[0], shape], f"{name}/flat")
        rows = self._node("Transpose", [flat], f"{name}/rows", perm=[0, 2, 1])
        logit = self._columns(name, rows, 0, 1, axis=2)
        far = self._node("Softplus", [self._columns(name, rows, 1, 4, axis=2)], f"{name}/far")
        directions = self._array(f"{name}/directions", DIRECTIONS)
        reach = self._node("Mul", [far, directions], f"{name}/reach")
        middles = self._array(f"{name}/middles", cell_middles(height, width))
        edges = self._node("Add", [reach, middles], f"{name}/edges")
        return self._node("Concat", [logit, edges], name, axis=2)

    def _emit_weightedboxmean(self, layer: Any, names: list[str]) -> str:
        name = layer.name
        logit = self._columns(name, names[0], 0, 1, axis=2)
        trust = self._node("Softmax", [logit], f"{name}/trust", axis=1)
        edges = self._columns(name, names[0], 1, 4, axis=2)
        parts = self._node("Mul", [trust, edges], f"{name}/parts")
        cells = self._array(f"{name}/cells", [1], np.int64)
        return self._node("ReduceSum", [parts, cells], f"{name}/mean", keepdims=0)

    def _emit_corners(self, layer: Any, names: list[str]) -> str:
        first, second = (self._columns(layer.name, names[0], start, 2) for start in (0, 2))
        low = self._node("Min", [first, second], f"{layer.name}/low")
        high = self._node("Max", [first, second], f"{layer.name}/high")
        return self._node("Concat", [low, high], f"{layer.name}/both", axis=1)
