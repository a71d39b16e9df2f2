"""Build the networks of keras.applications in the form that all backbones have.

Keras' own builders make the layers, so that these have the names in Keras' weights files.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.models.spec import PretrainedWeights
from sharpeye.models.weights.keras_downloads import RemoteWeights, ensure_weights, find_weights

if TYPE_CHECKING:
    import keras

CLASSES = 1000


def build_application(
    builder: Callable[..., "keras.Model"],
    feature_layer: str,
    height: int,
    *,
    width: int,
    **options: Any,
) -> "keras.Model":
    """A network of keras.applications with random weights, as `ModelSpec.build` returns it.

    Args:
        builder: such as `keras.applications.MobileNet`.
        feature_layer: its output, averaged over height and width, is the features.
        options: more arguments of the builder, such as `alpha`.

    Returns:
        float32[N,height,width,3] 0..255 RGB to `features` float32[N,D] and `logits`
        float32[N,1000].
    """
    import keras
    from keras import layers

    image = keras.Input((height, width, 3), name="image")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image)
    network = builder(
        input_tensor=scaled,
        input_shape=(height, width, 3),
        weights=None,
        classes=CLASSES,
        classifier_activation=None,
        **options,
    )
    top = network.get_layer(feature_layer).output
    features = layers.GlobalAveragePooling2D(name="features")(top)
    outputs = {"features": features, "logits": network.output}
    return keras.Model(image, outputs, name=network.name)


def keras_weights(remote: RemoteWeights, license_name: str) -> PretrainedWeights:
    """The ImageNet weights that Keras itself would use, in Keras' own cache."""

    def load(model: "keras.Model", file: Path) -> str:
        from sharpeye.models.weights.assign import load_weight_file

        return load_weight_file(model, file)

    return PretrainedWeights(
        find=partial(find_weights, remote),
        ensure=partial(ensure_weights, remote),
        load=load,
        source="downloaded when first used",
        license=license_name,
    )
