"""ResNet-18 and ResNet-50, trained from scratch.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385,
table 1. As in today's implementations the strides of ResNet-50 are in the 3x3 convolutions, and the
last batch norm of each block begins at 0 (Goyal et al. 2017, arXiv:1706.02677), so that each block
begins as the identity. Images of up to 64 pixels have a 3x3 convolution without stride or pooling
in place of the first layers, which would leave them 2 x 2 cells.
"""

from functools import partial
from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.models.spec import ModelSpec, NetworkBody

_CHANNELS = (64, 128, 256, 512)
_MAX_SMALL_SIDE = 64


def _resnet(x: Any, net: NetConfig, *, blocks: tuple[int, ...], expansion: int) -> Any:
    """Four stages of residual blocks, and the mean over the image.

    Args:
        blocks: number of blocks in each stage.
        expansion: 1 for blocks of two 3x3 convolutions; else their outputs have this many times
            the channels of the 3x3 convolution between two of 1x1.
    """
    from keras import layers

    if min(x.shape[1:3]) <= _MAX_SMALL_SIDE:
        x = _conv_bn(x, _CHANNELS[0], 3, net=net, name="stem", relu=True)
    else:
        x = _conv_bn(x, _CHANNELS[0], 7, net=net, name="stem", stride=2, relu=True)
        x = layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)
    for stage, (channels, count) in enumerate(zip(_CHANNELS, blocks, strict=True), 1):
        for block in range(count):
            options = {"stride": 2 if stage > 1 and block == 0 else 1, "expansion": expansion}
            x = _block(x, channels, net, name=f"stage{stage}_block{block + 1}", **options)
    return layers.GlobalAveragePooling2D(name="mean")(x)


def _block(x: Any, channels: int, net: NetConfig, *, name: str, stride: int, expansion: int) -> Any:
    from keras import layers

    outputs, shortcut = channels * expansion, x
    if stride > 1 or x.shape[-1] != outputs:
        shortcut = _conv_bn(x, outputs, 1, net=net, name=f"{name}_shortcut", stride=stride)
    if expansion == 1:
        x = _conv_bn(x, channels, 3, net=net, name=f"{name}_conv1", stride=stride, relu=True)
        x = _conv_bn(x, outputs, 3, net=net, name=f"{name}_conv2", gamma="zeros")
    else:
        x = _conv_bn(x, channels, 1, net=net, name=f"{name}_conv1", relu=True)
        x = _conv_bn(x, channels, 3, net=net, name=f"{name}_conv2", stride=stride, relu=True)
        x = _conv_bn(x, outputs, 1, net=net, name=f"{name}_conv3", gamma="zeros")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _conv_bn(
    x: Any,
    filters: int,
    kernel: int,
    *,
    net: NetConfig,
    name: str,
    stride: int = 1,
    relu: bool = False,
    gamma: str = "ones",
) -> Any:
    """Convolution without bias, batch norm whose factors begin at `gamma`, and perhaps ReLU."""
    from keras import layers

    from sharpeye.models.blocks import BatchNormalization, kernel_init

    options = {"use_bias": False, "kernel_initializer": kernel_init(net), "name": name}
    x = layers.Conv2D(filters, kernel, stride, "same", **options)(x)
    x = BatchNormalization(
        momentum=net.batch_norm_momentum,
        epsilon=1e-5,
        gamma_initializer=gamma,
        name=f"{name}_bn",
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


_PAPER = "https://arxiv.org/abs/1512.03385"
_KNOBS = ("batch_norm_momentum",)

RESNETS = (
    ModelSpec(
        name="resnet50",
        input=InputSpec(224, 224),
        features=2048,
        parameters=23_581_642,
        macs=4089,
        paper=_PAPER,
        body=NetworkBody(partial(_resnet, blocks=(3, 4, 6, 3), expansion=4), _KNOBS),
        learning_rate=1e-3,
    ),
    ModelSpec(
        name="resnet18",
        input=InputSpec(224, 224),
        features=512,
        parameters=11_191_242,
        macs=1814,
        paper=_PAPER,
        body=NetworkBody(partial(_resnet, blocks=(2, 2, 2, 2), expansion=1), _KNOBS),
        learning_rate=1e-3,
    ),
)
