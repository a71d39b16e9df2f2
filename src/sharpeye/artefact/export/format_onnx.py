"""Export `model.onnx` as it lies in the run, or without its preprocessing."""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.core.inference import Graph
from sharpeye.core.storage import write_bytes


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Copy the network."""
    write_bytes(file, source.network.read_bytes())
    return {"batch": "any"}


def open_exported(file: Path) -> PredictFunction:
    """Open it with ONNX Runtime."""
    graph = Graph(file)
    return lambda pixels: graph.run(np.ascontiguousarray(pixels))
