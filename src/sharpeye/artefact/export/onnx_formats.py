"""Export the ONNX network as it is: as `model.onnx`, in a `.sharpeye` bundle, and for OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.archive import LABELS_FILE, write_archive
from sharpeye.artefact.export.export_formats import ExportSource
from sharpeye.artefact.manifest import MODEL_FILE, labels_text
from sharpeye.artefact.parity import PredictFunction
from sharpeye.artefact.session import open_model
from sharpeye.core.inference import Graph
from sharpeye.core.storage import library_errors_at, write_bytes
from sharpeye.errors import ModelError, one_line


def write_onnx(source: ExportSource, file: Path) -> dict[str, Any]:
    """Copy the network."""
    write_bytes(file, source.network.read_bytes())
    return {"batch": "any"}


def open_onnx(file: Path) -> PredictFunction:
    """Open it with ONNX Runtime."""
    graph = Graph(file)
    return lambda pixels: graph.run(np.ascontiguousarray(pixels))


def write_bundle(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write the model, its labels, and the further members of the source."""
    labels = labels_text(source.manifest.labels).encode()
    members = {MODEL_FILE: source.network.read_bytes(), LABELS_FILE: labels, **source.members}
    write_archive(file, members, source.record)
    return {"batch": "any"}


def open_bundle(file: Path) -> PredictFunction:
    """Open it as SharpEye does."""
    return open_model(file).graph.run


def write_openvino(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write `model.xml` beside `model.bin`, in float32: `image` uint8 to `probs` (and `box`).

    OpenVINO reads the ONNX file itself; its converter `ovc` would send usage data.

    Raises:
        ModelError: OpenVINO cannot read the network.
    """
    import openvino

    try:
        model = openvino.Core().read_model(source.network)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read this network: {one_line(error)}") from None
    model.set_rt_info("\n".join(source.manifest.labels), ["model_info", "labels"])
    with library_errors_at(file, source.network.stat().st_size):
        openvino.save_model(model, file, compress_to_fp16=False)
    weights = file.with_suffix(".bin").name
    return {"input": source.describe_input(), "batch": "any", "weights": weights}


def open_openvino(file: Path) -> PredictFunction:
    """Open it with OpenVINO's runtime, to compute in float32."""
    return _open_openvino(file, {"INFERENCE_PRECISION_HINT": "f32"})[0]


def open_openvino_by_default(file: Path) -> tuple[PredictFunction, str]:
    """Open it as OpenVINO does by default, and the type that it then computes in on this processor:
    `f32`, or `bf16` or `f16` where the processor has instructions for it.
    """
    return _open_openvino(file, {})


def _open_openvino(file: Path, settings: dict[str, str]) -> tuple[PredictFunction, str]:
    import openvino

    model = openvino.Core().compile_model(file, "CPU", settings)

    def predict(pixels: Any) -> dict[str, Any]:
        outputs = model(pixels)
        return {port.get_any_name(): np.array(outputs[port]) for port in model.outputs}

    return predict, str(model.get_property("INFERENCE_PRECISION_HINT").to_string())
