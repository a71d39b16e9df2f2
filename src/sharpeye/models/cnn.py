"""A small convolutional network in three numbers: convolutions, channels, and dense layers.

It is the network of cats-versus-dogs tutorials: `net.conv_layers` convolutions 3x3, each with ReLU
and pooling by 2, then `net.dense_layers` dense layers. One unit decides between two classes, as
with a sigmoid: 3 convolutions of 64 channels on grey images of 50 px have 75,521 weights.
"""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.models.spec import ModelSpec, NetworkBody

MIN_SIZE = 4  # The convolution leaves 2 px, the pooling 1 px.


def build_body(x: Any, net: NetConfig) -> Any:
    """float[N,H,W,C] to the flattened activations, or to float[N,net.layer_size].

    Raises:
        UsageError: the image is too small for so many convolutions.
    """
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    _, height, width, _ = x.shape
    limit = max_convolutions(min(height, width))
    if net.conv_layers > limit:
        raise UsageError(
            f"net.conv_layers must be from 1 to {limit} for pictures of {width}x{height} pixels. "
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
    while side >= MIN_SIZE:
        side, count = (side - 2) // 2, count + 1
    return count


SPEC = ModelSpec(
    name="cnn",
    input=InputSpec(50, 50, fit="stretch"),
    features=1024,
    parameters=85_898,
    macs=25,
    paper="https://pythonprogramming.net/convolutional-neural-network-deep-learning-python-tensorflow-keras/",
    min_size=MIN_SIZE,
    body=NetworkBody(build_body, sigmoid_if_binary=True),
    learning_rate=2e-3,
)
