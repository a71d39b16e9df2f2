"""Needs TensorFlow to open. A frozen graph with the names and the labels of TensorFlow-for-Poets.

It answers with classes only: the programs that it is for know no boxes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.graph_def import GraphDefWriter, read_about
from sharpeye.artefact.export.source import Answer, Source
from sharpeye.artefact.graph import FEATURES, HEAD_BIAS, HEAD_INPUT, HEAD_WEIGHTS
from sharpeye.errors import MissingExtra, ModelError
from sharpeye.learn.heads.head import Head

INPUT, OUTPUT = "input", "final_result"
MEAN = STD = 128.0


def write(source: Source, file: Path) -> dict[str, Any]:
    """Write `input` float32[N,height,width,channels], (pixels - 128) / 128, to `final_result`.

    Raises:
        MissingExtra: onnx or TensorBoard is not installed.
        ModelError: the network has an operation that is not known there.
    """
    with tempfile.TemporaryDirectory(prefix="sharpeye-") as scratch:
        backbone, head = _apart(source, Path(scratch) / "backbone.onnx")
        writer = GraphDefWriter(backbone, input_name=INPUT, output_name=OUTPUT, mean=MEAN, std=STD)
    graph = {"input_layer": INPUT, "output_layer": OUTPUT, "mean": MEAN, "std": STD}
    about = {
        "labels": list(source.manifest.labels),
        "input": source.manifest.input.to_dict(),
        "graph": graph,
    }
    writer.write(head, file, about)
    height, width, channels = writer.input_shape
    facts = {"input": f"{INPUT} float32[N,{height},{width},{channels}], (pixels - 128) / 128"}
    if source.manifest.task == "localize":
        facts["left_out"] = "box"
    return facts | {"output": OUTPUT, "batch": "any"}


def open_written(file: Path) -> Answer:
    """Run it in a session of TensorFlow 1, as label_image.py does."""
    import tensorflow.compat.v1 as tf

    definition, about = tf.GraphDef(), read_about(file) or {}
    definition.ParseFromString(file.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition)  # under `import/`
    mean, std = (np.float32(about.get("graph", {}).get(key, MEAN)) for key in ("mean", "std"))

    def answer(pixels: Any) -> dict[str, Any]:
        scaled = (np.asarray(pixels, np.float32) - mean) / std
        with tf.Session(graph=graph) as session:
            fed = {f"import/{INPUT}:0": scaled}
            return {"probs": session.run(f"import/{OUTPUT}:0", fed)}

    return answer


def _apart(source: Source, backbone: Path) -> tuple[Path, Head]:
    """Write the network up to its features; the linear head behind it."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise MissingExtra("onnx", "train", "writing a TensorFlow graph") from None
    model = onnx.load(source.network)
    graph = model.graph
    arrays = {each.name: each for each in graph.initializer}
    if not {HEAD_WEIGHTS, HEAD_BIAS} <= set(arrays):
        raise ModelError(f"the model has no {HEAD_WEIGHTS} and {HEAD_BIAS}; train it again")
    weights, bias = (numpy_helper.to_array(arrays[name]) for name in (HEAD_WEIGHTS, HEAD_BIAS))
    root = any(node.op_type == "Sub" and HEAD_INPUT in node.output for node in graph.node)
    needed, kept = {FEATURES}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    kind = helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["N", len(weights)])
    graph.output.append(kind)
    onnx.save(model, backbone)
    temperature = source.manifest.calibration.get("temperature", 1.0)
    return backbone, Head(weights, bias, temperature, l2=0.0, square_root=root)
