"""Export a frozen graph with the node names of TensorFlow-for-Poets. Needs TensorFlow to open.

It gives classes only: the programs that it is for know no boxes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.compare_outputs import PredictFunction
from sharpeye.artefact.cut_model import split_head
from sharpeye.artefact.export.export_source import ExportSource
from sharpeye.artefact.export.graph_def import GraphDefWriter

INPUT, OUTPUT = "input", "final_result"
MEAN = STD = 128.0


def write(source: ExportSource, file: Path) -> dict[str, Any]:
    """Write `input` float32[N,height,width,channels], (pixels - 128) / 128, to `final_result`.

    Raises:
        MissingExtra: onnx or TensorBoard is not installed.
        ModelError: the network has a node that no rule translates.
    """
    with tempfile.TemporaryDirectory(prefix="sharpeye-") as scratch:
        backbone_file = Path(scratch) / "backbone.onnx"
        head = split_head(source.network, backbone_file)
        writer = GraphDefWriter(
            backbone_file, input_name=INPUT, output_name=OUTPUT, mean=MEAN, std=STD
        )
    description = {
        "labels": list(source.manifest.labels),
        "input": source.manifest.input.to_dict(),
        "graph": {"input_layer": INPUT, "output_layer": OUTPUT, "mean": MEAN, "std": STD},
    }
    writer.write(head, file, description)
    height, width, channels = writer.input_shape
    details = {"input": f"{INPUT} float32[N,{height},{width},{channels}], (pixels - 128) / 128"}
    if source.manifest.task == "localize":
        details["left_out"] = "box"
    return details | {"output": OUTPUT, "batch": "any"}


def open_exported(file: Path) -> PredictFunction:
    """Run it in a session of TensorFlow 1, as label_image.py does."""
    import tensorflow.compat.v1 as tf

    definition = tf.GraphDef()
    definition.ParseFromString(file.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition)  # under `import/`

    def predict(pixels: Any) -> dict[str, Any]:
        scaled = (np.asarray(pixels, np.float32) - np.float32(MEAN)) / np.float32(STD)
        with tf.Session(graph=graph) as session:
            inputs = {f"import/{INPUT}:0": scaled}
            return {"probs": session.run(f"import/{OUTPUT}:0", inputs)}

    return predict
