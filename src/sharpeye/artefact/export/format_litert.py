"""Export a `.tflite` file of built-in operations. Needs TensorFlow to write, LiteRT to open."""

import tempfile
from pathlib import Path
from typing import Any

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export import format_saved_model
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.artefact.export.litert_metadata import with_metadata
from sharpeye.core.storage import write_bytes
from sharpeye.errors import ModelError, one_line


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write `image` uint8[N,height,width,channels] to `probs` (and `box`), with the labels inside.

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a node that no built-in operation computes.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="sharpeye-") as scratch:
        folder = Path(scratch) / "model"
        details = format_saved_model.write(source, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(folder), signature_keys=[format_saved_model.SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            data: bytes = converter.convert()
        except Exception as error:  # the converter's own, whose class is not public
            raise ModelError(
                f"LiteRT has no operation for this network: {one_line(error)}"
            ) from None
    write_bytes(file, with_metadata(data, source))
    return details | {"labels": "labels.txt inside, as TensorFlow Lite Metadata"}


def open_exported(file: Path) -> PredictFunction:
    """Open it with LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    input_index = interpreter.get_input_details()[0]["index"]

    def predict(pixels: Any) -> dict[str, Any]:
        interpreter.resize_tensor_input(input_index, pixels.shape)
        run = interpreter.get_signature_runner(format_saved_model.SIGNATURE)
        return {name: values.copy() for name, values in run(image=pixels).items()}

    return predict
