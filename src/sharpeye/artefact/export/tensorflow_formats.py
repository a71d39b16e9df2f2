"""Export formats that need TensorFlow: SavedModel, Keras, LiteRT and frozen graph.

All take images of the model's own size: TensorFlow's resizing is not Pillow's, and its tools
expect a fixed size. A network with an operation that a format lacks raises `ModelError`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.cut_model import split_head
from sharpeye.artefact.export.export_formats import ExportSource
from sharpeye.artefact.export.graph_def import GraphDefWriter
from sharpeye.artefact.export.litert_metadata import with_metadata
from sharpeye.artefact.export.onnx_to_keras import keras_model
from sharpeye.artefact.parity import PredictFunction
from sharpeye.core.keras_import import import_keras
from sharpeye.core.storage import library_errors_at, scratch_folder, write_bytes
from sharpeye.errors import ModelError, one_line

SIGNATURE = "serving_default"
INPUT, OUTPUT = "input", "final_result"
MEAN = STD = 128.0


def write_saved_model(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Write `serving_default`: `image` uint8[N,height,width,channels] to `probs` (and `box`)."""
    import tensorflow as tf

    model = keras_model(source.network, source.name)
    image_spec = tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")

    def serve(image: Any) -> Any:
        return model(tf.cast(image, tf.float32), training=False)

    # Keras' own ExportArchive writes each weight twice (3.15): 27 MB, not 13.
    module = tf.Module(name=source.name)
    module.weights = [variable.value for variable in model.weights]
    module.serve = tf.function(serve, input_signature=[image_spec], autograph=False)
    with library_errors_at(folder, source.network.stat().st_size):
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    return {"input": source.describe_input(), "batch": "any", "signature": SIGNATURE}


def open_saved_model(folder: Path) -> PredictFunction:
    """Load it as TensorFlow does, without Keras."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures[SIGNATURE]

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = serve(image=tf.constant(pixels))
        # `loaded` must live as long as its functions.
        return {name: outputs[name].numpy() for name in outputs} if loaded else {}

    return predict


def write_keras(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write plain Keras layers: `image` 0..255 [N,height,width,channels] to `probs` (and `box`)."""
    model = keras_model(source.network, source.name)
    with library_errors_at(file, source.network.stat().st_size):
        model.save(file)
    return {"input": f"{source.describe_input('uint8 or float32')} 0..255", "batch": "any"}


def open_keras(file: Path) -> PredictFunction:
    """Load it with `keras.models.load_model`."""
    import_keras("tensorflow")
    import keras

    model = keras.models.load_model(file)

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = model(np.asarray(pixels, np.float32), training=False)
        return {name: np.asarray(values) for name, values in outputs.items()}

    return predict


def write_litert(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write a SavedModel as a `.tflite` file of built-in operations, with the labels inside."""
    import tensorflow as tf

    with scratch_folder() as scratch:
        folder = scratch / "model"
        details = write_saved_model(source, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(folder), signature_keys=[SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            data: bytes = converter.convert()
        except Exception as error:  # the converter's own, whose class is not public
            reason = one_line(error)
            raise ModelError(f"LiteRT has no operation for this network: {reason}") from None
    write_bytes(file, with_metadata(data, source))
    return details | {"labels": "labels.txt inside, as TensorFlow Lite Metadata"}


def open_litert(file: Path) -> PredictFunction:
    """Open it with LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    input_index = interpreter.get_input_details()[0]["index"]

    def predict(pixels: Any) -> dict[str, Any]:
        interpreter.resize_tensor_input(input_index, pixels.shape)
        run = interpreter.get_signature_runner(SIGNATURE)
        return {name: values.copy() for name, values in run(image=pixels).items()}

    return predict


def write_frozen_graph(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write a graph with the node names of TensorFlow-for-Poets, whose programs ignore boxes.

    `input` float32[N,height,width,channels], (pixels - 128) / 128, to `final_result`.
    """
    with scratch_folder() as scratch:
        backbone_file = scratch / "backbone.onnx"
        head = split_head(source.network, backbone_file)
        writer = GraphDefWriter(
            backbone_file, input_name=INPUT, output_name=OUTPUT, mean=MEAN, std=STD
        )
    description = {
        "labels": list(source.manifest.labels),
        "input": source.manifest.input.to_dict(),
        "graph": {"input_layer": INPUT, "output_layer": OUTPUT, "mean": MEAN, "std": STD},
    }
    writer.write(head, file, description)
    height, width, channels = writer.input_shape
    details = {"input": f"{INPUT} float32[N,{height},{width},{channels}], (pixels - 128) / 128"}
    if source.manifest.task == "localize":
        details["left_out"] = "box"
    return details | {"output": OUTPUT, "batch": "any"}


def open_frozen_graph(file: Path) -> PredictFunction:
    """Run it in a session of TensorFlow 1, as label_image.py does."""
    import tensorflow.compat.v1 as tf

    definition = tf.GraphDef()
    definition.ParseFromString(file.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition)  # under `import/`

    def predict(pixels: Any) -> dict[str, Any]:
        scaled = (np.asarray(pixels, np.float32) - np.float32(MEAN)) / np.float32(STD)
        with tf.Session(graph=graph) as session:
            inputs = {f"import/{INPUT}:0": scaled}
            return {"probs": session.run(f"import/{OUTPUT}:0", inputs)}

    return predict
