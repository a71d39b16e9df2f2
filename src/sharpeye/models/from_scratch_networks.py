"""The networks that are trained from scratch: ResNet-9, LeNet-5, a small CNN, and AlexNet."""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.models.spec import ModelSpec, NetworkBody

_CNN_MIN_SIZE = 4  # The convolution leaves 2 px, the pooling 1 px.

# channels, kernel, stride, padding, pooling window or 0, initial bias
_ALEXNET = (
    (96, 11, 4, "valid", 3, 0.0),
    (256, 5, 1, "same", 3, 1.0),
    (384, 3, 1, "same", 0, 0.0),
    (384, 3, 1, "same", 0, 0.0),
    (256, 3, 1, "same", 3, 0.0),
)

# name, channels as multiples of `net.width`, pooling by 2, a residual block of two follows
_RESNET_LAYERS = (
    ("prep", 1, False, False),
    ("layer1", 2, True, True),
    ("layer2", 4, True, False),
    ("layer3", 8, True, True),
)


def _lenet5(x: Any, net: NetConfig) -> Any:
    """Two convolutions with pooling, then two dense layers.

    LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, figure 2; in
    today's form: RGB input, ReLU, max pooling, full connections between channels, softmax.
    """
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    for number, channels in enumerate((6, 16), 1):
        x = conv_relu(x, channels, 5, net=net, name=f"conv{number}", pool=2)
    x = layers.Flatten()(x)
    for number, units in enumerate((120, 84), 1):
        x = dense_relu(dropout(x, net), units, net, name=f"fc{number}")
    return x


def _alexnet(x: Any, net: NetConfig) -> Any:
    """Five convolutions and two dense layers, in one branch.

    Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", 2012, figure 2; without its two groups and without local response normalization.
    Biases start at 1 in the second convolution and in the dense layers, as in the first networks
    of this kind that output classes and boxes.
    """
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    for number, (channels, kernel, stride, padding, pool, bias) in enumerate(_ALEXNET, 1):
        options: dict[str, Any] = {"stride": stride, "padding": padding, "pool": pool, "bias": bias}
        x = conv_relu(x, channels, kernel, net=net, name=f"conv{number}", **options)
    x = dense_relu(layers.Flatten()(x), 4096, net, name="fc1", bias=1.0)
    # As in the paper, dropout follows the dense layers, not the convolutions.
    return dense_relu(dropout(x, net), 4096, net, name="fc2", bias=1.0)


def _cnn(x: Any, net: NetConfig) -> Any:
    """The network of cats-versus-dogs tutorials, in three numbers of the configuration.

    `net.conv_layers` convolutions 3x3, each with ReLU and pooling by 2, then `net.dense_layers`
    dense layers. Two classes have one output unit, as with a sigmoid: 3 convolutions of 64 channels
    on grey images of 50 px have 75,521 weights.
    """
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    _, height, width, _ = x.shape
    limit = max_convolutions(min(height, width))
    if net.conv_layers > limit:
        raise UsageError(
            f"net.conv_layers must be from 1 to {limit} for images of {width}x{height} pixels. "
            f"Received: {net.conv_layers}; take fewer or a larger model.image_size"
        )
    for number in range(1, net.conv_layers + 1):
        x = conv_relu(x, net.layer_size, 3, net=net, name=f"conv{number}", pool=2)
    x = layers.Flatten()(x)
    for number in range(1, net.dense_layers + 1):
        x = dense_relu(dropout(x, net), net.layer_size, net, name=f"fc{number}")
    return x


def max_convolutions(side: int) -> int:
    """How many 3x3 convolutions with pooling can follow each other on `side` pixels."""
    count = 0
    while side >= _CNN_MIN_SIZE:
        side, count = (side - 2) // 2, count + 1
    return count


def _resnet9(x: Any, net: NetConfig) -> Any:
    """The small residual network that once trained fastest on CIFAR-10; 8 * net.width features.

    Page, "How to Train Your ResNet", 2018, and https://github.com/davidcpage/cifar10-fast, the
    network of `dawn.py`, which led DAWNBench. As in part 8 of that series, pooling comes before
    batch norm and ReLU; the other changes of that part (CELU, ghost batch norm, frozen scales,
    whitening) are not made.
    """
    from keras import layers

    for name, factor, pool, residual in _RESNET_LAYERS:
        x = _conv_bn_relu(x, factor * net.width, net, name=name, pool=pool)
        if residual:
            inner = _conv_bn_relu(x, factor * net.width, net, name=f"{name}_res1")
            inner = _conv_bn_relu(inner, factor * net.width, net, name=f"{name}_res2")
            x = layers.Add()([x, inner])
    return layers.Rescaling(0.125)(layers.GlobalMaxPooling2D()(x))


def _conv_bn_relu(x: Any, filters: int, net: NetConfig, *, name: str, pool: bool = False) -> Any:
    from keras import layers

    from sharpeye.models.blocks import BatchNormalization, kernel_init

    options = {"use_bias": False, "kernel_initializer": kernel_init(net), "name": f"{name}_conv"}
    x = layers.Conv2D(filters, 3, padding="same", **options)(x)
    if pool:
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    momentum = net.batch_norm_momentum
    x = BatchNormalization(momentum=momentum, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


NETWORKS = (
    ModelSpec(
        name="resnet_cifar",
        input=InputSpec(32, 32, fit="stretch"),
        features=512,
        parameters=6_577_600,
        macs=379,
        paper="https://myrtle.ai/how-to-train-your-resnet/",
        min_size=8,
        body=NetworkBody(_resnet9, ("width", "batch_norm_momentum"), head_bias=False),
        learning_rate=4e-3,
    ),
    ModelSpec(
        name="lenet5",
        input=InputSpec(32, 32, fit="stretch"),
        features=84,
        parameters=62_006,
        macs=0.65,
        paper="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
        min_size=16,
        body=NetworkBody(_lenet5),
        learning_rate=3e-3,
    ),
    ModelSpec(
        name="cnn",
        input=InputSpec(50, 50, fit="stretch"),
        features=1024,
        parameters=85_898,
        macs=25,
        paper="https://pythonprogramming.net/convolutional-neural-network-deep-learning-python-tensorflow-keras/",
        min_size=_CNN_MIN_SIZE,
        body=NetworkBody(
            _cnn, ("conv_layers", "layer_size", "dense_layers"), sigmoid_if_binary=True
        ),
        learning_rate=2e-3,
    ),
    ModelSpec(
        name="alexnet",
        input=InputSpec(227, 227, fit="stretch"),
        features=4096,
        parameters=58_322_314,
        macs=1131,
        paper="https://papers.nips.cc/paper/4824",
        min_size=67,
        body=NetworkBody(_alexnet),
        learning_rate=2e-4,
    ),
)
