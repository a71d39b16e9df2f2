"""Export OpenVINO's representation: `model.xml` beside `model.bin`, in float32. Needs OpenVINO.

OpenVINO reads the ONNX file itself; its converter `ovc` would send usage data.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export.export_source import (
    ExportSource,
    describe_input,
    require_package,
)
from sharpeye.errors import ModelError, one_line


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write `image` uint8[N,height,width,channels] to `probs` (and `box`).

    Raises:
        MissingExtra: OpenVINO is not installed.
        ModelError: OpenVINO cannot read the network.
    """
    require_package("openvino", "export", "writing an OpenVINO model")
    import openvino

    try:
        model = openvino.Core().read_model(source.network)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read this network: {one_line(error)}") from None
    model.set_rt_info("\n".join(source.manifest.labels), ["model_info", "labels"])
    openvino.save_model(model, file, compress_to_fp16=False)
    return {
        "input": describe_input(source.manifest),
        "batch": "any",
        "weights": file.with_suffix(".bin").name,
    }


def open_exported(file: Path) -> PredictFunction:
    """Open it with OpenVINO's runtime."""
    import openvino

    # By default, some processors would compute with 16 bits.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(file, "CPU", exact)

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = model(pixels)
        return {port.get_any_name(): np.array(outputs[port]) for port in model.outputs}

    return predict
