"""Needs Keras and TensorFlow. Runs as a process of its own.

    python -m sharpeye.models.keras_to_onnx NAME imagenet|random|file FILE HEIGHTxWIDTH OUT [maps]

It ends when the process that started it does. Builds a zoo model, loads its weights, and writes
its backbone as ONNX: uint8[N,H,W,C] 0..255 to `features` float32[N,D] and, if asked for, `maps`.
The file is checked against Keras before this process ends. The last two lines on stdout say which
shapes the maps have, as JSON, and which weights were found.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.inference import Shape
from sharpeye.core.processes import run_child
from sharpeye.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import keras

# Differences beyond this, relative to the largest feature, mean that the conversion is wrong.
PARITY_LIMIT = 1e-3


def convert(
    name: str, kind: str, weights: Path, height: int, width: int, out: Path, maps: bool = False
) -> tuple[list[Shape], str]:
    """Write the backbone of a zoo model.

    Args:
        kind: whether `weights` are the model's own of ImageNet (`imagenet`) or any (`file`);
            `random` for random ones.
        maps: whether feature maps are wanted, see `Backbone`.

    Returns:
        shapes of the maps, and a line that says which weights were found.

    Raises:
        MissingExtra: Keras, TensorFlow or onnx are not installed.
        ModelError: the weights do not fit, or the graph answers otherwise than Keras.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import onnx
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", f"preparing {name}") from None

    from sharpeye.models.onnx_emitter import emit_onnx
    from sharpeye.models.registry import get_spec

    spec = get_spec(name)
    if spec.build is None:
        raise ModelError(f"{name} is no backbone")
    model = spec.build(height, width)
    report = fill(model, spec.imagenet.load if spec.imagenet else None, kind, weights)
    outputs, shapes = {"features": model.output["features"]}, []
    if maps:
        from sharpeye.models.box_heads import FlatMaps

        found = [model.get_layer(layer).output for layer in spec.maps]
        shapes = [tuple(one.shape[1:]) for one in found]
        outputs["maps"] = FlatMaps(name="maps")(found)
    backbone = keras.Model(model.input, outputs, name=model.name)
    onnx.save(emit_onnx(backbone, "image"), out)
    _check_parity(backbone, out, (height, width, spec.input.channels))
    return shapes, report


def fill(
    model: "keras.Model", load: Callable[[Any, Path], str] | None, kind: str, weights: Path
) -> str:
    """Give a built model the weights that `convert` is asked for; `load` takes ImageNet's.

    Returns:
        a line that says which were found.

    Raises:
        ModelError: they do not fit.
    """
    if kind == "random":
        randomize(model)
        return "random weights"
    if kind == "imagenet" and load:
        return load(model, weights)
    from sharpeye.models.weights.assign import load_weight_file

    return load_weight_file(model, weights)


def randomize(model: "keras.Model") -> None:
    """Draw all kernels so that activations keep their size from layer to layer (He et al. 2015).

    Keras' own initial values let them fade away in networks without trained batch norms.
    """
    random = np.random.default_rng(0)
    for layer in model.layers:
        values = layer.get_weights()
        if not values or type(layer).__name__ == "BatchNormalization":
            continue
        shape = values[0].shape
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        inputs = int(np.prod(shape[:2] if depthwise else shape[:-1]))
        values[0] = random.normal(0, np.sqrt(2 / inputs), shape).astype(np.float32)
        layer.set_weights(values)


def _check_parity(backbone: "keras.Model", file: Path, shape: tuple[Any, ...]) -> None:
    from sharpeye.core.inference import Graph

    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    answers = backbone(pixels.astype("float32"), training=False)
    graph = Graph(file)
    together, singly = graph.run(pixels), [graph.run(one[None]) for one in pixels]
    for name, values in answers.items():
        expected = np.asarray(values)
        alone = np.concatenate([each[name] for each in singly])
        gap = max(np.abs(together[name] - expected).max(), np.abs(alone - expected).max())
        gap = float(gap) / max(1e-6, float(np.abs(expected).max()))
        if not gap <= PARITY_LIMIT:
            raise ModelError(
                f"the ONNX graph of {backbone.name} differs from Keras by {gap:.2g} of the largest "
                f"of its {name}, more than {PARITY_LIMIT:g}"
            )


def main() -> int:
    name, kind, weights, size, out, *maps = sys.argv[1:]
    height, _, width = size.partition("x")

    def work() -> None:
        shapes, report = convert(
            name, kind, Path(weights), int(height), int(width), Path(out), bool(maps)
        )
        print(json.dumps(shapes), report, sep="\n")  # noqa: T201  the parent reads it

    return run_child(work, out)


if __name__ == "__main__":
    sys.exit(main())
