"""Export a SavedModel, for TensorFlow Serving and TensorFlow's own tools. Needs TensorFlow.

It takes images of the model's own size: TensorFlow's resizing is not Pillow's, and its tools
expect a fixed size.
"""

from pathlib import Path
from typing import Any

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.artefact.export.onnx_to_keras import keras_model

SIGNATURE = "serving_default"


def write(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Write `serving_default`: `image` uint8[N,height,width,channels] to `probs` (and `box`).

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a node that no Keras layer computes.
    """
    import tensorflow as tf

    model = keras_model(source.network, source.name)
    image_spec = tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")

    def serve(image: Any) -> Any:
        return model(tf.cast(image, tf.float32), training=False)

    # Keras' own ExportArchive writes each weight twice (3.15): 27 MB, not 13.
    module = tf.Module(name=source.name)
    module.weights = [variable.value for variable in model.weights]
    module.serve = tf.function(serve, input_signature=[image_spec])
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    return {
        "input": f"image uint8[N,{','.join(map(str, model.input.shape[1:]))}]",
        "batch": "any",
        "signature": SIGNATURE,
    }


def open_exported(folder: Path) -> PredictFunction:
    """Load it as TensorFlow does, without Keras."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures[SIGNATURE]

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = serve(image=tf.constant(pixels))
        # `loaded` must live as long as its functions.
        return {name: outputs[name].numpy() for name in outputs} if loaded else {}

    return predict
