"""Parse an ONNX file without the onnx package, before a runtime opens it.

The parser accepts only what SharpEye writes: training, functions, subgraphs, external data, sparse
tensors and fields of a later ONNX are errors.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.artefact.verify.protobuf_reader import (
    Forbidden,
    Message,
    OnnxFormatError,
    make_table,
    read_message,
)
from sharpeye.core.arrays import Array

# Numbers of `TensorProto.DataType`.
FLOAT, UINT8, INT64, BOOL = 1, 2, 7, 9
DTYPES: Mapping[int, Any] = {
    FLOAT: np.float32,
    UINT8: np.uint8,
    3: np.int8,
    6: np.int32,
    INT64: np.int64,
    BOOL: np.bool_,
    10: np.float16,
    11: np.float64,
}

_DOMAINS = ("", "ai.onnx")  # of ONNX's own operations
_MAX_UNPACKED_NUMBERS = 4096  # larger tensors are raw
_MAX_TENSOR_AXES = 8


@dataclass(frozen=True, slots=True)
class ParsedTensor:
    """An initializer; `values` may be a view of the file's bytes."""

    name: str
    data_type: int
    values: Array


@dataclass(frozen=True, slots=True)
class ParsedNode:
    """A node with its one output; "" among the inputs marks an optional one that is absent."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ParsedValueInfo:
    """Declared type and shape of an input, output or inner value; an open axis is None."""

    name: str
    data_type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class ParsedModel:
    """The content of a model file."""

    ir_version: int
    opset: int
    nodes: list[ParsedNode]
    initializers: list[ParsedTensor]
    inputs: list[ParsedValueInfo]
    outputs: list[ParsedValueInfo]
    value_infos: list[ParsedValueInfo]
    metadata: dict[str, str]


_ENTRY = make_table(key=(1, "text"), value=(2, "text"))
_OPSET = make_table(domain=(1, "text"), version=(2, "int"))
_TENSOR = make_table(
    dims=(1, ["int"]),
    data_type=(2, "int"),
    float_data=(4, ["float"]),
    int32_data=(5, ["int"]),
    int64_data=(7, ["int"]),
    name=(8, "text"),
    raw_data=(9, "bytes"),
    doc_string=(12, "skip"),
    external_data=(13, Forbidden("a constant of it lies in another file")),
    data_location=(14, "int"),
)
_ATTRIBUTE = make_table(
    name=(1, "text"),
    f=(2, "float"),
    i=(3, "int"),
    s=(4, "text"),
    g=(6, Forbidden("an operation of it runs a graph of its own")),
    ints=(8, ["int"]),
    doc_string=(13, "skip"),
    type=(20, "int"),
)
_NODE = make_table(
    input=(1, ["text"]),
    output=(2, ["text"]),
    name=(3, "skip"),
    op_type=(4, "text"),
    attribute=(5, [_ATTRIBUTE]),
    doc_string=(6, "skip"),
    domain=(7, "text"),
)
_DIMENSION = make_table(dim_value=(1, "int"), dim_param=(2, "text"))
_SHAPE = make_table(dim=(1, [_DIMENSION]))
_TYPE = make_table(tensor_type=(1, make_table(elem_type=(1, "int"), shape=(2, _SHAPE))))
_VALUE_INFO = make_table(name=(1, "text"), type=(2, _TYPE), doc_string=(3, "skip"))
_GRAPH = make_table(
    node=(1, [_NODE]),
    name=(2, "skip"),
    initializer=(5, [_TENSOR]),
    doc_string=(10, "skip"),
    input=(11, [_VALUE_INFO]),
    output=(12, [_VALUE_INFO]),
    value_info=(13, [_VALUE_INFO]),
)
_MODEL = make_table(
    ir_version=(1, "int"),
    producer_name=(2, "skip"),
    producer_version=(3, "skip"),
    domain=(4, "skip"),
    model_version=(5, "int"),
    doc_string=(6, "skip"),
    graph=(7, _GRAPH),
    opset_import=(8, [_OPSET]),
    metadata_props=(14, [_ENTRY]),
    training_info=(20, Forbidden("it says how it is to be trained")),
    functions=(25, Forbidden("it brings operations of its own along")),
)

# The field that holds the value of an attribute, by attribute type (float, int, text, ints), and
# the value where the field is absent: protobuf leaves out 0, an empty text and an empty list.
_ATTRIBUTE_FIELDS = {1: ("f", 0), 2: ("i", 0), 3: ("s", ""), 7: ("ints", [])}


def parse_onnx(data: bytes) -> ParsedModel:
    """Parse a model file.

    Raises:
        OnnxFormatError: it is damaged, or has content that SharpEye does not write.
    """
    if not data.startswith(b"\x08"):
        raise OnnxFormatError(f"{len(data)} bytes, starts with {data[:12]!r}")
    model = read_message(data, _MODEL, "the model")
    graph, entries = model.get("graph", {}), model.get("metadata_props", [])
    opset = _parse_opset(model.get("opset_import", []))
    metadata = {entry.get("key", ""): entry.get("value", "") for entry in entries}
    if len(metadata) != len(entries):
        raise OnnxFormatError("a key of its metadata is there twice")
    inputs, outputs, value_infos = (
        [_parse_value_info(raw) for raw in graph.get(key, [])]
        for key in ("input", "output", "value_info")
    )
    return ParsedModel(
        ir_version=model.get("ir_version", 0),
        opset=opset,
        nodes=[_parse_node(raw) for raw in graph.get("node", [])],
        initializers=[_parse_tensor(raw) for raw in graph.get("initializer", [])],
        inputs=inputs,
        outputs=outputs,
        value_infos=value_infos,
        metadata=metadata,
    )


def _parse_opset(imports: list[Message]) -> int:
    """The version of ONNX's own operations; other domains may be imported but stay unused."""
    versions = [raw.get("version", 0) for raw in imports if raw.get("domain", "") in _DOMAINS]
    if len(versions) != 1:
        raise OnnxFormatError("it names no version of ONNX's operations, or several")
    return int(versions[0])


def _parse_node(raw: Message) -> ParsedNode:
    op, domain = raw.get("op_type", ""), raw.get("domain", "")
    if domain not in _DOMAINS:
        raise OnnxFormatError(f"it has an operation of {domain[:40]!r}: {op[:40]!r}")
    outputs = raw.get("output", [])
    if len(outputs) != 1 or not outputs[0]:
        raise OnnxFormatError(f"an operation {op[:40]!r} has {len(outputs)} outputs")
    attributes: dict[str, Any] = {}
    for attribute in raw.get("attribute", []):
        name = attribute.get("name", "")
        field, default = _ATTRIBUTE_FIELDS.get(attribute.get("type", 0), ("", None))
        if not field or not set(attribute) <= {"name", "type", field} or name in attributes:
            raise OnnxFormatError(
                f"an attribute of {op[:40]!r} is of an unknown kind, or there twice"
            )
        attributes[name] = attribute.get(field, default)
    return ParsedNode(op, tuple(raw.get("input", [])), outputs[0], attributes)


def _parse_tensor(raw: Message) -> ParsedTensor:
    name, data_type = raw.get("name", ""), raw.get("data_type", 0)
    shape, dtype = tuple(raw.get("dims", [])), DTYPES.get(data_type)
    keys = [key for key in ("raw_data", "float_data", "int32_data", "int64_data") if key in raw]
    if raw.get("data_location", 0):
        raise OnnxFormatError(f"the constant {name[:60]!r} lies in another file")
    shape_fits = len(shape) <= _MAX_TENSOR_AXES and all(side >= 0 for side in shape)
    if dtype is None or len(keys) > 1 or not shape_fits:
        raise OnnxFormatError(f"the constant {name[:60]!r} is of an unknown kind")
    count, data = math.prod(shape), raw.get(keys[0], []) if keys else []
    if isinstance(data, memoryview):
        complete = len(data) == count * np.dtype(dtype).itemsize
        values = np.frombuffer(data, dtype) if complete else np.zeros(0)
    else:
        expected = {FLOAT: "float_data", INT64: "int64_data"}.get(data_type, "int32_data")
        complete = len(data) == count <= _MAX_UNPACKED_NUMBERS and keys in ([], [expected])
        complete = complete and dtype not in (np.float16, np.float64)
        try:
            values = np.array(data, dtype) if complete else np.zeros(0)
        except (OverflowError, ValueError):
            raise OnnxFormatError("a constant is out of its type's range") from None
    if not complete or len(values) != count:
        raise OnnxFormatError(
            f"the constant {name[:60]!r} says {list(shape)}, but holds another number"
        )
    return ParsedTensor(name, data_type, values.reshape(shape))


def _parse_value_info(raw: Message) -> ParsedValueInfo:
    tensor = raw.get("type", {}).get("tensor_type", {})
    shape = None
    if "shape" in tensor:
        shape = tuple(side.get("dim_value") for side in tensor["shape"].get("dim", []))
    return ParsedValueInfo(raw.get("name", ""), tensor.get("elem_type", 0), shape)
