"""MobileNet: depthwise separable convolutions, in four widths and for four image sizes.

Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", https://arxiv.org/abs/1704.04861, table 1. Names are those of TensorFlow-for-Poets:
`mobilenet_WIDTH_SIZE`. Weights are Keras', ported from TensorFlow's; their accuracy is that of
https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet_v1.md.
"""

from functools import partial
from typing import TYPE_CHECKING

from sharpeye.core.types import InputSpec
from sharpeye.models.applications import build_application, keras_weights
from sharpeye.models.spec import ModelSpec
from sharpeye.models.weights.keras_downloads import mobilenet_v1_weights

if TYPE_CHECKING:
    import keras

CHANNELS = 1024  # of the last layer at width 1

PARAMETERS = {"1.0": 4_231_976, "0.75": 2_585_560, "0.50": 1_331_592, "0.25": 470_072}

# width, size, millions of multiply-accumulates, ImageNet top-1 in percent
TABLE = (
    ("1.0", 224, 569, 70.9),
    ("1.0", 192, 418, 70.0),
    ("1.0", 160, 291, 68.0),
    ("1.0", 128, 186, 65.2),
    ("0.75", 224, 325, 68.4),
    ("0.75", 192, 239, 67.2),
    ("0.75", 160, 166, 65.3),
    ("0.75", 128, 107, 62.1),
    ("0.50", 224, 149, 63.3),
    ("0.50", 192, 110, 61.7),
    ("0.50", 160, 77, 59.1),
    ("0.50", 128, 49, 56.3),
    ("0.25", 224, 41, 49.8),
    ("0.25", 192, 30, 47.7),
    ("0.25", 160, 21, 45.5),
    ("0.25", 128, 14, 41.5),
)


def build(alpha: float, height: int, width: int) -> "keras.Model":
    """See `build_application`; `alpha` scales the number of channels."""
    import keras

    builder = keras.applications.MobileNet
    return build_application(builder, "conv_pw_13_relu", height, width=width, alpha=alpha)


def _spec(width: str, size: int, macs: int, *, top1: float) -> ModelSpec:
    alpha = float(width)
    return ModelSpec(
        name=f"mobilenet_{width}_{size}",
        input=InputSpec(size, size),
        build=partial(build, alpha),
        imagenet=keras_weights(mobilenet_v1_weights(alpha, size), "Apache-2.0"),
        features=int(CHANNELS * alpha),
        parameters=PARAMETERS[width],
        macs=macs,
        imagenet_top1=top1,
        paper="https://arxiv.org/abs/1704.04861",
        map_layers=("conv_pw_11_relu", "conv_pw_13_relu"),
    )


SPECS = tuple(_spec(width, size, macs, top1=top1) for width, size, macs, top1 in TABLE)
