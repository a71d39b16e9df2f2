"""Needs OpenVINO. Its intermediate representation: `model.xml` beside `model.bin`, in float32.

OpenVINO reads the ONNX file itself; its converter `ovc` would send usage data.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.export_source import Answer, Source, require
from sharpeye.errors import ModelError


def write(source: Source, file: Path) -> dict[str, Any]:
    """Write `image` uint8[N,height,width,channels] to `probs` (and `box`).

    Raises:
        MissingExtra: OpenVINO is not installed.
        ModelError: OpenVINO cannot read the network.
    """
    require("openvino", "export", "writing an OpenVINO model")
    import openvino

    try:
        model = openvino.Core().read_model(source.network)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"OpenVINO cannot read this network: {reason}") from None
    model.set_rt_info("\n".join(source.manifest.labels), ["model_info", "labels"])
    openvino.save_model(model, file, compress_to_fp16=False)
    size = source.manifest.input
    return {
        "input": f"image uint8[N,{size.height},{size.width},{size.channels}]",
        "batch": "any",
        "weights": file.with_suffix(".bin").name,
    }


def open_written(file: Path) -> Answer:
    """Open it with OpenVINO's runtime."""
    import openvino

    # Some processors would compute with 16 bits where nothing is said.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(file, "CPU", exact)

    def answer(pixels: Any) -> dict[str, Any]:
        found = model(pixels)
        return {port.get_any_name(): np.array(found[port]) for port in model.outputs}

    return answer
