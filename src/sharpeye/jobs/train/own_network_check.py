"""Try a user's own network before any image is read: whether it can be built, and shipped."""

from sharpeye.core.config import Config
from sharpeye.core.own_code import is_own_code
from sharpeye.jobs.train.network_on_pixels import input_spec
from sharpeye.models.registry import get_spec


def check_own_network(config: Config) -> None:
    """Build the network of a resolved configuration once, and write it as ONNX into memory.

    Raises:
        UsageError: the code cannot be run, or returns something else than features.
        ModelError: a layer of it cannot be expressed in ONNX.
    """
    if not is_own_code(config.model.name):
        return
    from sharpeye.learn.nets.backend import load_backend

    load_backend()
    import keras

    from sharpeye.models.classifier import build_classifier
    from sharpeye.models.onnx_emitter import emit_onnx

    spec, size = get_spec(config.model.name), input_spec(config, 8)
    ones, zeros = (1.0,) * size.channels, (0.0,) * size.channels
    model = build_classifier(spec, size, 2, net=config.net, scale=ones, offset=zeros)
    features = {"features": model.output["features"]}
    emit_onnx(keras.Model(model.input, features, name="own"), "image")
