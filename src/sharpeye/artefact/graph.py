"""Puts preprocessing, a backbone and a head together into `model.onnx`, without Keras.

Values that whoever adds outputs (`Addition`) can rely on, N is the number of images:

    image       uint8[N,H,W,3], the input: RGB images of any size, of one size in a batch
    fitted      uint8[N,height,width,channels], as `fit_image` makes it of them
    features    float32[N,D], pooled
    head_input  float32[N,D], the features or their square root: what the linear head takes
    logits      float32[N,C], calibrated
    probs       float32[N,C]
    maps        float32[N,M], a localizer's flat feature maps
    box         float32[N,4], a localizer's, shares 0..1 of `image`

and the constants `head_weights` float32[D,C] and `head_bias` float32[C].
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.manifest import DIGEST_KEY, INPUT_KEY, METADATA_KEY, Manifest
from sharpeye.artefact.onnx_nodes import Nodes
from sharpeye.artefact.preprocess_nodes import (
    FITTED,
    IMAGE,
    IN_IMAGE,
    OPSET,
    PREPROCESS,
    Preprocess,
)
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import atomic_path
from sharpeye.errors import MissingExtra, ModelError
from sharpeye.learn.heads.head import SMOOTHING, SQUARE_ROOT_AT_ZERO, Head

if TYPE_CHECKING:
    import onnx

FEATURES, HEAD_INPUT, LOGITS, PROBS, BOX = "features", "head_input", "logits", "probs", "box"
HEAD_WEIGHTS, HEAD_BIAS = "head_weights", "head_bias"

_BOX_IN_INPUT = "box_in_input"

# Adds nodes to a finished graph, and an output or more.
Addition = Callable[["onnx.GraphProto"], None]


def write_model(
    backbone: Backbone,
    head: Head,
    manifest: Manifest,
    file: Path,
    box_head: Path | None = None,
    additions: Sequence[Addition] = (),
) -> None:
    """Write uint8[N,H,W,3] RGB to `probs` float32[N,classes], with the manifest in its metadata.

    N, H and W are at least 1. A localizer also has `box` float32[N,4], shares 0..1 of its input.

    Args:
        box_head: ONNX from the backbone's `maps` to `box`; None if the backbone says it itself.
        additions: called in turn with the graph, to give it more outputs.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the backbone is not what it says it is.
        EnvironmentFault: the file cannot be written.
    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise MissingExtra("onnx", "train", "writing a model") from None
    model = onnx.load(backbone.graph_file)
    graph = model.graph
    graph.name = "sharpeye"
    _raise_opset(model, OPSET)
    steps = _put_before(graph, manifest)
    del graph.output[:]
    _add_head(graph, head)
    if manifest.task == "localize":
        if box_head is not None:
            found = onnx.load(box_head).graph
            graph.node.extend(found.node)
            graph.initializer.extend(found.initializer)
        _rename_value(graph, BOX, _BOX_IN_INPUT)
        steps.undo(graph, _BOX_IN_INPUT, BOX)
        Nodes(graph, "").output(BOX, 4)
    for add in additions:
        add(graph)
    helper.set_model_props(model, _metadata(manifest))
    _save(model, file)


def fixed_model(model_file: Path, out: Path) -> None:
    """Write a model of ours without its preprocessing, for engines that need a fixed input.

    It takes `image` uint8[N,height,width,channels], made by `fit_image`; `box` is in shares of
    that. All else is the same; a model that takes one size only already is written as it is.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the file is no ONNX model.
        EnvironmentFault: `out` cannot be written.
    """
    model = _load(model_file)
    _cut_off(model.graph)
    _save(model, out)


def preprocessing_of(model_file: Path) -> bytes:
    """The preprocessing of a model of ours alone, from `image` to `fitted`, as ONNX.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the file is no ONNX model, or takes one size only.
    """
    from onnx import TensorProto, helper

    model = _load(model_file)
    graph = model.graph
    if not any(FITTED in node.output for node in graph.node):
        raise ModelError(f"{model_file} takes pictures of one size only")
    _keep(graph, lambda name: name.startswith(PREPROCESS))
    del graph.output[:], model.metadata_props[:]
    graph.output.append(helper.make_tensor_value_info(FITTED, TensorProto.UINT8, None))
    return bytes(model.SerializeToString())


def _load(file: Path) -> "onnx.ModelProto":
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "train", "reading a model") from None
    try:
        return onnx.load(file)
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror or error}") from None
    except Exception:  # protobuf has no types, and its error is not onnx'
        raise ModelError(f"{file} is not an ONNX model, or it is damaged") from None


def _keep(graph: "onnx.GraphProto", wanted: Callable[[str], bool]) -> None:
    """Drop the nodes and constants with other names."""
    nodes = [node for node in graph.node if wanted(node.name)]
    arrays = [array for array in graph.initializer if wanted(array.name)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(arrays)


def _put_before(graph: "onnx.GraphProto", manifest: Manifest) -> Preprocess:
    """Let the graph begin with the preprocessing."""
    from onnx import GraphProto, TensorProto, helper

    spec, before = manifest.input, GraphProto()
    taken = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    wanted = (spec.height, spec.width, spec.channels)
    if tuple(taken[1:]) != wanted:
        raise ModelError(f"the backbone takes pictures of {taken[1:]}, its spec says {wanted}")
    for node in graph.node:
        node.input[:] = [FITTED if n == graph.input[0].name else n for n in node.input]
    steps = Preprocess(before, spec)
    nodes = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*before.node, *nodes])
    graph.initializer.extend(before.initializer)
    shape = ["N", "H", "W", 3]
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape))
    return steps


def _add_head(graph: "onnx.GraphProto", head: Head) -> None:
    from onnx import numpy_helper

    nodes = Nodes(graph, "head_")
    for value, name in ((head.weights, HEAD_WEIGHTS), (head.bias, HEAD_BIAS)):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    if head.square_root:
        smooth = nodes.add("Add", FEATURES, nodes.constant(SMOOTHING, np.float32, "smooth"))
        at_zero = nodes.constant(SQUARE_ROOT_AT_ZERO, np.float32, "at_zero")
        nodes.add("Sub", nodes.add("Sqrt", smooth), at_zero, output=HEAD_INPUT)
    else:
        nodes.add("Identity", FEATURES, output=HEAD_INPUT)
    nodes.add("Gemm", HEAD_INPUT, HEAD_WEIGHTS, HEAD_BIAS, output=LOGITS)
    nodes.add("Softmax", LOGITS, output=PROBS, axis=1)
    nodes.output(PROBS, head.classes)


def _cut_off(graph: "onnx.GraphProto") -> None:
    """Take away what `Preprocess` put before and behind."""
    from onnx import TensorProto, helper, numpy_helper

    last = next((node for node in graph.node if FITTED in node.output), None)
    if last is None:
        return
    shape = next(each for each in graph.initializer if each.name == last.input[1])
    size = [int(side) for side in numpy_helper.to_array(shape)[1:]]
    _keep(graph, lambda name: not name.startswith((PREPROCESS, IN_IMAGE)))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", *size]))
    _rename_value(graph, FITTED, IMAGE)
    _rename_value(graph, _BOX_IN_INPUT, BOX)


def _rename_value(graph: "onnx.GraphProto", old: str, new: str) -> None:
    """Give a value that is no output of the graph another name."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _raise_opset(model: "onnx.ModelProto", version: int) -> None:
    """Let the graph be read as of a later opset. `_save` refuses nodes that changed since."""
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = max(each.version, version)


def _metadata(manifest: Manifest) -> dict[str, str]:
    text = manifest.to_json()
    return {
        METADATA_KEY: text,
        DIGEST_KEY: hashlib.sha256(text.encode()).hexdigest(),
        "labels": json.dumps(list(manifest.labels), ensure_ascii=False),
        INPUT_KEY: json.dumps(manifest.input.to_dict()),
        "version": manifest.versions.get("sharpeye", ""),
        "license": manifest.weights_license,
    }


def _save(model: "onnx.ModelProto", file: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model for {file} is not valid ONNX: {reason}") from None
    with atomic_path(file) as temporary:
        onnx.save(model, temporary)
