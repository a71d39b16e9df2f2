"""AlexNet in one branch: five convolutions and three dense layers, 58 million weights.

Paper: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", 2012, https://papers.nips.cc/paper/4824, figure 2; without its two groups and without
local response normalization. Biases start at 1 in the second convolution and in the dense layers,
as in the first networks of this kind that output classes and boxes.
"""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.models.spec import ModelSpec, NetworkBody

# channels, kernel, stride, padding, pooling window or 0, initial bias
ROWS = (
    (96, 11, 4, "valid", 3, 0.0),
    (256, 5, 1, "same", 3, 1.0),
    (384, 3, 1, "same", 0, 0.0),
    (384, 3, 1, "same", 0, 0.0),
    (256, 3, 1, "same", 3, 0.0),
)
DENSE = 4096  # units of each of two layers


def build_body(x: Any, net: NetConfig) -> Any:
    """float[N,H,W,C] to float[N,4096], the output of the second dense layer."""
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    for number, (channels, kernel, stride, padding, pool, bias) in enumerate(ROWS, 1):
        options: dict[str, Any] = {"stride": stride, "padding": padding, "pool": pool, "bias": bias}
        x = conv_relu(x, channels, kernel, net=net, name=f"conv{number}", **options)
    x = dense_relu(layers.Flatten()(x), DENSE, net, name="fc1", bias=1.0)
    # As in the paper, dropout follows the dense layers, not the convolutions.
    return dense_relu(dropout(x, net), DENSE, net, name="fc2", bias=1.0)


SPEC = ModelSpec(
    name="alexnet",
    input=InputSpec(227, 227, fit="stretch"),
    features=DENSE,
    parameters=58_322_314,
    macs=1131,
    paper="https://papers.nips.cc/paper/4824",
    min_size=67,
    body=NetworkBody(build_body),
    learning_rate=2e-4,
)
