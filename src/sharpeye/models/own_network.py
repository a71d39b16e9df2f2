"""Networks of the user's own code."""

from typing import Any

from sharpeye.core.config import NetConfig
from sharpeye.core.own_code import code_error, load_function, short_name
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.models.spec import ModelSpec, NetworkBody

_SIDE, _LEARNING_RATE = 64, 2e-3


def own_network(name: str) -> tuple[ModelSpec, str]:
    """The model of a function `build(image) -> features`, and the SHA-256 of its code.

    The function gets the scaled image float32[N,H,W,C] as a tensor of Keras and returns features
    float32[N,D]; SharpEye adds the last layer. Its attributes `image_size` (pixels) and
    `learning_rate` (the peak, AdamW) replace the defaults, 64 and 0.002.

    Raises:
        UsageError: the function cannot be loaded, or was not named by the user.
    """
    function, digest = load_function(name, "--model")

    def build(image: Any, _: NetConfig) -> Any:
        try:
            features = function(image)
        except Exception as error:
            raise code_error(name, error) from None
        shape = getattr(features, "shape", None)
        if shape is None or len(shape) != 2 or shape[1] is None:
            raise UsageError(
                f"{name} must return features [N,D] of the image, such as of a Flatten or a "
                f"GlobalAveragePooling2D layer. Received: {shape or type(features).__name__}"
            )
        return features

    side = _number(function, name, "image_size", default=_SIDE)
    spec = ModelSpec(
        name=short_name(name),
        input=InputSpec(side, side, fit="stretch"),
        features=0,
        parameters=0,
        macs=0,
        paper="",
        min_size=1,
        body=NetworkBody(build),
        learning_rate=_number(function, name, "learning_rate", default=_LEARNING_RATE),
    )
    return spec, digest


def _number(function: Any, name: str, attribute: str, *, default: Any) -> Any:
    """An attribute of the function, which must be a number above 0 of the default's type."""
    value, kind = getattr(function, attribute, default), type(default)
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or value <= 0:
        allowed = "a whole number of pixels" if kind is int else "a number"
        raise UsageError(f"{name}: its {attribute} must be {allowed} above 0. Received: {value!r}")
    return kind(value)
