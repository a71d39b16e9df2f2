"""MobileNetV2: inverted residuals with linear bottlenecks, in six widths.

Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
https://arxiv.org/abs/1801.04381, table 2. The name `mobilenet_v2` means `mobilenet_v2_1.0_224`.
Weights are Keras', ported from TensorFlow's; their accuracy is that of
https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/README.md.
"""

from functools import partial
from typing import TYPE_CHECKING

from sharpeye.core.types import InputSpec
from sharpeye.models.applications import build_application, keras_weights
from sharpeye.models.spec import ModelSpec
from sharpeye.models.weights.keras_downloads import mobilenet_v2_weights

if TYPE_CHECKING:
    import keras

DEFAULT = "mobilenet_v2_1.0_224"

# width: channels of the last layer, parameters
WIDTHS = {
    "1.4": (1792, 6_108_776),
    "1.3": (1664, 5_386_792),
    "1.0": (1280, 3_504_872),
    "0.75": (1280, 2_636_424),
    "0.50": (1280, 1_968_680),
    "0.35": (1280, 1_677_128),
}

# width, size, millions of multiply-accumulates, ImageNet top-1 in percent
TABLE = (
    ("1.4", 224, 582, 75.0),
    ("1.3", 224, 509, 74.4),
    ("1.0", 224, 301, 71.8),
    ("1.0", 192, 221, 70.7),
    ("1.0", 160, 154, 68.8),
    ("1.0", 128, 99, 65.3),
    ("1.0", 96, 56, 60.3),
    ("0.75", 224, 209, 69.8),
    ("0.75", 192, 154, 68.7),
    ("0.75", 160, 107, 66.4),
    ("0.75", 128, 69, 63.2),
    ("0.75", 96, 39, 58.8),
    ("0.50", 224, 97, 65.4),
    ("0.50", 192, 72, 63.9),
    ("0.50", 160, 50, 61.0),
    ("0.50", 128, 33, 57.7),
    ("0.50", 96, 19, 51.2),
    ("0.35", 224, 59, 60.3),
    ("0.35", 192, 44, 58.2),
    ("0.35", 160, 31, 55.7),
    ("0.35", 128, 20, 50.8),
    ("0.35", 96, 12, 45.5),
)


def build(alpha: float, height: int, width: int) -> "keras.Model":
    """See `build_application`; `alpha` scales the number of channels."""
    import keras

    return build_application(
        keras.applications.MobileNetV2, "out_relu", height, width=width, alpha=alpha
    )


def _spec(width: str, size: int, macs: int, *, top1: float) -> ModelSpec:
    channels, parameters = WIDTHS[width]
    alpha = float(width)
    return ModelSpec(
        name=f"mobilenet_v2_{width}_{size}",
        input=InputSpec(size, size),
        build=partial(build, alpha),
        imagenet=keras_weights(mobilenet_v2_weights(alpha, size), "Apache-2.0"),
        features=channels,
        parameters=parameters,
        macs=macs,
        imagenet_top1=top1,
        paper="https://arxiv.org/abs/1801.04381",
        map_layers=("block_12_add", "block_16_project_BN"),
    )


SPECS = tuple(_spec(width, size, macs, top1=top1) for width, size, macs, top1 in TABLE)
