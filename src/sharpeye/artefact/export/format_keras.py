"""Needs Keras. `model.keras`: plain Keras layers, which load without SharpEye."""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.export_source import Answer, Source
from sharpeye.artefact.export.onnx_to_keras import keras_model


def write(source: Source, file: Path) -> dict[str, Any]:
    """Write `image` 0..255 [N,height,width,channels] to `{"probs", "box"}`.

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a step that Keras has no layer for.
    """
    keras_model(source.network, source.name).save(file)
    size = source.manifest.input
    return {
        "input": f"image uint8 or float32[N,{size.height},{size.width},{size.channels}] 0..255",
        "batch": "any",
    }


def open_written(file: Path) -> Answer:
    """Load it as any Keras program does."""
    import keras

    model = keras.models.load_model(file)

    def answer(pixels: Any) -> dict[str, Any]:
        found = model(np.asarray(pixels, np.float32), training=False)
        return {name: np.asarray(values) for name, values in found.items()}

    return answer
