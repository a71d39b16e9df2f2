"""Needs TensorFlow. A SavedModel: what TensorFlow Serving and TensorFlow's own tools take.

It takes images of the model's own size: TensorFlow's resizing is not Pillow's, and a size that
is fixed is what its tools expect.
"""

from pathlib import Path
from typing import Any

from sharpeye.artefact.export.export_source import Answer, Source
from sharpeye.artefact.export.onnx_to_keras import keras_model

SIGNATURE = "serving_default"


def write(source: Source, folder: Path) -> dict[str, Any]:
    """Write `serving_default`: `image` uint8[N,height,width,channels] to `probs` (and `box`).

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a step that Keras has no layer for.
    """
    import tensorflow as tf

    model = keras_model(source.network, source.name)
    taken = tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")

    def serve(image: Any) -> Any:
        return model(tf.cast(image, tf.float32), training=False)

    # Keras' own ExportArchive writes each weight twice (3.15): 27 MB, not 13.
    module = tf.Module(name=source.name)
    module.weights = [variable.value for variable in model.weights]
    module.serve = tf.function(serve, input_signature=[taken])
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    return {
        "input": f"image uint8[N,{','.join(map(str, model.input.shape[1:]))}]",
        "batch": "any",
        "signature": SIGNATURE,
    }


def open_written(folder: Path) -> Answer:
    """Load it as TensorFlow does, without Keras."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures[SIGNATURE]

    def answer(pixels: Any) -> dict[str, Any]:
        found = serve(image=tf.constant(pixels))
        # `loaded` must live as long as its functions.
        return {name: found[name].numpy() for name in found} if loaded else {}

    return answer
