"""Inception v3: parallel branches of factorised convolutions, joined by channels.

Paper: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
https://arxiv.org/abs/1512.00567, table 1. Weights are Keras'; their accuracy is that of
https://keras.io/api/applications/.
"""

from typing import TYPE_CHECKING

from sharpeye.core.types import InputSpec
from sharpeye.models.applications import build_application, keras_weights
from sharpeye.models.spec import ModelSpec
from sharpeye.models.weights.keras_downloads import inception_v3_weights

if TYPE_CHECKING:
    import keras


def build(height: int, width: int) -> "keras.Model":
    """See `build_application`."""
    import keras

    return build_application(keras.applications.InceptionV3, "mixed10", height, width=width)


SPEC = ModelSpec(
    name="inception_v3",
    input=InputSpec(299, 299),
    build=build,
    imagenet=keras_weights(inception_v3_weights(), "Apache-2.0"),
    features=2048,
    parameters=23_817_352,
    macs=5713,
    imagenet_top1=77.9,
    paper="https://arxiv.org/abs/1512.00567",
    min_size=75,
    map_layers=("mixed7", "mixed10"),
)
