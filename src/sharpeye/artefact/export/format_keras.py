"""Export `model.keras`: plain Keras layers, which load without SharpEye. Needs Keras."""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export.export_source import (
    ExportSource,
    describe_input,
)
from sharpeye.artefact.export.onnx_to_keras import keras_model


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write `image` 0..255 [N,height,width,channels] to `{"probs", "box"}`.

    Raises:
        MissingExtra: Keras is not installed.
        ModelError: the network has a node that no Keras layer computes.
    """
    keras_model(source.network, source.name).save(file)
    description = f"{describe_input(source.manifest, 'uint8 or float32')} 0..255"
    return {"input": description, "batch": "any"}


def open_exported(file: Path) -> PredictFunction:
    """Load it as any Keras program does."""
    import keras

    model = keras.models.load_model(file)

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = model(np.asarray(pixels, np.float32), training=False)
        return {name: np.asarray(values) for name, values in outputs.items()}

    return predict
