"""Build a model as a trainable classifier or localizer. Needs Keras."""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

LAST_LAYER = "classifier"


def build_classifier(
    spec: ModelSpec,
    size: InputSpec,
    classes: int,
    *,
    net: NetConfig,
    scale: tuple[float, ...],
    offset: tuple[float, ...],
    load: Callable[["keras.Model"], object] | None = None,
    root_smoothing: float = 0.0,
    boxes: int = 0,
) -> "keras.Model":
    """A network with a new last layer for the classes, and random weights unless `load` is given.

    Args:
        size: only its height, width and channels are used; with ImageNet weights 3 channels.
        scale, offset: one number per channel; the first layer sees pixels * scale + offset. With
            `load` the network keeps the scaling that its weights were trained with.
        load: sets the weights of the complete ImageNet model, as `spec.build` makes it, before
            its last layer is replaced; from `models.backbone.weight_loader`.
        root_smoothing: above 0, the last layer takes the square roots of the features, smoothed
            by this much; the output `features` does not change. Only with ImageNet weights.
        boxes: channels of a box head; 0 for no boxes.

    Returns:
        `image` float32[N,height,width,channels] 0..255 to `features` float32[N,D], `logits`
        float32[N,classes] and, with boxes, `box` float32[N,4] and perhaps `proposals`; see
        `box_heads.py`.

    Raises:
        UsageError: the network is too deep for images of this size.
    """
    import keras
    from keras import layers

    from sharpeye.models.blocks import (
        BinaryLogits,
        MirroredMean,
        SquareRoot,
        dropout,
        kernel_init,
    )
    from sharpeye.models.box_heads import box_from_features, box_from_maps

    spec.require_size(min(size.height, size.width))
    constants = {"scale": _shortest(scale), "offset": _shortest(offset)}
    if spec.body:
        image = keras.Input((size.height, size.width, size.channels), name="image")
        # 16 bits would round the pixels here.
        scaling = layers.Rescaling(**constants, dtype="float32", name="scaling")
        x = spec.body.build(scaling(_with_mirrored(image, net)), net)
        x = MirroredMean(dtype="float32", name="mirrored_mean")(x) if net.flip_tta else x
        features = layers.Activation("linear", dtype="float32", name="features")(x)
        maps: list[Any] = []
    else:
        image, features, *maps = _from_backbone(
            spec, size, net, load=load, scaling=None if load else constants, with_maps=boxes > 0
        )
    x = features
    if root_smoothing:
        x = SquareRoot(root_smoothing, dtype="float32", name="root")(x)
    sigmoid = bool(spec.body and spec.body.sigmoid_if_binary and classes == 2)
    logits = layers.Dense(
        1 if sigmoid else classes,
        use_bias=spec.body.head_bias if spec.body else True,
        kernel_initializer=kernel_init(net, "glorot_uniform"),
        dtype="float32",
        name=LAST_LAYER,
    )(dropout(x, net))
    if sigmoid:
        logits = BinaryLogits(dtype="float32", name="logits")(logits)
    outputs = {"features": features, "logits": logits}
    if boxes:
        outputs |= box_from_maps(maps, boxes) if maps else box_from_features(features, net)
    # TensorFlow allows few characters, and the name of own code has others.
    name = re.sub(r"[^A-Za-z0-9.-]", "_", spec.name).lstrip("._-")
    return keras.Model(image, outputs, name=name or "network")


def _with_mirrored(image: Any, net: NetConfig) -> Any:
    from sharpeye.models.blocks import AppendMirrored

    return AppendMirrored(dtype="float32", name="mirrored")(image) if net.flip_tta else image


def _shortest(constants: tuple[float, ...]) -> float | list[float]:
    """One number if all channels have the same: a constant a channel takes five times as long."""
    return constants[0] if len(set(constants)) == 1 else list(constants)


def head_of(model: "keras.Model") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The last layer of a model from `build_classifier`: logits = features @ weights + bias.

    With `root_smoothing` the square roots of the features take the place of `features`. Weights are
    float32[D,classes], the bias is float32[classes].
    """
    weights, *biases = model.get_layer(LAST_LAYER).get_weights()
    bias = biases[0] if biases else np.zeros(weights.shape[1], np.float32)
    if weights.shape[1] == 1:  # `BinaryLogits` follows.
        weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return weights, bias


def _from_backbone(
    spec: ModelSpec,
    size: InputSpec,
    net: NetConfig,
    *,
    load: Callable[["keras.Model"], object] | None,
    scaling: dict[str, Any] | None,
    with_maps: bool,
) -> list[Any]:
    """Image, features and maps of a backbone, with the layers of `_trainable_layer`."""
    import keras

    if spec.build is None:
        raise ModelError(f"{spec.name} is listed without layers")
    model = spec.build(size.height, size.width)
    if load:
        load(model)
    map_layers = spec.map_layers if with_maps else ()
    outputs = [model.output["features"], *(model.get_layer(name).output for name in map_layers)]
    source = keras.Model(model.input, outputs)
    image = keras.Input((size.height, size.width, size.channels), name="image")
    backbone = keras.models.clone_model(
        source,
        input_tensors=image,
        clone_function=partial(_trainable_layer, net=net, image=model.input, scaling=scaling),
    )
    if load:
        backbone.set_weights(source.get_weights())
    return [backbone.input, *backbone.outputs]


def _trainable_layer(
    layer: Any, net: NetConfig, *, image: Any, scaling: dict[str, Any] | None
) -> Any:
    """A copy of a Keras layer, with faster batch norms and the initializers of `net`.

    Args:
        image: the input of the layer's model.
        scaling: replaces the settings of the layer that scales the image; None keeps them.
    """
    import keras

    from sharpeye.models.blocks import BatchNormalization, kernel_init

    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNormalization.from_config(config | {"momentum": net.batch_norm_momentum})
    if isinstance(layer, keras.layers.Rescaling) or layer.name == "features":
        config["dtype"] = "float32"
    if layer.input is image:
        config |= scaling or {}
    for key in {"kernel_initializer", "depthwise_initializer"} & set(config):
        config[key] = kernel_init(net, config[key])
    return type(layer).from_config(config)
