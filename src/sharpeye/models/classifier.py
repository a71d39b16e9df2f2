"""Build a model as a trainable classifier or localizer. Needs Keras."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, UsageError
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

_HEAD = "classifier"


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
        size: only its height, width and channels are used.
        scale, offset: one number per channel; the first layer sees pixels * scale + offset. Only
            for networks without ImageNet weights, as the others have their own scaling.
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
        UsageError: the network is too deep for images of this size, or takes RGB only.
    """
    import keras
    from keras import layers

    from sharpeye.models.blocks import BinaryLogits, SquareRoot, dropout, kernel_init
    from sharpeye.models.box_heads import box_from_features, box_from_maps

    spec.require_size(min(size.height, size.width))
    if spec.body:
        image = keras.Input((size.height, size.width, size.channels), name="image")
        # 16 bits would round the pixels here.
        scaling = layers.Rescaling(list(scale), list(offset), dtype="float32", name="scaling")
        x = spec.body.build(scaling(image), net)
        features = layers.Activation("linear", dtype="float32", name="features")(x)
        maps: list[Any] = []
    else:
        if size.channels != 3:
            raise UsageError(
                f"net.color must be rgb for {spec.name}: only networks without ImageNet weights "
                f"take grey images. Received: {size.channels} channel"
            )
        image, features, *maps = _from_backbone(spec, size, net, load=load, with_maps=boxes > 0)
    x = features
    if root_smoothing:
        x = SquareRoot(root_smoothing, dtype="float32", name="root")(x)
    sigmoid = bool(spec.body and spec.body.sigmoid_if_binary and classes == 2)
    logits = layers.Dense(
        1 if sigmoid else classes,
        use_bias=spec.body.head_bias if spec.body else True,
        kernel_initializer=kernel_init(net, "glorot_uniform"),
        dtype="float32",
        name=_HEAD,
    )(dropout(x, net))
    if sigmoid:
        logits = BinaryLogits(dtype="float32", name="logits")(logits)
    outputs = {"features": features, "logits": logits}
    if boxes:
        outputs |= box_from_maps(maps, boxes) if maps else box_from_features(features, net)
    return keras.Model(image, outputs, name=spec.name)


def head_of(model: "keras.Model") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The last layer of a model from `build_classifier`: logits = features @ weights + bias.

    With `root_smoothing` the square roots of the features take the place of `features`. Weights are
    float32[D,classes], the bias is float32[classes].
    """
    weights, *biases = model.get_layer(_HEAD).get_weights()
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
    backbone = keras.models.clone_model(source, clone_function=partial(_trainable_layer, net=net))
    if load:
        backbone.set_weights(source.get_weights())
    return [backbone.input, *backbone.outputs]


def _trainable_layer(layer: Any, net: NetConfig) -> Any:
    """A copy of a Keras layer, with faster batch norms and the initializers of `net`."""
    import keras

    from sharpeye.models.blocks import TRAINED_BN_MOMENTUM, BatchNormalization, kernel_init

    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNormalization.from_config(config | {"momentum": TRAINED_BN_MOMENTUM})
    if isinstance(layer, keras.layers.Rescaling) or layer.name == "features":
        config["dtype"] = "float32"
    for key in {"kernel_initializer", "depthwise_initializer"} & set(config):
        config[key] = kernel_init(net, config[key])
    return type(layer).from_config(config)
