"""Try a user's own network before any image is read: whether it can be built, and shipped."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.config import Config
from sharpeye.core.formatting import name_list
from sharpeye.core.own_code import code_error, is_own_code
from sharpeye.errors import UsageError
from sharpeye.jobs.train.network_on_pixels import input_spec, write_onnx
from sharpeye.models.registry import get_spec

if TYPE_CHECKING:
    import keras


def check_own_network(config: Config) -> None:
    """Build the network of a resolved configuration once, and write it in both forms of a run.

    Raises:
        UsageError: the code cannot be run, returns something else than features, or has
            regularizers, which the loss has not.
        ModelError: a layer of it cannot be expressed in ONNX, or computes something else there.
    """
    if not is_own_code(config.model.name):
        return
    from sharpeye.learn.nets.backend import load_backend

    load_backend()

    from sharpeye.models.classifier import build_classifier
    from sharpeye.models.keras_to_onnx import check_parity
    from sharpeye.models.plain_network import to_plain_network

    spec, size = get_spec(config.model.name), input_spec(config, 8)
    scale, offset = (1 / 128,) * size.channels, (-1.0,) * size.channels
    try:
        model = build_classifier(spec, size, 2, net=config.net, scale=scale, offset=offset)
        to_plain_network(model, 1.0)
    except ValueError as error:  # Such as two layers of one name.
        raise code_error(config.model.name, error) from None
    _require_no_regularizer(model, config.model.name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "own.onnx"
        network = write_onnx(model, ("features",), file, input_name="image")
        check_parity(network, file, (size.height, size.width, size.channels))


def _require_no_regularizer(model: "keras.Model", name: str) -> None:
    layers: list[Any] = model._flatten_layers(include_self=False)
    regularized = [
        layer.name
        for layer in layers
        if getattr(layer, "activity_regularizer", None)
        or any(getattr(weight, "regularizer", None) for weight in layer.weights)
    ]
    if regularized:
        raise UsageError(
            f"{name} must have no regularizers: only the loss of the classes is minimized; leave "
            "them out, train.weight_decay takes their place. Received: regularizers of "
            f"{name_list(regularized)}"
        )
