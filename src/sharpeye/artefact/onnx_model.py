"""Load, prune, inspect and save ONNX models with the onnx package."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.core.storage import atomic_path
from sharpeye.errors import MissingExtra, ModelError, one_line

if TYPE_CHECKING:
    import onnx

# Shapes, pads and axes have at most so many elements; what has more is weights.
_MAX_SHAPE_ELEMENTS = 256


def load_onnx(file: Path, purpose: str) -> "onnx.ModelProto":
    """Load a model that SharpEye wrote.

    Args:
        purpose: for the message if onnx is missing, such as "exporting a model".

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: there is no such file, or it is no ONNX model.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "train", purpose) from None
    try:
        return onnx.load(file)
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror or error}") from None
    except Exception:  # protobuf has no types, and its error is not onnx'
        raise ModelError(f"{file} is not an ONNX model, or it is damaged") from None


def save_onnx(model: "onnx.ModelProto", file: Path) -> None:
    """Check a model, and write it whole or not at all.

    Raises:
        ModelError: it is not valid ONNX.
        EnvironmentFault: the file cannot be written.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the model for {file} is not valid ONNX: {one_line(error)}") from None
    with atomic_path(file) as temporary:
        onnx.save(model, temporary)


def needed_values(graph: "onnx.GraphProto", outputs: Iterable[str]) -> set[str]:
    """Names of the values that some values are computed from, and their own."""
    needed = set(outputs)
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
    return needed


def prune_graph(graph: "onnx.GraphProto", outputs: Iterable[str]) -> None:
    """Drop the nodes, constants and outputs that some values do not need."""
    names = set(outputs)
    needed = needed_values(graph, names)
    nodes = [node for node in graph.node if not needed.isdisjoint(node.output)]
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    graph_outputs = [output for output in graph.output if output.name in names]
    del graph.node[:], graph.initializer[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    graph.output.extend(graph_outputs)


def infer_shapes(
    graph: "onnx.GraphProto", opset: int, *, strict: bool = False
) -> dict[str, tuple[int, ...]]:
    """Shapes by the names of values; 0 stands for an open axis.

    Inference copies the model several times. Without the weights it takes 20 ms instead of 900 ms
    for Inception v3 (onnx 1.23, two cores): large constants become inputs here.

    Args:
        strict: raise `onnx.shape_inference.InferenceError` where shapes do not fit.
    """
    from onnx import helper, shape_inference

    light = helper.make_graph(graph.node, graph.name, graph.input, ())
    for tensor in graph.initializer:
        if np.prod(tensor.dims) <= _MAX_SHAPE_ELEMENTS:
            light.initializer.append(tensor)
        else:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.input.append(info)
    model = helper.make_model(light, opset_imports=[helper.make_opsetid("", opset)])
    inferred = shape_inference.infer_shapes(model, strict_mode=strict).graph
    return {
        info.name: tuple(axis.dim_value for axis in info.type.tensor_type.shape.dim)
        for info in (*inferred.input, *inferred.value_info)
    }
