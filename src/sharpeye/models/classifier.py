"""Needs Keras. A network of the zoo as a classifier that can be learned as a whole."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, UsageError
from sharpeye.models.spec import ModelSpec, Network

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]

_HEAD = "classifier"


def build_classifier(
    spec: ModelSpec,
    size: InputSpec,
    classes: int,
    net: NetConfig,
    scale: tuple[float, ...],
    offset: tuple[float, ...],
    load: Callable[["keras.Model"], object] | None = None,
    *,
    root: float = 0.0,
    boxes: int = 0,
) -> "keras.Model":
    """A network with random weights and a last layer for these classes.

    Args:
        size: what the network takes; only height, width and channels count.
        scale, offset: one number a channel; the first layer sees pixels * scale + offset. Only for
            networks without ImageNet weights: the others have a scaling of their own.
        load: fills the whole ImageNet model, as `spec.build` makes it, before its last layer is
            replaced; `models.backbone.weight_loader` gives it.
        root: above 0, the last layer takes the roots of the features, smoothed by so much; these
            stay as they are. Only for networks that have ImageNet weights.
        boxes: channels of a head that finds the object's box; 0: none is found.

    Returns:
        `image` float32[N,height,width,channels] 0..255 to `features` float32[N,D], `logits`
        float32[N,classes] and, with boxes, `box` float32[N,4] and maybe `proposals`; see
        `box_heads.py`.

    Raises:
        UsageError: the network is too deep for images of this size, or takes RGB only.
        MissingExtra, ModelError: from `load`.
    """
    import keras

    from sharpeye.models.blocks import SquareRoot
    from sharpeye.models.box_heads import box_on_features, box_on_maps

    if min(size.height, size.width) < spec.least_size:
        raise UsageError(
            f"model.image_size of {spec.name} must be 0 or at least {spec.least_size}. "
            f"Received: {min(size.height, size.width)}"
        )
    if spec.net:
        image, features = _from_pixels(spec.net, size, net, scale, offset)
        maps: list[Any] = []
        one_unit = spec.net.one_unit and classes == 2
        logits = _logits(features, classes, net, bias=spec.net.head_bias, one_unit=one_unit)
    elif spec.build:
        if size.channels != 3:
            raise UsageError(
                f"net.color must be rgb for {spec.name}: only networks without ImageNet weights "
                f"take grey pictures. Received: {size.channels} channel"
            )
        wanted = spec.maps if boxes else ()
        image, features, *maps = _from_backbone(spec.build, wanted, size, net, load)
        seen = SquareRoot(root, dtype="float32", name="root")(features) if root else features
        logits = _logits(seen, classes, net)
    else:
        raise ModelError(f"{spec.name} is listed without layers")
    outputs = {"features": features, "logits": logits}
    if boxes:
        outputs |= box_on_maps(maps, boxes) if maps else box_on_features(features, net)
    return keras.Model(image, outputs, name=spec.name)


def head_of(model: "keras.Model") -> tuple[Floats, Floats]:
    """The last layer of what `build_classifier` made: logits = features @ weights + bias.

    With `root` it is the square roots of the features that are multiplied.

    Returns:
        weights float32[D,classes] and bias float32[classes].
    """
    layer = model.get_layer(_HEAD)
    arrays = [np.asarray(array, np.float32) for array in layer.get_weights()]
    weights = arrays[0]
    bias = arrays[1] if layer.use_bias else np.zeros(weights.shape[1], np.float32)
    if weights.shape[1] == 1:  # `BinaryLogits` follows
        weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return weights, bias


def _from_pixels(
    network: Network,
    size: InputSpec,
    net: NetConfig,
    scale: tuple[float, ...],
    offset: tuple[float, ...],
) -> tuple[Any, Any]:
    import keras
    from keras import layers

    image = keras.Input((size.height, size.width, size.channels), name="image")
    # With 16 bits, pixels would lose their last ones here.
    scaling = layers.Rescaling(list(scale), list(offset), dtype="float32", name="scaling")
    features = network.body(scaling(image), net)
    exact = layers.Activation("linear", dtype="float32", name="features")
    return image, exact(features)


def _from_backbone(
    build: Callable[[int, int], "keras.Model"],
    maps: Sequence[str],
    size: InputSpec,
    net: NetConfig,
    load: Callable[["keras.Model"], object] | None,
) -> list[Any]:
    """Image, features and maps of the backbone with layers that learn well in place of Keras' own.

    See `_trainable_layer`.
    """
    import keras

    whole = build(size.height, size.width)
    if load:
        load(whole)
    taken = [whole.output["features"], *(whole.get_layer(name).output for name in maps)]
    source = keras.Model(whole.input, taken)
    backbone = keras.models.clone_model(
        source, clone_function=lambda layer: _trainable_layer(layer, net)
    )
    if load:
        backbone.set_weights(source.get_weights())
    return [backbone.input, *backbone.outputs]


def _trainable_layer(layer: Any, net: NetConfig) -> Any:
    import keras

    from sharpeye.models.blocks import LEARNED_BN_MOMENTUM, BatchNormalization, kernel_init

    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNormalization.from_config(config | {"momentum": LEARNED_BN_MOMENTUM})
    if isinstance(layer, keras.layers.Rescaling) or layer.name == "features":
        config["dtype"] = "float32"
    for key in {"kernel_initializer", "depthwise_initializer"} & set(config):
        config[key] = kernel_init(net, config[key])
    return type(layer).from_config(config)


def _logits(
    features: Any, classes: int, net: NetConfig, *, bias: bool = True, one_unit: bool = False
) -> Any:
    from keras import layers

    from sharpeye.models.blocks import BinaryLogits, dropout, kernel_init

    last = layers.Dense(
        1 if one_unit else classes,
        use_bias=bias,
        kernel_initializer=kernel_init(net, "glorot_uniform"),
        dtype="float32",
        name=_HEAD,
    )
    logits = last(dropout(features, net))
    return BinaryLogits(dtype="float32", name="logits")(logits) if one_unit else logits
