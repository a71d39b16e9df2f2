"""Building blocks that several architectures share. NHWC only. Needs Keras.

Weights files and `model.keras` files identify layers by name, and SharpEye's own layers by their
registered names. These names must not change, even if a class is renamed, so that older files open.
"""

from typing import Any

import keras
from keras import layers, ops

from sharpeye.core.config import NetConfig

# PyTorch's default, for networks trained from scratch. Keras' 0.99 and 0.999 suit ImageNet: after
# some hundred steps on a small data set the initial values would still dominate.
TRAINED_BN_MOMENTUM = 0.9


@keras.saving.register_keras_serializable(package="sharpeye")
class BatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras' layer, but on TensorFlow it trains with the fused kernel.

    Keras 3 uses six operations, each of which reads or writes all activations. Only the moving
    variance differs: it uses the unbiased variance of a batch, n/(n-1) times Keras'. The class has
    the name of Keras' class because weights files identify layers by it.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """float[N,H,W,C] to the same shape; Keras handles other shapes."""
        can_fuse = (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and mask is None
            and not self.synchronized
            and not self.renorm
        )
        if not (training and self.trainable and can_fuse):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        gamma = self.gamma if self.scale else ops.ones_like(self.moving_mean)
        beta = self.beta if self.center else ops.zeros_like(self.moving_mean)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            ops.convert_to_tensor(gamma),
            ops.convert_to_tensor(beta),
            epsilon=self.epsilon,
            is_training=True,
        )
        for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + new * (1 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="sharpeye")
class Bias(layers.Layer):  # type: ignore[misc]
    """Adds one trainable number per channel, which starts at `value`."""

    def __init__(self, value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.value = value

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        start = keras.initializers.Constant(self.value)
        self.bias = self.add_weight(shape=input_shape[-1:], initializer=start, name="bias")

    def call(self, inputs: Any) -> Any:
        """float[...,C] to the same shape."""
        return inputs + ops.cast(self.bias, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config(), value=self.value)


@keras.saving.register_keras_serializable(package="sharpeye", name="AgainstZero")
class BinaryLogits(layers.Layer):  # type: ignore[misc]
    """The logits of two classes from one unit: their softmax is the unit's sigmoid."""

    def call(self, inputs: Any) -> Any:
        """float[N,1] z to float[N,2] (0, z)."""
        return ops.concatenate([ops.zeros_like(inputs), inputs], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 2)


@keras.saving.register_keras_serializable(package="sharpeye", name="Root")
class SquareRoot(layers.Layer):  # type: ignore[misc]
    """sqrt(x + s) - sqrt(s): the square root that a head applies to frozen features."""

    def __init__(self, smooth: float, **options: Any) -> None:
        super().__init__(**options)
        self.smooth = smooth

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config(), smooth=self.smooth)

    def call(self, inputs: Any) -> Any:
        """float[N,D], 0 or more, to the same shape."""
        return ops.sqrt(inputs + self.smooth) - self.smooth**0.5


@keras.saving.register_keras_serializable(package="sharpeye")
class AppendMirrored(layers.Layer):  # type: ignore[misc]
    """Appends the mirror image of each image to a batch, but not in training."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """float[N,H,W,C] to float[2N,H,W,C], in training to the same shape."""
        if training:
            return inputs
        return ops.concatenate([inputs, ops.flip(inputs, axis=2)], axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable(package="sharpeye")
class MirroredMean(layers.Layer):  # type: ignore[misc]
    """Averages the features of each image and of the mirror image that `AppendMirrored` added."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """float[2N,D] to float[N,D], in training to the same shape."""
        if training:
            return inputs
        return ops.mean(ops.reshape(inputs, (2, -1, inputs.shape[-1])), axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None, *input_shape[1:])


def kernel_init(net: NetConfig, default: str = "he_normal") -> Any:
    """The initializer of kernels: `net.init_stddev`'s if set, else the default (He et al. 2015)."""
    if net.init_stddev:
        return keras.initializers.TruncatedNormal(stddev=net.init_stddev)
    return default


def conv_relu(
    x: Any,
    filters: int,
    kernel: int,
    *,
    net: NetConfig,
    name: str,
    stride: int = 1,
    padding: str = "valid",
    pool: int = 0,
    bias: float = 0.0,
) -> Any:
    """Convolution with bias, ReLU, and optional max pooling in windows of `pool` with stride 2.

    A bias and ReLU keep the order of activations, so pooling comes first: bias and ReLU then
    process a quarter of the activations.

    Args:
        bias: initial value of the biases.
    """
    options = {"use_bias": False, "kernel_initializer": kernel_init(net), "name": name}
    x = layers.Conv2D(filters, kernel, stride, padding, **options)(x)
    if pool:
        x = layers.MaxPooling2D(pool, 2, name=f"{name}_pool")(x)
    return layers.ReLU(name=f"{name}_relu")(Bias(bias, name=f"{name}_bias")(x))


def dense_relu(x: Any, units: int, net: NetConfig, *, name: str, bias: float = 0.0) -> Any:
    """Dense layer with ReLU; its biases start at `bias`."""
    return layers.Dense(
        units,
        activation="relu",
        kernel_initializer=kernel_init(net),
        bias_initializer=keras.initializers.Constant(bias),
        name=name,
    )(x)


def dropout(x: Any, net: NetConfig) -> Any:
    return layers.Dropout(net.dropout)(x) if net.dropout else x


def conv_bn(
    x: Any, filters: int, kernel: int, *, conv_name: str, bn_name: str, stride: int = 1
) -> Any:
    """Convolution without bias, batch norm and ReLU6."""
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=conv_name)(x)
    return layers.ReLU(6.0)(_batch_norm(x, bn_name))


def _batch_norm(x: Any, name: str) -> Any:
    """With the constants of TensorFlow's reference models; PyTorch ports keep the epsilon."""
    return BatchNormalization(epsilon=1e-3, momentum=0.99, name=name)(x)


def inverted_residual(
    x: Any, filters: int, kernel: int, *, stride: int, expand: int, name: str
) -> tuple[Any, Any]:
    """The bottleneck of MobileNetV2 (Sandler et al. 2018, figure 4d), without squeeze-excite.

    Returns:
        the block's output, and its expanded activations before the depthwise convolution.
    """
    shortcut, channels = x, x.shape[-1]
    if expand != 1:
        x = conv_bn(x, channels * expand, 1, conv_name=f"{name}_expand_conv", bn_name=f"{name}_bn0")
    expanded = x
    depthwise_name = f"{name}_depthwise_conv"
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=depthwise_name)(x)
    x = layers.ReLU(6.0)(_batch_norm(x, f"{name}_bn1"))
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{name}_project_conv")(x)
    x = _batch_norm(x, f"{name}_bn2")
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x, expanded
