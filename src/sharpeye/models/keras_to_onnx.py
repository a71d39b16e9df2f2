"""Convert a model with Keras' weights to an ONNX backbone, in a separate process.

    python -m sharpeye.models.keras_to_onnx NAME imagenet|random|file FILE HEIGHTxWIDTH OUT [maps]

Needs Keras and TensorFlow. The process ends when its parent does. It builds the model, loads its
weights from FILE, its ImageNet file or any other `file`, and writes its backbone as ONNX:
uint8[N,H,W,C] 0..255 to `features` float32[N,D] and, with `maps`, to `maps`. It compares the
backbone with Keras before it ends. The last two lines on stdout are the shapes of the maps, as
JSON, and a report on the weights.
"""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.keras_import import import_keras
from sharpeye.core.processes import run_child
from sharpeye.errors import MissingExtra, ModelError
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

# A larger difference, relative to the largest feature, means that the conversion is wrong.
PARITY_LIMIT = 1e-3


def convert(name: str, kind: str, weights: str, *, size: str, out: str, maps: bool) -> str:
    """Write the backbone of a model; arguments and output are those of the command line.

    Raises:
        MissingExtra: Keras, TensorFlow or onnx are not installed.
        ModelError: the weights do not fit, or the graph computes other values than Keras.
    """
    try:
        import_keras("tensorflow")
        import keras
        import onnx
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", f"preparing {name}") from None

    from sharpeye.models.onnx_emitter import emit_onnx
    from sharpeye.models.registry import get_spec

    spec = get_spec(name)
    if spec.build is None:
        raise ModelError(f"{name} is no backbone")
    height, width = map(int, size.split("x"))
    model = spec.build(height, width)
    report = set_weights(model, spec, kind, weights=Path(weights))
    outputs, shapes = {"features": model.output["features"]}, []
    if maps:
        from sharpeye.models.box_heads import FlatMaps

        tensors = [model.get_layer(layer).output for layer in spec.map_layers]
        shapes = [tensor.shape[1:] for tensor in tensors]
        outputs["maps"] = FlatMaps(name="maps")(tensors)
    backbone = keras.Model(model.input, outputs, name=model.name)
    onnx.save(emit_onnx(backbone, "image"), out)
    check_parity(backbone, Path(out), (height, width, spec.input.channels))
    return f"{json.dumps(shapes)}\n{report}"


def set_weights(model: "keras.Model", spec: ModelSpec, kind: str, *, weights: Path) -> str:
    """Set the weights of a built model as in `convert`; returns a line on which of them matched.

    Raises:
        ModelError: the weights do not fit.
    """
    if kind == "random":
        randomize(model)
        return "random weights"
    if kind == "imagenet" and spec.imagenet:
        return spec.imagenet.load(model, weights)
    from sharpeye.models.weights.assign import load_weight_file

    return load_weight_file(model, weights)


def randomize(model: "keras.Model") -> None:
    """Draw kernels that keep the scale of activations from layer to layer (He et al. 2015).

    With Keras' initial values activations vanish in networks without trained batch norms.
    """
    random = np.random.default_rng(0)
    for layer in model.layers:
        values = layer.get_weights()
        kind = type(layer).__name__
        if not values or kind == "BatchNormalization":
            continue
        shape = values[0].shape
        inputs = math.prod(shape[:2] if kind == "DepthwiseConv2D" else shape[:-1])
        values[0] = random.normal(0, np.sqrt(2 / inputs), shape).astype(np.float32)
        layer.set_weights(values)


def check_parity(backbone: "keras.Model", file: Path, shape: tuple[Any, ...]) -> None:
    """Raise ModelError unless ONNX Runtime and Keras give the same outputs for random images.

    Args:
        backbone: `image` [N,*shape] to a dictionary of outputs.
        file: the same network as ONNX.
    """
    from sharpeye.core.inference import Graph

    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    graph = Graph(file)
    batch, single = graph.run(pixels), [graph.run(image[None]) for image in pixels]
    for name, values in backbone(pixels.astype("float32"), training=False).items():
        expected = np.asarray(values)
        pairs = (batch[name], np.concatenate([outputs[name] for outputs in single]))
        difference = float(np.max([np.abs(output - expected).max() for output in pairs]))
        difference /= max(1e-6, float(np.abs(expected).max()))
        if not difference <= PARITY_LIMIT:
            raise ModelError(
                f"the ONNX graph of {backbone.name} differs from Keras by {difference:.2g} of the "
                f"largest of its {name}, more than {PARITY_LIMIT:g}"
            )


def main() -> int:
    name, kind, weights, size, out, *maps = sys.argv[1:]

    def work() -> None:
        # The parent reads it.
        print(convert(name, kind, weights, size=size, out=out, maps=bool(maps)))  # noqa: T201

    return run_child(work, out)


if __name__ == "__main__":
    sys.exit(main())
