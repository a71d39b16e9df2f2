"""Building blocks that several architectures share. NHWC only.

Layer names are the keys under which `weights.py` finds a layer's arrays.
"""

import keras
from keras import layers

# TensorFlow's reference models use this pair, PyTorch ports keep the epsilon.
BN_EPSILON, BN_MOMENTUM = 1e-3, 0.99


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=BN_EPSILON, momentum=BN_MOMENTUM, name=name)(x)


def conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    stride: int,
    conv_name: str,
    bn_name: str,
    *,
    relu6: bool = True,
) -> keras.KerasTensor:
    """Convolution without bias, batch norm, and ReLU6 unless it ends a linear bottleneck."""
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=conv_name)(x)
    x = batch_norm(x, bn_name)
    return layers.ReLU(6.0)(x) if relu6 else x


def inverted_residual(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, expand: int, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The bottleneck of MobileNetV2 (Sandler et al. 2018, figure 4d), without squeeze-excite.

    Returns:
        the block's output, and its expanded activations before the depthwise convolution.
    """
    shortcut, channels = x, x.shape[-1]
    if expand != 1:
        x = conv_bn(x, channels * expand, 1, 1, f"{name}_expand_conv", f"{name}_bn0")
    expanded = x
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = layers.ReLU(6.0)(batch_norm(x, f"{name}_bn1"))
    x = conv_bn(x, filters, 1, 1, f"{name}_project_conv", f"{name}_bn2", relu6=False)
    if stride == 1 and channels == filters:
        x = layers.Add()([shortcut, x])
    return x, expanded
