"""Build a model as a classifier, or localizer, that is trained as a whole. Needs Keras."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, UsageError
from sharpeye.models.spec import ModelSpec, NetworkBody

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
    """A network with a new last layer for these classes, and random weights unless `load` is given.

    Args:
        size: of the network's input; only height, width and channels matter.
        scale, offset: one number per channel; the first layer sees pixels * scale + offset. Only
            for networks without ImageNet weights: the others have their own scaling.
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
        MissingExtra, ModelError: from `load`.
    """
    import keras

    from sharpeye.models.blocks import SquareRoot
    from sharpeye.models.box_heads import box_from_features, box_from_maps

    if min(size.height, size.width) < spec.min_size:
        raise UsageError(
            f"model.image_size of {spec.name} must be 0 or at least {spec.min_size}. "
            f"Received: {min(size.height, size.width)}"
        )
    if spec.body:
        image, features = _from_pixels(spec.body, size, net, scale=scale, offset=offset)
        maps: list[Any] = []
        sigmoid = spec.body.sigmoid_if_binary and classes == 2
        logits = _logits(features, classes, net, bias=spec.body.head_bias, sigmoid=sigmoid)
    elif spec.build:
        if size.channels != 3:
            raise UsageError(
                f"net.color must be rgb for {spec.name}: only networks without ImageNet weights "
                f"take grey pictures. Received: {size.channels} channel"
            )
        map_layers = spec.map_layers if boxes else ()
        image, features, *maps = _from_backbone(spec.build, map_layers, size, net=net, load=load)
        inputs = features
        if root_smoothing:
            inputs = SquareRoot(root_smoothing, dtype="float32", name="root")(features)
        logits = _logits(inputs, classes, net)
    else:
        raise ModelError(f"{spec.name} is listed without layers")
    outputs = {"features": features, "logits": logits}
    if boxes:
        outputs |= box_from_maps(maps, boxes) if maps else box_from_features(features, net)
    return keras.Model(image, outputs, name=spec.name)


def head_of(model: "keras.Model") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The last layer of a model from `build_classifier`: logits = features @ weights + bias.

    With `root_smoothing` the square roots of the features are multiplied.

    Returns:
        weights float32[D,classes] and bias float32[classes].
    """
    layer = model.get_layer(_HEAD)
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    weights = arrays[0]
    bias = arrays[1] if layer.use_bias else np.zeros(weights.shape[1], np.float32)
    if weights.shape[1] == 1:  # `BinaryLogits` follows.
        weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return weights, bias


def _from_pixels(
    body: NetworkBody,
    size: InputSpec,
    net: NetConfig,
    *,
    scale: tuple[float, ...],
    offset: tuple[float, ...],
) -> tuple[Any, Any]:
    """The image and the features of a network without ImageNet weights."""
    import keras
    from keras import layers

    image = keras.Input((size.height, size.width, size.channels), name="image")
    # 16 bits would round the pixels here.
    scaling = layers.Rescaling(list(scale), list(offset), dtype="float32", name="scaling")
    features = body.build(scaling(image), net)
    as_float32 = layers.Activation("linear", dtype="float32", name="features")
    return image, as_float32(features)


def _from_backbone(
    build: Callable[[int, int], "keras.Model"],
    map_layers: Sequence[str],
    size: InputSpec,
    *,
    net: NetConfig,
    load: Callable[["keras.Model"], object] | None,
) -> list[Any]:
    """Image, features and maps of a backbone, with the layers of `_trainable_layer`."""
    import keras

    model = build(size.height, size.width)
    if load:
        load(model)
    outputs = [model.output["features"], *(model.get_layer(name).output for name in map_layers)]
    source = keras.Model(model.input, outputs)
    backbone = keras.models.clone_model(
        source, clone_function=lambda layer: _trainable_layer(layer, net)
    )
    if load:
        backbone.set_weights(source.get_weights())
    return [backbone.input, *backbone.outputs]


def _trainable_layer(layer: Any, net: NetConfig) -> Any:
    """A layer like Keras', with faster batch norms and the initializers of `net`."""
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


def _logits(
    features: Any, classes: int, net: NetConfig, *, bias: bool = True, sigmoid: bool = False
) -> Any:
    from keras import layers

    from sharpeye.models.blocks import BinaryLogits, dropout, kernel_init

    dense = layers.Dense(
        1 if sigmoid else classes,
        use_bias=bias,
        kernel_initializer=kernel_init(net, "glorot_uniform"),
        dtype="float32",
        name=_HEAD,
    )
    logits = dense(dropout(features, net))
    return BinaryLogits(dtype="float32", name="logits")(logits) if sigmoid else logits
