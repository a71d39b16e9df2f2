"""ResNet-9: the small residual network that once trained fastest on CIFAR-10.

Source: Page, "How to Train Your ResNet", 2018, https://myrtle.ai/how-to-train-your-resnet/, and
https://github.com/davidcpage/cifar10-fast, the network of `dawn.py`, which led DAWNBench
(https://dawn.cs.stanford.edu/benchmark/CIFAR10/train.html). As in part 8 of that series, pooling
comes before batch norm and ReLU; the other changes of that part (CELU, ghost batch norm, frozen
scales, whitening) are not made.
"""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.models.spec import ModelSpec, NetworkBody

# name, channels as multiples of `net.width`, pooling by 2, a residual block of two follows
ROWS = (
    ("prep", 1, False, False),
    ("layer1", 2, True, True),
    ("layer2", 4, True, False),
    ("layer3", 8, True, True),
)
LOGIT_SCALE = 0.125


def build_body(x: Any, net: NetConfig) -> Any:
    """float[N,H,W,C] to float[N,8*net.width]."""
    from keras import layers

    for name, factor, pool, residual in ROWS:
        x = _conv_bn(x, factor * net.width, net, name=name, pool=pool)
        if residual:
            inner = _conv_bn(x, factor * net.width, net, name=f"{name}_res1")
            x = layers.Add()([x, _conv_bn(inner, factor * net.width, net, name=f"{name}_res2")])
    return layers.Rescaling(LOGIT_SCALE)(layers.GlobalMaxPooling2D()(x))


def _conv_bn(x: Any, filters: int, net: NetConfig, *, name: str, pool: bool = False) -> Any:
    from keras import layers

    from sharpeye.models.blocks import TRAINED_BN_MOMENTUM, BatchNormalization, kernel_init

    init = kernel_init(net)
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer=init, name=f"{name}_conv"
    )(x)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = BatchNormalization(momentum=TRAINED_BN_MOMENTUM, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


SPEC = ModelSpec(
    name="resnet_cifar",
    input=InputSpec(32, 32, fit="stretch"),
    features=512,
    parameters=6_577_600,
    macs=379,
    paper="https://myrtle.ai/how-to-train-your-resnet/",
    min_size=8,
    body=NetworkBody(build_body, head_bias=False),
    learning_rate=4e-3,
)
