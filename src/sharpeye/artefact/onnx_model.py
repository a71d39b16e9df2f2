"""Load, extend, prune, inspect and save ONNX models with the onnx package."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.file_digest import EMPTY_DIGEST, FILE_DIGEST_KEY, insert_digest
from sharpeye.core.storage import write_bytes
from sharpeye.errors import MissingExtra, ModelError, one_line

if TYPE_CHECKING:
    import onnx

# Shapes, pads and axes have at most so many elements; larger constants are weights.
_MAX_SHAPE_ELEMENTS = 256


def load_onnx(file: Path, purpose: str) -> "onnx.ModelProto":
    """Load a model that SharpEye wrote.

    Args:
        purpose: for the message if onnx is missing, such as "exporting a model".

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the file is missing, or is not an ONNX model.
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
    """Check a model, and write it whole or not at all; a model of ours with its digest.

    Raises:
        ModelError: it is not valid ONNX.
        EnvironmentFault: the file cannot be written.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the model for {file} is not valid ONNX: {one_line(error)}") from None
    digests = [entry for entry in model.metadata_props if entry.key == FILE_DIGEST_KEY]
    for entry in digests:
        entry.value = EMPTY_DIGEST
    data = model.SerializeToString()
    write_bytes(file, insert_digest(data) if digests else data)


class GraphBuilder:
    """Appends nodes, constants and outputs to a graph.

    Args:
        prefix: begins all names, such as `preprocess/`, so that the nodes can be found again.
    """

    def __init__(self, graph: "onnx.GraphProto", prefix: str) -> None:
        self._graph, self._prefix = graph, prefix
        self._name_counts: dict[str, int] = {}

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the name of its value.

        Args:
            inputs: names of values; "" leaves an optional one out.
            output: name of the value; by default a new one under the prefix.
        """
        from onnx import helper

        name = self._new_name(op.lower())
        output = output or name
        self._graph.node.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike, name: str = "constant") -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = self._new_name(name)
        array = np.array(value, dtype, order="C")
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def add_output(self, name: str, *sides: int) -> None:
        """Make a value float32[N,*sides] an output of the graph."""
        from onnx import TensorProto, helper

        shape = ["N", *sides]
        self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _new_name(self, name: str) -> str:
        count = self._name_counts[name] = self._name_counts.get(name, 0) + 1
        return f"{self._prefix}{name}{count if count > 1 else ''}"


def rename_value(graph: "onnx.GraphProto", old: str, new: str) -> None:
    """Give a value another name; outputs of the graph keep theirs."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def needed_values(graph: "onnx.GraphProto", outputs: Iterable[str]) -> set[str]:
    """Names of some values, and of all values that they are computed from."""
    needed = set(outputs)
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
    return needed


def prune_graph(graph: "onnx.GraphProto", outputs: Iterable[str]) -> None:
    """Drop the nodes, constants and outputs that the given values do not need."""
    names = set(outputs)
    needed = needed_values(graph, names)
    set_nodes(
        graph,
        [node for node in graph.node if not needed.isdisjoint(node.output)],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    graph_outputs = [output for output in graph.output if output.name in names]
    del graph.output[:], graph.value_info[:]
    graph.output.extend(graph_outputs)


def set_nodes(
    graph: "onnx.GraphProto",
    nodes: list["onnx.NodeProto"],
    initializers: list["onnx.TensorProto"],
) -> None:
    """Replace the nodes and constants of a graph."""
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


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
