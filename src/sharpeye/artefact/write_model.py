"""Join preprocessing, a backbone and a head into `model.onnx`, without Keras.

An `Addition` can rely on these values; N is the number of images:

    image       uint8[N,H,W,3], the input: RGB images of any size, of one size in a batch
    fitted      uint8[N,height,width,channels], the images as `fit_image` fits them
    features    float32[N,D], pooled
    head_input  float32[N,D], the features or their square root, the input of the linear head
    logits      float32[N,C], calibrated
    probs       float32[N,C]
    maps        float32[N,M], a localizer's flat feature maps
    box         float32[N,4], a localizer's, shares 0..1 of `image`

and on the constants `head_weights` float32[D,C] and `head_bias` float32[C].
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.onnx_model import GraphBuilder, load_onnx, rename_value, save_onnx, set_nodes
from sharpeye.artefact.preprocess_nodes import FITTED, IMAGE, OPSET, PreprocessNodes
from sharpeye.core.inference import Backbone
from sharpeye.errors import ModelError
from sharpeye.learn.heads.head import SMOOTHING, SQUARE_ROOT_AT_ZERO, Head

if TYPE_CHECKING:
    import onnx

FEATURES, HEAD_INPUT, PROBS, BOX = "features", "head_input", "probs", "box"
HEAD_WEIGHTS, HEAD_BIAS = "head_weights", "head_bias"
BOX_IN_INPUT = "box_in_input"  # the box in shares of `fitted`

# Adds nodes and outputs to a complete graph.
Addition = Callable[["onnx.GraphProto"], None]


def write_model(
    backbone: Backbone,
    head: Head,
    manifest: Manifest,
    *,
    file: Path,
    box_head: Path | None = None,
    additions: Sequence[Addition] = (),
) -> None:
    """Write uint8[N,H,W,3] RGB to `probs` float32[N,classes], with the manifest in its metadata.

    N, H and W are at least 1. A localizer also has `box` float32[N,4], shares 0..1 of its input.

    Args:
        box_head: ONNX from the backbone's `maps` to `box`; None if the backbone gives `box`.
        additions: called in turn with the graph, to give it more outputs.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the backbone's input differs from its spec, or the model is not valid.
        EnvironmentFault: the file cannot be written.
    """
    model = load_onnx(backbone.graph_file, "writing a model")
    from onnx import helper

    graph = model.graph
    graph.name = "sharpeye"
    for opset in model.opset_import:  # `save_onnx` refuses nodes that have changed since theirs
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, OPSET)
    preprocessing = _prepend_preprocessing(graph, manifest)
    del graph.output[:]
    _append_head(graph, head)
    if manifest.task == "localize":
        if box_head is not None:
            box_graph = load_onnx(box_head, "writing a model").graph
            graph.node.extend(box_graph.node)
            graph.initializer.extend(box_graph.initializer)
        rename_value(graph, BOX, BOX_IN_INPUT)
        preprocessing.add_box_mapping(graph, BOX_IN_INPUT, BOX)
        GraphBuilder(graph, "").add_output(BOX, 4)
    for add in additions:
        add(graph)
    helper.set_model_props(model, manifest.to_metadata())
    save_onnx(model, file)


def _prepend_preprocessing(graph: "onnx.GraphProto", manifest: Manifest) -> PreprocessNodes:
    from onnx import GraphProto, TensorProto, helper

    spec, before = manifest.input, GraphProto()
    source = graph.input[0]
    shape = [axis.dim_value for axis in source.type.tensor_type.shape.dim][1:]
    expected = (spec.height, spec.width, spec.channels)
    if tuple(shape) != expected:
        raise ModelError(f"the backbone takes images of {shape}, its spec says {expected}")
    rename_value(graph, source.name, FITTED)
    preprocessing = PreprocessNodes(before, spec)
    nodes, initializers = [*before.node, *graph.node], [*graph.initializer, *before.initializer]
    set_nodes(graph, nodes, initializers)
    del graph.input[:]
    image = helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", "H", "W", 3])
    graph.input.append(image)
    return preprocessing


def _append_head(graph: "onnx.GraphProto", head: Head) -> None:
    from onnx import numpy_helper

    builder = GraphBuilder(graph, "head_")
    for value, name in ((head.weights, HEAD_WEIGHTS), (head.bias, HEAD_BIAS)):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    if head.square_root:
        smooth = builder.add("Add", FEATURES, builder.constant(SMOOTHING, np.float32, "smooth"))
        at_zero = builder.constant(SQUARE_ROOT_AT_ZERO, np.float32, "at_zero")
        builder.add("Sub", builder.add("Sqrt", smooth), at_zero, output=HEAD_INPUT)
    else:
        builder.add("Identity", FEATURES, output=HEAD_INPUT)
    builder.add("Gemm", HEAD_INPUT, HEAD_WEIGHTS, HEAD_BIAS, output="logits")
    builder.add("Softmax", "logits", output=PROBS, axis=1)
    builder.add_output(PROBS, head.classes)
