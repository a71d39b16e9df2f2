"""Needs TensorFlow to write, ai-edge-litert to open. A `.tflite` file of built-in operations."""

import tempfile
from pathlib import Path
from typing import Any

from sharpeye.artefact.export import format_saved_model
from sharpeye.artefact.export.export_source import Answer, Source
from sharpeye.artefact.export.litert_metadata import with_metadata
from sharpeye.core.storage import write_bytes
from sharpeye.errors import ModelError


def write(source: Source, file: Path) -> dict[str, Any]:
    """Write `image` uint8[N,height,width,channels] to `probs` (and `box`), with the labels inside.

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a step that is no built-in operation.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="sharpeye-") as scratch:
        facts = format_saved_model.write(source, Path(scratch) / "model")
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(Path(scratch) / "model"), signature_keys=[format_saved_model.SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            data: bytes = converter.convert()
        except Exception as error:  # the converter's own, whose class is not public
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"LiteRT has no operation for this network: {reason}") from None
    write_bytes(file, with_metadata(data, source))
    return facts | {"labels": "labels.txt inside, as TensorFlow Lite Metadata"}


def open_written(file: Path) -> Answer:
    """Open it with LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    place = interpreter.get_input_details()[0]["index"]

    def answer(pixels: Any) -> dict[str, Any]:
        interpreter.resize_tensor_input(place, pixels.shape)
        found = interpreter.get_signature_runner(format_saved_model.SIGNATURE)(image=pixels)
        return {name: values.copy() for name, values in found.items()}

    return answer
