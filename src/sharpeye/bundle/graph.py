"""Puts a backbone and a head together into `model.onnx`, without Keras and TensorFlow."""

import json
from pathlib import Path

import numpy as np

from sharpeye.bundle.manifest import METADATA_KEY, Manifest
from sharpeye.errors import MissingExtra
from sharpeye.inference import Backbone
from sharpeye.storage import atomic_path
from sharpeye.training.head import Head


def write_model(
    backbone: Backbone, head: Head, manifest: Manifest, file: Path, box_head: Path | None = None
) -> None:
    """Write uint8[N,H,W,C] to `probs` float32[N,classes], with the manifest in its metadata.

    A localizer also has `box` float32[N,4], shares 0..1 of its input.

    Args:
        box_head: ONNX from the backbone's `maps` to `box`; None if the backbone says it itself.

    Raises:
        MissingExtra: onnx is not installed.
        EnvironmentFault: the file cannot be written.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtra("onnx", "train", "writing a model") from None
    model = onnx.load(backbone.graph_file)
    graph = model.graph
    graph.name = "sharpeye"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(head.weights), "head_weights"),
            numpy_helper.from_array(head.bias, "head_bias"),
        ]
    )
    inputs = "features"
    if head.root:
        inputs = "head_input"
        graph.node.append(helper.make_node("Sqrt", ["features"], [inputs], "head_sqrt"))
    gemm = helper.make_node("Gemm", [inputs, "head_weights", "head_bias"], ["logits"], "head_gemm")
    graph.node.append(gemm)
    graph.node.append(helper.make_node("Softmax", ["logits"], ["probs"], "head_softmax", axis=1))
    del graph.output[:]
    if box_head is not None:
        found = onnx.load(box_head).graph
        graph.node.extend(found.node)
        graph.initializer.extend(found.initializer)
    outputs = {"probs": head.classes} | ({"box": 4} if manifest.task == "localize" else {})
    for name, width in outputs.items():
        kind = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        graph.output.append(kind)
    helper.set_model_props(
        model,
        {
            METADATA_KEY: manifest.to_json(),
            "labels": json.dumps(list(manifest.labels), ensure_ascii=False),
        },
    )
    onnx.checker.check_model(model)
    with atomic_path(file) as temporary:
        onnx.save(model, temporary)
