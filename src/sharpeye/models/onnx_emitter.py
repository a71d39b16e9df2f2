"""Write a Keras network as ONNX, layer by layer, ready for inference.

Keras' own exporter traces the network with TensorFlow and rewrites the trace with tf2onnx:
correct, but 30 s for Inception v3. The networks here are plain graphs of about twenty kinds of
layers, each used once. Writing them layer by layer takes a second, and the result needs no
optimiser: batch norms and biases are folded into the convolutions before them, zero padding into
the convolutions after it.

Images enter as uint8[N,H,W,C] and are transposed once; everything after that is NCHW.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.errors import ModelError
from sharpeye.models.onnx_box_layers import BoxLayers

if TYPE_CHECKING:
    import keras
    import onnx

_OPSET, _IR_VERSION = 17, 9  # from 2022: all current runtimes read them

Pads = tuple[int, int, int, int]  # top, left, bottom, right
_NO_PADS: Pads = (0, 0, 0, 0)


def emit_onnx(model: "keras.Model", input_name: str) -> "onnx.ModelProto":
    """The network as ONNX. Needs onnx.

    Args:
        model: a functional model from one input, float32[N,H,W,C] 0..255 or float32[N,D], to a
            dictionary of outputs; each layer is used once.

    Returns:
        `input_name` uint8[N,H,W,C], or float32[N,D], to float32[N,...] for each output name.

    Raises:
        ModelError: a layer is not supported.
    """
    return _Emitter(model, input_name).emit()


def checked_model(graph: "onnx.GraphProto") -> "onnx.ModelProto":
    """A graph as a model that all current runtimes read, checked."""
    from onnx import checker, helper

    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="sharpeye")
    model.ir_version = _IR_VERSION
    checker.check_model(model)
    return model


class _Emitter(BoxLayers):
    """The graph under construction. Methods return the name of the value they add."""

    def __init__(self, model: "keras.Model", input_name: str) -> None:
        super().__init__()
        self._network, self._input = model, input_name
        self._names: dict[int, str] = {}  # ONNX values by the id of the Keras tensor
        self._padding: dict[str, Pads] = {}  # pending zero padding of values
        self._convolutions: dict[str, str] = {}  # from a value to the convolution that made it
        self._pooled: dict[str, str] = {}  # the same, but with max pooling in between
        self._mirrored = ("", "")  # the image and its mirror image, if they are averaged
        self._uses = Counter(id(tensor) for layer in model.layers for tensor in _inputs(layer))
        self._uses.update(id(tensor) for tensor in model.output.values())

    def emit(self) -> "onnx.ModelProto":
        from onnx import TensorProto, helper, numpy_helper

        shape = self._network.input.shape[1:]
        is_image = len(shape) == 3
        value = self._input
        if is_image:
            value = self._node("Transpose", "image_nchw", value, perm=[0, 3, 1, 2])
            value = self._node("Cast", "image_float", value, to=TensorProto.FLOAT)
        self._names[id(self._network.input)] = value
        for layer in self._network.layers:
            if type(layer).__name__ != "InputLayer":
                self._names[id(layer.output)] = self._emit_layer(layer)
        outputs = dict(self._network.output)
        for name, tensor in outputs.items():
            last = self._padded(self._names[id(tensor)])
            if last != name:
                self._node("Identity", name, last)
        input_type = TensorProto.UINT8 if is_image else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            self._network.name,
            [helper.make_tensor_value_info(self._input, input_type, ["N", *shape])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *tensor.shape[1:]])
                for name, tensor in outputs.items()
            ],
            [numpy_helper.from_array(array, name) for name, array in self._arrays.items()],
        )
        return checked_model(graph)

    def _emit_layer(self, layer: Any) -> str:
        """Call the method named after the layer's class, with the layer and its inputs' names."""
        kind = type(layer).__name__
        emit = getattr(self, f"_emit_{kind.lower()}", None)
        if emit is None:
            raise ModelError(f"layer {layer.name} of kind {kind} has no ONNX form")
        values = [self._name_of(layer, tensor) for tensor in _inputs(layer)]
        if kind not in ("Conv2D", "DepthwiseConv2D"):
            values = [self._padded(value) for value in values]
        return str(emit(layer, *values))

    def _name_of(self, layer: Any, tensor: Any) -> str:
        if id(tensor) not in self._names:
            raise ModelError(
                f"layer {layer.name} takes a value that no layer of keras.layers made, but an "
                "operator or keras.ops: only layers, each used once, have an ONNX form"
            )
        return self._names[id(tensor)]

    def _padded(self, value: str) -> str:
        """The value after its pending zero padding."""
        top, left, bottom, right = self._padding.get(value, _NO_PADS)
        if not top + left + bottom + right:
            return value
        pads = self._array(f"{value}/pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
        return self._node("Pad", f"{value}/padded", value, pads)

    def _emit_rescaling(self, layer: Any, value: str) -> str:
        for op, number, neutral in (("Mul", layer.scale, 1), ("Add", layer.offset, 0)):
            constant = np.asarray(number)
            if np.any(constant != neutral):
                if constant.ndim:
                    constant = _by_channel(layer, constant)
                array = self._array(f"{layer.name}/{op.lower()}_by", constant)
                value = self._node(op, f"{layer.name}/{op.lower()}", value, array)
        return value

    def _emit_conv2d(self, layer: Any, value: str) -> str:
        if layer.groups != 1:
            raise ModelError(f"layer {layer.name}: grouped convolutions have no ONNX form here")
        kernel = layer.get_weights()[0].transpose(3, 2, 0, 1)  # H,W,I,O -> O,I,H,W
        return self._convolution(layer, value, kernel, group=1)

    def _emit_depthwiseconv2d(self, layer: Any, value: str) -> str:
        kernel = layer.get_weights()[0]  # H,W,I,M
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        return self._convolution(layer, value, kernel, group=channels)

    def _convolution(self, layer: Any, source: str, kernel: Array, *, group: int) -> str:
        name, earlier_pads = layer.name, self._padding.get(source, _NO_PADS)
        bias = layer.get_weights()[1] if layer.use_bias else np.zeros(len(kernel))
        value = self._node(
            "Conv",
            name,
            source,
            self._array(f"{name}/kernel", kernel),
            self._array(f"{name}/bias", bias),
            kernel_shape=list(kernel.shape[2:]),
            strides=list(layer.strides),
            dilations=list(layer.dilation_rate),
            pads=[a + b for a, b in zip(_same_pads(layer), earlier_pads, strict=True)],
            group=group,
        )
        if self._uses[id(layer.output)] == 1:
            self._convolutions[value] = name
        return self._emit_activation(layer, value)

    def _emit_batchnormalization(self, layer: Any, value: str) -> str:
        mean, variance = (np.asarray(w) for w in (layer.moving_mean, layer.moving_variance))
        gamma = np.asarray(layer.gamma) if layer.scale else np.ones_like(mean)
        beta = np.asarray(layer.beta) if layer.center else np.zeros_like(mean)
        slope = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + layer.epsilon)
        shift = beta - mean * slope
        convolution = self._convolutions.pop(value, None)
        if convolution is None and (slope >= 0).all():  # Both commute with max pooling.
            convolution = self._pooled.pop(value, None)
        if convolution is not None:
            kernel, bias = f"{convolution}/kernel", f"{convolution}/bias"
            self._array(kernel, self._arrays[kernel] * slope[:, None, None, None])
            self._array(bias, self._arrays[bias] * slope + shift)
            return value
        slopes = self._array(f"{layer.name}/slope", _by_channel(layer, slope))
        shifts = self._array(f"{layer.name}/shift", _by_channel(layer, shift))
        scaled = self._node("Mul", f"{layer.name}/scaled", value, slopes)
        return self._node("Add", layer.name, scaled, shifts)

    def _emit_bias(self, layer: Any, value: str) -> str:
        bias = layer.get_weights()[0]
        convolution = self._convolutions.pop(value, None) or self._pooled.pop(value, None)
        if convolution is not None:
            folded = f"{convolution}/bias"
            self._array(folded, self._arrays[folded] + bias)
            return value
        array = self._array(f"{layer.name}/bias", _by_channel(layer, bias))
        return self._node("Add", layer.name, value, array)

    def _emit_zeropadding2d(self, layer: Any, value: str) -> str:
        (top, bottom), (left, right) = layer.padding
        self._padding[layer.name] = (top, left, bottom, right)
        return self._node("Identity", layer.name, value)

    def _emit_relu(self, layer: Any, value: str) -> str:
        if layer.negative_slope or layer.threshold:
            raise ModelError(f"layer {layer.name}: only plain ReLUs have an ONNX form here")
        return self._relu(value, layer.name, layer.max_value)

    def _relu(self, value: str, name: str, limit: float | None) -> str:
        if limit is None:
            return self._node("Relu", name, value)
        bounds = [self._array("zero", 0.0), self._array(f"limit_{limit:g}", limit)]
        return self._node("Clip", name, value, *bounds)

    def _emit_activation(self, layer: Any, value: str) -> str:
        """The activation of an `Activation`, or of a layer with an activation after `value`."""
        kind = layer.activation.__name__
        if kind == "linear":
            return value
        name = f"{layer.name}/{kind}" if value == layer.name else layer.name
        if kind in ("relu", "relu6"):
            return self._relu(value, name, 6.0 if kind == "relu6" else None)
        if kind in ("sigmoid", "softplus"):
            return self._node(kind.capitalize(), name, value)
        if kind == "silu":
            return self._node("Mul", name, value, self._node("Sigmoid", f"{name}/sigmoid", value))
        if kind == "tanh":  # 2 sigmoid(2 x) - 1
            two, one = self._array("two", 2.0), self._array("one", 1.0)
            double = self._node("Mul", f"{name}/double", value, two)
            factor = self._node("Sigmoid", f"{name}/sigmoid", double)
            return self._node("Sub", name, self._node("Mul", f"{name}/twice", factor, two), one)
        raise ModelError(
            f"layer {layer.name}: activation {kind} has no ONNX form here; these have: relu, "
            "relu6, sigmoid, silu, softplus, tanh"
        )

    def _emit_multiply(self, layer: Any, *values: str) -> str:
        return self._in_pairs("Mul", layer, values)

    def _in_pairs(self, op: str, layer: Any, values: Sequence[str]) -> str:
        """The last of the nodes has the layer's name."""
        result, last = values[0], len(values) - 1
        for number, value in enumerate(values[1:], 1):
            name = layer.name if number == last else f"{layer.name}/{number}"
            result = self._node(op, name, result, value)
        return result

    def _emit_leakyrelu(self, layer: Any, value: str) -> str:
        slope = self._array(f"{layer.name}/slope", layer.negative_slope)
        return self._node(
            "Max", layer.name, value, self._node("Mul", f"{layer.name}/low", value, slope)
        )

    def _emit_maxpooling2d(self, layer: Any, value: str) -> str:
        if value in self._convolutions and self._uses[id(layer.output)] == 1:
            self._pooled[layer.name] = self._convolutions[value]
        return self._pool("MaxPool", layer, value)

    def _emit_averagepooling2d(self, layer: Any, value: str) -> str:
        # As in TensorFlow, the mean excludes padding.
        return self._pool("AveragePool", layer, value, count_include_pad=0)

    def _pool(self, op: str, layer: Any, value: str, **attributes: int) -> str:
        window, strides, pads = layer.pool_size, layer.strides, _same_pads(layer)
        options = {"kernel_shape": list(window), "strides": list(strides), "pads": list(pads)}
        return self._node(op, layer.name, value, **options, **attributes)

    def _emit_globalaveragepooling2d(self, layer: Any, value: str) -> str:
        return self._global_pool("GlobalAveragePool", layer, value, suffix="mean")

    def _emit_globalmaxpooling2d(self, layer: Any, value: str) -> str:
        # One window over the image, because fewer tools support ONNX's GlobalMaxPool.
        window = list(layer.input.shape[1:3])
        return self._global_pool("MaxPool", layer, value, suffix="max", kernel_shape=window)

    def _global_pool(
        self, op: str, layer: Any, value: str, *, suffix: str, **attributes: Any
    ) -> str:
        if layer.keepdims:
            return self._node(op, layer.name, value, **attributes)
        pooled = self._node(op, f"{layer.name}/{suffix}", value, **attributes)
        return self._node("Flatten", layer.name, pooled, axis=1)

    def _emit_flatten(self, layer: Any, value: str) -> str:
        if len(layer.input.shape) == 4 and layer.input.shape[1:3] != (1, 1):
            # Keras flattens in the order height, width, channels.
            value = self._node("Transpose", f"{layer.name}/nhwc", value, perm=[0, 2, 3, 1])
        return self._node("Flatten", layer.name, value, axis=1)

    def _emit_concatenate(self, layer: Any, *values: str) -> str:
        if layer.axis not in (-1, len(layer.output.shape) - 1):
            raise ModelError(f"layer {layer.name}: only channels are joined")
        return self._node("Concat", layer.name, *values, axis=1)

    def _emit_add(self, layer: Any, *values: str) -> str:
        return self._in_pairs("Add", layer, values)

    def _emit_dropout(self, layer: Any, value: str) -> str:
        return self._node("Identity", layer.name, value)

    _emit_spatialdropout2d = _emit_identity = _emit_dropout

    def _emit_dense(self, layer: Any, value: str) -> str:
        weights = layer.get_weights()
        bias = weights[1] if layer.use_bias else np.zeros(weights[0].shape[1])
        kernel = self._array(f"{layer.name}/kernel", weights[0])
        bias = self._array(f"{layer.name}/bias", bias)
        return self._emit_activation(layer, self._node("Gemm", layer.name, value, kernel, bias))

    def _emit_appendmirrored(self, layer: Any, value: str) -> str:
        columns = np.arange(layer.input.shape[2])[::-1]
        indices = self._array(f"{layer.name}/columns", columns, np.int64)
        self._mirrored = (value, self._node("Gather", layer.name, value, indices, axis=3))
        return value

    def _emit_mirroredmean(self, layer: Any, value: str) -> str:
        """A second path with the same constants: a graph must never join images of a batch."""
        renamed = dict([self._mirrored])
        first = next(i for i, node in enumerate(self._nodes) if node.output[0] == self._mirrored[1])
        for node in self._nodes[first + 1 :]:
            output = renamed[node.output[0]] = f"{node.output[0]}/mirrored"
            inputs = [renamed.get(name, name) for name in node.input]
            copy = type(node)()
            copy.CopyFrom(node)
            del copy.input[:], copy.output[:]
            copy.name = output
            copy.input.extend(inputs)
            copy.output.append(output)
            self._nodes.append(copy)
        total = self._node("Add", f"{layer.name}/sum", value, renamed[value])
        return self._node("Mul", layer.name, total, self._array(f"{layer.name}/half", 0.5))


def _inputs(layer: Any) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _same_pads(layer: Any) -> Pads:
    """The zero padding of `padding="same"`; none of `valid`."""
    if layer.padding == "valid":
        return _NO_PADS
    kernel = getattr(layer, "pool_size", None) or layer.kernel_size
    totals = [
        max(0, (-(-size // stride) - 1) * stride + window - size)
        for size, stride, window in zip(layer.input.shape[1:3], layer.strides, kernel, strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return (top, left, totals[0] - top, totals[1] - left)


def _by_channel(layer: Any, values: Array) -> Array:
    """One number per channel, in the shape that ONNX broadcasts to the layer's output."""
    return values.reshape((-1, 1, 1) if len(layer.output.shape) == 4 else (-1,))
