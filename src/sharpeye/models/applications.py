"""What the networks of keras.applications have in common: how they are built and fed.

Keras' builders are called, so that layers have the names under which Keras' weights know them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.models.spec import Pretrained
from sharpeye.models.weights.keras_downloads import RemoteWeights, ensure_weights, find_weights

if TYPE_CHECKING:
    import keras

CLASSES = 1000


def build_application(
    builder: Callable[..., "keras.Model"], last: str, height: int, width: int, **options: Any
) -> "keras.Model":
    """A network of keras.applications as the zoo wants it, with random weights.

    Args:
        builder: such as `keras.applications.MobileNet`.
        last: the layer whose output, averaged over height and width, is the features.
        options: more arguments of the builder, such as `alpha`.

    Returns:
        float32[N,height,width,3] 0..255 RGB to `features` float32[N,D] and `logits`
        float32[N,1000].
    """
    import keras
    from keras import layers

    image = keras.Input((height, width, 3), name="image")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image)
    whole = builder(
        input_tensor=scaled,
        input_shape=(height, width, 3),
        weights=None,
        classes=CLASSES,
        classifier_activation=None,
        **options,
    )
    top = whole.get_layer(last).output
    features = layers.GlobalAveragePooling2D(name="features")(top)
    return keras.Model(image, {"features": features, "logits": whole.output}, name=whole.name)


def keras_pretrained(remote: RemoteWeights, license_name: str) -> Pretrained:
    """The ImageNet weights that Keras itself would take, in Keras' own cache."""

    def load(model: "keras.Model", file: Path) -> str:
        from sharpeye.models.weights.assign import load_weight_file

        return load_weight_file(model, file)

    return Pretrained(
        find=partial(find_weights, remote),
        ensure=partial(ensure_weights, remote),
        load=load,
        source="downloaded when first used",
        license=license_name,
    )
