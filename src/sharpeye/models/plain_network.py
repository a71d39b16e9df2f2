"""A trained network of Keras' own layers alone, which opens without SharpEye. Needs Keras."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_OWN_PACKAGE = __name__.partition(".")[0]


def to_plain_network(model: "keras.Model", temperature: float) -> "keras.Model":
    """A copy of a network that answers as a finished run does, made of Keras' own layers.

    Layers without weights that SharpEye defines become operations of `keras.ops`; its batch norm
    becomes Keras', and its bias after a convolution becomes that of the convolution: adding a
    number a channel and pooling by maxima can be exchanged. All other layers keep their names.

    Args:
        model: from `build_classifier`.
        temperature: divides the logits.

    Returns:
        `image` float32[N,H,W,C] 0..255 to probabilities float32[N,classes], named `probs`; with
        boxes to a dictionary of `probs` and `box` float32[N,4].
    """
    import keras
    from keras import layers

    clone = keras.models.clone_model(
        model,
        clone_function=lambda layer: _plain_layer(layer, model),
        call_function=_call_plain,
    )
    for layer in clone.layers:
        if layer.weights:
            layer.set_weights(_plain_weights(layer, model))
    logits = layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(
        clone.output["logits"]
    )
    outputs = {"probs": layers.Softmax(dtype="float32", name="probs")(logits)}
    if "box" in clone.output:
        box = layers.Identity(dtype="float32", name="box_edges")(clone.output["box"])
        outputs["box"] = box
    result = outputs if "box" in outputs else outputs["probs"]
    return keras.Model(clone.input, result, name=model.name)


def _plain_layer(layer: Any, model: "keras.Model") -> Any:
    """A layer of Keras with the settings of a layer; own layers without weights stay."""
    import keras

    from sharpeye.models.blocks import BatchNormalization, Bias

    config = layer.get_config()
    if isinstance(layer, BatchNormalization):
        return keras.layers.BatchNormalization.from_config(config)
    if isinstance(layer, Bias):
        return keras.layers.Identity(name=layer.name)
    if _bias_of(layer.name, model):
        config["use_bias"] = True
    # Own initializers would need SharpEye; the weights are set anyway.
    config |= {key: "zeros" for key, value in vars(layer).items() if _is_own(value)}
    return type(layer).from_config(config)


def _call_plain(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a layer; of an own layer the operations remain, and it is no part of the model."""
    if _is_own(layer):
        kwargs.pop("training", None)
        return layer.call(*args, **kwargs)
    return layer(*args, **kwargs)


def _is_own(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == _OWN_PACKAGE


def _plain_weights(layer: Any, model: "keras.Model") -> list[Any]:
    weights: list[Any] = model.get_layer(layer.name).get_weights()
    bias = _bias_of(layer.name, model)
    return [*weights, *(bias.get_weights() if bias else [])]


def _bias_of(name: str, model: "keras.Model") -> Any | None:
    """The bias that follows a convolution, see `conv_relu`."""
    from sharpeye.models.blocks import Bias

    biases = [layer for layer in model.layers if isinstance(layer, Bias)]
    return next((bias for bias in biases if bias.name == f"{name}_bias"), None)
