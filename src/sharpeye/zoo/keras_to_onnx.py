"""Needs Keras and TensorFlow. Runs as a process of its own.

    python -m sharpeye.zoo.keras_to_onnx NAME WEIGHTS HEIGHT WIDTH OUT

It ends when the process that started it does.
Builds a zoo model, loads its weights, and writes its backbone as ONNX: uint8[N,H,W,C] 0..255 to
`features` float32[N,D]. The file is checked against Keras before this process ends.
"""

import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.errors import EnvironmentFault, MissingExtra, ModelError, SharpEyeError

if TYPE_CHECKING:
    import keras

# Differences beyond this, relative to the largest feature, mean that the conversion is wrong.
PARITY_LIMIT = 1e-3


def convert(name: str, weights: str, height: int, width: int, out: Path) -> None:
    """Write the backbone of a zoo model.

    Raises:
        MissingExtra: Keras, TensorFlow or tf2onnx are not installed.
        ModelError: the graph answers otherwise than Keras.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # tf2onnx starts from a TensorFlow function
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import tf2onnx  # noqa: F401  Keras' exporter needs it, and asks for it late
    except ImportError as error:
        raise MissingExtra(str(error.name), "train", f"preparing {name}") from None

    from sharpeye.zoo.registry import get_spec

    spec = get_spec(name)
    keras.utils.set_random_seed(0)
    model = spec.build(height, width)
    if weights == "imagenet":
        if spec.load_imagenet is None:
            raise ModelError(f"{name} has no pretrained weights; use --weights none")
        spec.load_imagenet(model)
    backbone = keras.Model(model.input, model.output["features"])
    shape = (None, height, width, spec.input.channels)
    signature = [keras.InputSpec(shape=shape, dtype="float32", name="image")]
    backbone.export(str(out), format="onnx", verbose=False, input_signature=signature)
    _take_uint8(out)
    _check_parity(backbone, out, shape[1:])


def _take_uint8(file: Path) -> None:
    """Rename input and output, and cast inside: a byte a channel crosses into the runtime."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(file)
    graph = model.graph
    old_in, old_out = graph.input[0], graph.output[0].name
    sizes = [d.dim_value for d in old_in.type.tensor_type.shape.dim][1:]
    width = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    for node in graph.node:
        node.input[:] = ["image_float" if n == old_in.name else n for n in node.input]
        node.input[:] = ["features" if n == old_out else n for n in node.input]
        node.output[:] = ["features" if n == old_out else n for n in node.output]
    cast = helper.make_node("Cast", ["image"], ["image_float"], "cast", to=TensorProto.FLOAT)
    graph.node.insert(0, cast)
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *sizes]))
    graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", width]))
    graph.doc_string, model.producer_name = "", "sharpeye"
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _check_parity(backbone: "keras.Model", file: Path, shape: tuple[Any, ...]) -> None:
    import numpy as np

    from sharpeye.inference import Graph

    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    expected = np.asarray(backbone(pixels.astype("float32"), training=False))
    graph = Graph(file)
    together = graph.run(pixels)["features"]
    alone = np.concatenate([graph.run(one[None])["features"] for one in pixels])
    largest = max(1e-6, float(np.abs(expected).max()))
    gap = float(max(np.abs(together - expected).max(), np.abs(alone - expected).max())) / largest
    if not gap <= PARITY_LIMIT:
        raise ModelError(
            f"the ONNX graph of {backbone.name} differs from Keras by {gap:.2g} of its largest "
            f"feature, more than {PARITY_LIMIT:g}"
        )


def _end_with_parent() -> None:
    """Do not outlive the process that wants the file: a killed one cannot stop its children."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    _end_with_parent()
    name, weights, height, width, out = sys.argv[1:]
    gc.disable()  # the exporter makes millions of objects, and this process is short
    try:
        convert(name, weights, int(height), int(width), Path(out))
    except SharpEyeError as error:
        print(error, file=sys.stderr)  # noqa: T201  the parent reads the last line
        return error.exit_code
    except OSError as error:
        fault = EnvironmentFault(f"cannot write {out}: {error.strerror or error}")
        print(fault, file=sys.stderr)  # noqa: T201
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
