"""LeNet-5: two convolutions with pooling, then three dense layers. 62,006 weights for ten classes.

Paper: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, figure 2; as it is built today: RGB input,
ReLU, max pooling, each channel connected to all channels before it, softmax.
"""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.models.spec import ModelSpec, NetworkBody

CONVOLUTIONS = (6, 16)  # channels; 5x5, each followed by pooling by 2
DENSE = (120, 84)  # units


def build_body(x: Any, net: NetConfig) -> Any:
    """float[N,H,W,C] to float[N,84]."""
    from keras import layers

    from sharpeye.models.blocks import conv_relu, dense_relu, dropout

    for number, channels in enumerate(CONVOLUTIONS, 1):
        x = conv_relu(x, channels, 5, net=net, name=f"conv{number}", pool=2)
    x = layers.Flatten()(x)
    for number, units in enumerate(DENSE, 1):
        x = dense_relu(dropout(x, net), units, net, name=f"fc{number}")
    return x


SPEC = ModelSpec(
    name="lenet5",
    input=InputSpec(32, 32, fit="stretch"),
    features=DENSE[-1],
    parameters=62_006,
    macs=0.65,
    paper="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
    min_size=16,
    body=NetworkBody(build_body),
    learning_rate=3e-3,
)
