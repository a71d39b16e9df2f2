"""The networks of keras.applications as backbones: Inception v3, MobileNet and MobileNetV2.

Keras' own builders make the layers, which therefore have the names in Keras' weights files. The
weights are Keras', those of MobileNets ported from TensorFlow's.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.types import InputSpec
from sharpeye.models.spec import ModelSpec, PretrainedWeights
from sharpeye.models.weights.keras_downloads import ensure_weights, find_weights, remote_weights

if TYPE_CHECKING:
    import keras

_KERNELS = "weights_tf_dim_ordering_tf_kernels"  # part of the names of Keras' files

# Tables of the sizes give, by image size in pixels, millions of multiply-accumulates and ImageNet
# top-1 in percent.

# width: parameters, the width in names of Keras' files. Howard et al., "MobileNets: Efficient
# Convolutional Neural Networks for Mobile Vision Applications", table 1; accuracy from
# https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet_v1.md.
_V1_WIDTHS = {
    "1.0": (4_231_976, "1_0"),
    "0.75": (2_585_560, "7_5"),
    "0.50": (1_331_592, "5_0"),
    "0.25": (470_072, "2_5"),
}
_V1_SIZES = {
    "1.0": {224: (569, 70.9), 192: (418, 70.0), 160: (291, 68.0), 128: (186, 65.2)},
    "0.75": {224: (325, 68.4), 192: (239, 67.2), 160: (166, 65.3), 128: (107, 62.1)},
    "0.50": {224: (149, 63.3), 192: (110, 61.7), 160: (77, 59.1), 128: (49, 56.3)},
    "0.25": {224: (41, 49.8), 192: (30, 47.7), 160: (21, 45.5), 128: (14, 41.5)},
}

# width: parameters, channels of the last layer. Sandler et al., "MobileNetV2: Inverted Residuals
# and Linear Bottlenecks", table 2; accuracy from
# https://github.com/tensorflow/models/blob/master/research/slim/nets/mobilenet/README.md.
_V2_WIDTHS = {
    "1.4": (6_108_776, 1792),
    "1.3": (5_386_792, 1664),
    "1.0": (3_504_872, 1280),
    "0.75": (2_636_424, 1280),
    "0.50": (1_968_680, 1280),
    "0.35": (1_677_128, 1280),
}
_V2_SIZES = {
    "1.4": {224: (582, 75.0)},
    "1.3": {224: (509, 74.4)},
    "1.0": {224: (301, 71.8), 192: (221, 70.7), 160: (154, 68.8), 128: (99, 65.3), 96: (56, 60.3)},
    "0.75": {224: (209, 69.8), 192: (154, 68.7), 160: (107, 66.4), 128: (69, 63.2), 96: (39, 58.8)},
    "0.50": {224: (97, 65.4), 192: (72, 63.9), 160: (50, 61.0), 128: (33, 57.7), 96: (19, 51.2)},
    "0.35": {224: (59, 60.3), 192: (44, 58.2), 160: (31, 55.7), 128: (20, 50.8), 96: (12, 45.5)},
}


def _build(
    height: int, width: int, *, builder: str, feature_layer: str, **options: Any
) -> "keras.Model":
    """See `ModelSpec.build`; the features are the mean of the feature layer over the image."""
    import keras
    from keras import layers

    image = keras.Input((height, width, 3), name="image")
    network = getattr(keras.applications, builder)(
        input_tensor=layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image),
        input_shape=(height, width, 3),
        weights=None,
        classes=1000,
        classifier_activation=None,
        **options,
    )
    top = network.get_layer(feature_layer).output
    features = layers.GlobalAveragePooling2D(name="features")(top)
    outputs = {"features": features, "logits": network.output}
    return keras.Model(image, outputs, name=network.name)


def _load(model: "keras.Model", file: Path) -> str:
    from sharpeye.models.weights.assign import load_weight_file

    return load_weight_file(model, file)


def _keras_weights(folder: str, file: str) -> PretrainedWeights:
    """The ImageNet weights that Keras itself would use, in Keras' own cache."""
    remote = remote_weights(folder, file)
    return PretrainedWeights(
        find=partial(find_weights, remote),
        ensure=partial(ensure_weights, remote),
        load=_load,
        source="downloaded when first used",
        license="Apache-2.0",
        remote=remote,
    )


# Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", table 1; accuracy
# from https://keras.io/api/applications/.
INCEPTION_V3 = ModelSpec(
    name="inception_v3",
    input=InputSpec(299, 299),
    build=partial(_build, builder="InceptionV3", feature_layer="mixed10"),
    imagenet=_keras_weights("inception_v3", f"inception_v3_{_KERNELS}_notop.h5"),
    features=2048,
    parameters=23_817_352,
    macs=5713,
    imagenet_top1=77.9,
    paper="https://arxiv.org/abs/1512.00567",
    min_size=75,
    map_layers=("mixed7", "mixed10"),
)

# Names are those of TensorFlow-for-Poets: `mobilenet_WIDTH_SIZE`.
MOBILENETS_V1 = tuple(
    ModelSpec(
        name=f"mobilenet_{width}_{size}",
        input=InputSpec(size, size),
        build=partial(
            _build, builder="MobileNet", feature_layer="conv_pw_13_relu", alpha=float(width)
        ),
        imagenet=_keras_weights("mobilenet", f"mobilenet_{file_width}_{size}_tf_no_top.h5"),
        features=int(1024 * float(width)),
        parameters=parameters,
        macs=macs,
        imagenet_top1=top1,
        paper="https://arxiv.org/abs/1704.04861",
        map_layers=("conv_pw_11_relu", "conv_pw_13_relu"),
    )
    for width, (parameters, file_width) in _V1_WIDTHS.items()
    for size, (macs, top1) in _V1_SIZES[width].items()
)

MOBILENETS_V2 = tuple(
    ModelSpec(
        name=f"mobilenet_v2_{width}_{size}",
        input=InputSpec(size, size),
        build=partial(_build, builder="MobileNetV2", feature_layer="out_relu", alpha=float(width)),
        imagenet=_keras_weights(
            "mobilenet_v2", f"mobilenet_v2_{_KERNELS}_{float(width)}_{size}_no_top.h5"
        ),
        features=channels,
        parameters=parameters,
        macs=macs,
        imagenet_top1=top1,
        paper="https://arxiv.org/abs/1801.04381",
        map_layers=("block_12_add", "block_16_project_BN"),
    )
    for width, (parameters, channels) in _V2_WIDTHS.items()
    for size, (macs, top1) in _V2_SIZES[width].items()
)
