"""Cut a written model: its fixed-size network, its preprocessing, or its backbone and head."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharpeye.artefact.onnx_model import load_onnx, prune_graph, rename_value, save_onnx, set_nodes
from sharpeye.artefact.preprocess_nodes import BOX_MAPPING, FITTED, IMAGE, PREPROCESS
from sharpeye.artefact.write_model import (
    BOX,
    BOX_IN_INPUT,
    FEATURES,
    HEAD_BIAS,
    HEAD_INPUT,
    HEAD_WEIGHTS,
)
from sharpeye.errors import ModelError
from sharpeye.learn.heads.head import Head

if TYPE_CHECKING:
    import onnx


def fixed_model(model_file: Path, out: Path) -> None:
    """Write a model without its preprocessing, for engines that need a fixed input.

    It takes `image` uint8[N,height,width,channels] from `fit_image`; `box` is in shares of that.
    Everything else stays the same; a model that already has a fixed size is copied.
    """
    model = load_onnx(model_file, "reading a model")
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    last = next((node for node in graph.node if FITTED in node.output), None)
    if last is not None:
        shape = next(tensor for tensor in graph.initializer if tensor.name == last.input[1])
        size = [int(side) for side in numpy_helper.to_array(shape)[1:]]
        _filter_by_name(graph, lambda name: not name.startswith((PREPROCESS, BOX_MAPPING)))
        del graph.input[:]
        graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", *size]))
        rename_value(graph, FITTED, IMAGE)
        rename_value(graph, BOX_IN_INPUT, BOX)
    save_onnx(model, out)


def preprocessing_of(model_file: Path) -> bytes:
    """Only the preprocessing of a model, from `image` to `fitted`, as ONNX.

    Raises:
        ModelError: the model has a fixed size.
    """
    model = load_onnx(model_file, "reading a model")
    from onnx import TensorProto, helper

    graph = model.graph
    if not any(FITTED in node.output for node in graph.node):
        raise ModelError(f"{model_file} takes images of one size only")
    _filter_by_name(graph, lambda name: name.startswith(PREPROCESS))
    del graph.output[:], model.metadata_props[:]
    graph.output.append(helper.make_tensor_value_info(FITTED, TensorProto.UINT8, None))
    return bytes(model.SerializeToString())


def _filter_by_name(graph: "onnx.GraphProto", keep: Callable[[str], bool]) -> None:
    set_nodes(
        graph,
        [node for node in graph.node if keep(node.name)],
        [tensor for tensor in graph.initializer if keep(tensor.name)],
    )


def write_network(fixed_file: Path, outputs: Sequence[str], out: Path) -> None:
    """Write a fixed-size model with only what some of its outputs need.

    Args:
        fixed_file: from `fixed_model`.

    Raises:
        ModelError: it is quantized: other formats lack its operations.
    """
    model = load_onnx(fixed_file, "exporting a model")
    import onnx

    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise ModelError(
            "the model is int8 already (model.int8 = true): it can be exported as onnx or "
            "bundle; for other formats train it without"
        )
    prune_graph(model.graph, outputs)
    onnx.save(model, out)


def split_head(network_file: Path, backbone_out: Path) -> Head:
    """Write a network from `write_network` up to its features; return the linear head after them.

    Raises:
        ModelError: the model has no such head.
    """
    model = load_onnx(network_file, "writing a TensorFlow graph")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    if not {HEAD_WEIGHTS, HEAD_BIAS} <= set(tensors):
        raise ModelError(f"the model has no {HEAD_WEIGHTS} and {HEAD_BIAS}; train it again")
    weights, bias = (numpy_helper.to_array(tensors[name]) for name in (HEAD_WEIGHTS, HEAD_BIAS))
    square_root = any(node.op_type == "Sub" and HEAD_INPUT in node.output for node in graph.node)
    prune_graph(graph, (FEATURES,))
    shape = ["N", len(weights)]
    graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, shape))
    onnx.save(model, backbone_out)
    return Head(weights, bias, temperature=1.0, l2=0.0, square_root=square_root)
