"""Read a frozen GraphDef (`.pb`) as data. Needs TensorFlow's registry of operations.

A graph is a program. Only numeric operations are allowed, in the graph and in its functions: none
that opens a file, connects to another machine, calls Python, or may run without end.

Source: TensorFlow's SECURITY.md ("TensorFlow models are programs").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sharpeye.compat.endless_graphs import refuse_endless
from sharpeye.core.formatting import name_list
from sharpeye.core.safe_parse import parse_json
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, UsageError, one_line
from sharpeye.models.weights.graph_def_parser import parse_graph_def as parse_message

# The output node of a graph that SharpEye wrote has this attribute: bytes, JSON.
RECORD_KEY = "_sharpeye"

# Node names in the graphs of retrain.py; `Mul` follows the JPEG decoder of inception-2015-12-05.
INPUT, INCEPTION_INPUT, OUTPUT = "input", "Mul", "final_result"
# Defaults of label_image.py: a graph takes (grey level 0..255 - mean) / std.
MEAN, STD = 128.0, 128.0

_MAX_GRAPH_BYTES = 2**30
_MAX_LISTED_NAMES = 12  # in a message

# Harmless operations beyond the rule of `_is_numeric`: they check values, draw random numbers, call
# functions of the graph (which are checked, too), or decode image bytes that come as input, as old
# Inception graphs do before `Mul`.
_ALSO_ALLOWED = {
    *("Assert", "CheckNumerics", "GuaranteeConst", "PreventGradient", "RandomUniform"),
    *("Einsum", "GatherNd", "ScatterNd"),
    *("PartitionedCall", "StatefulPartitionedCall", "StatelessIf"),
    *("DecodeJpeg", "DecodePng", "DecodeGif", "DecodeBmp"),
}


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """SharpEye's description inside a graph; `labels` are in the order of the scores."""

    labels: tuple[str, ...]
    input: InputSpec
    input_layer: str
    output_layer: str
    mean: float
    std: float


def read_graph_bytes(file: Path) -> bytes:
    """Read a graph's file, up to 1 GiB.

    Raises:
        UsageError: no such file.
        ModelError: too large.
    """
    if not file.is_file():
        raise UsageError(
            f"no such graph: {file}; give --graph a run directory, an .onnx file that SharpEye "
            "wrote, or a frozen TensorFlow graph (.pb)"
        )
    if file.stat().st_size > _MAX_GRAPH_BYTES:
        raise ModelError(f"{file} is larger than {_MAX_GRAPH_BYTES // 2**30} GiB")
    return file.read_bytes()


def parse_graph_def(data: bytes, file: Path) -> Any:
    """Parse a GraphDef message, and check that every operation is known and numeric.

    Raises:
        ModelError: not a GraphDef, or with a forbidden operation.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    try:
        definition = parse_message(data, GraphDef(), str(file))
    except ModelError as error:
        raise ModelError(f"{error}; give the .pb file that retrain.py wrote") from None
    refuse_endless(definition, file)
    _refuse_programs(definition, file)
    return definition


def _refuse_programs(definition: Any, file: Path) -> None:
    from tensorflow.python.framework import op_def_registry

    functions = {function.signature.name: function for function in definition.library.function}
    for node in chain(definition.node, *(f.node_def for f in functions.values())):
        operation = op_def_registry.get(node.op)
        if operation is None:
            if node.op in functions:
                continue
            raise ModelError(f"{file}: TensorFlow has no operation {node.op} (node {node.name})")
        if node.op not in _ALSO_ALLOWED and not _is_numeric(operation):
            raise ModelError(
                f"{file} is refused: node {node.name} ({node.op}) may use files or run other code; "
                "freeze the graph from its input to its scores only"
            )


def _is_numeric(operation: Any) -> bool:
    """Whether an operation computes numbers from numbers, by its registered definition.

    Strings and handles give access to files, tables, queues and datasets; other operations with
    side effects are stateful, or have a text attribute that names a resource (ImmutableConst,
    DebugIdentity, PyFuncStateless).
    """
    from tensorflow import dtypes

    handles = (dtypes.string, dtypes.resource, dtypes.variant)
    arguments = (*operation.input_arg, *operation.output_arg)
    if any(dtypes.as_dtype(a.type).base_dtype in handles for a in arguments if a.type):
        return False
    text_types = ("string", "list(string)", "func", "list(func)")
    has_text = any(a.type in text_types and not a.allowed_values.list.s for a in operation.attr)
    return not (has_text or operation.is_stateful or operation.name.startswith("_"))


def read_record(definition: Any, file: Path) -> GraphRecord | None:
    """The record in a graph; None if SharpEye did not write it.

    Raises:
        ModelError: the record is damaged.
    """
    texts = [node.attr[RECORD_KEY].s for node in definition.node if RECORD_KEY in node.attr]
    if not texts:
        return None
    try:
        raw = parse_json(texts[-1])
        graph = raw["graph"]
        record = GraphRecord(
            labels=tuple(raw["labels"]),
            input=InputSpec.from_dict(raw["input"]),
            input_layer=graph["input_layer"],
            output_layer=graph["output_layer"],
            mean=float(graph["mean"]),
            std=float(graph["std"]),
        )
        names = (*record.labels, record.input_layer, record.output_layer)
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name that is no text")
        if not (math.isfinite(record.mean) and math.isfinite(record.std) and record.std):
            raise ValueError(f"mean {record.mean:g}, std {record.std:g}")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ModelError(f"{file}: its record {RECORD_KEY} is damaged ({reason})") from None
    return record


def find_nodes(
    definition: Any, file: Path, *, input_layer: str | None, output_layer: str | None
) -> tuple[str, str]:
    """The names of the input and the output node.

    Without a name, the input is `input`, `Mul` or the only placeholder, and the output is
    `final_result` or the last Softmax.

    Raises:
        ModelError: the graph has no such node; the message lists the candidates.
    """
    operations = {node.name: node.op for node in definition.node}
    placeholders = [name for name, op in operations.items() if op.startswith("Placeholder")]
    softmaxes = [name for name, op in operations.items() if op == "Softmax"]
    if not input_layer:
        if INPUT in placeholders:
            input_layer = INPUT
        elif operations.get(INCEPTION_INPUT) == "Mul":
            input_layer = INCEPTION_INPUT
        elif len(placeholders) == 1:
            input_layer = placeholders[0]
    if not output_layer:
        output_layer = OUTPUT if OUTPUT in operations else next(reversed(softmaxes), None)
    nodes = []
    for flag, name in (("--input_layer", input_layer), ("--output_layer", output_layer)):
        node = (name or "").removesuffix(":0")  # a tensor's name is often given for the node's
        if not name or node not in operations:
            problem = f"has no node {name}" if name else "does not tell which node to use"
            raise ModelError(
                f"{file} {problem}; give {flag}. Placeholders: {_join(placeholders)}. "
                f"Softmax nodes: {_join(softmaxes)}"
            )
        nodes.append(node)
    return nodes[0], nodes[1]


def _join(names: Sequence[str]) -> str:
    return name_list(names, _MAX_LISTED_NAMES) or "none"
