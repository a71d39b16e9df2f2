"""Reads an ONNX file as data, without onnx and before a runtime sees it.

Only what SharpEye writes is let in: a part that the tables below do not name (training, functions,
subgraphs, files beside the model, sparse tensors, a part of a later ONNX) ends the reading, and so
does a second one where there can be one. So no other reader can understand the file otherwise.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and
https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

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

_MAX_FIELDS = 300_000
_MAX_VARINTS = 4096  # larger tensors are raw
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_PACKABLE = ("int", "float")


class OnnxFormatError(ValueError):
    """Not ONNX as SharpEye writes it; the message says why."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant; `values` may lie in the file's own bytes."""

    name: str
    kind: int
    values: Array


@dataclass(frozen=True, slots=True)
class Node:
    """One operation with one output; "" among the inputs is one that is left out."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output, or what is said of a value between: an axis left open is None."""

    name: str
    kind: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a model file holds."""

    ir_version: int
    opset: int
    nodes: list[Node]
    tensors: list[Tensor]
    inputs: list[Port]
    outputs: list[Port]
    notes: list[Port]
    metadata: dict[str, str]


class _Field(NamedTuple):
    """How a part is kept: under which name, as what, and whether there may be several."""

    name: str
    kind: "str | dict[int, _Field]"
    many: bool


def _table(**fields: tuple[int, Any]) -> dict[int, _Field]:
    """`name=(number, kind)`; of a kind in a list there may be several."""
    return {
        number: _Field(name, kind[0], True) if isinstance(kind, list) else _Field(name, kind, False)
        for name, (number, kind) in fields.items()
    }


_ENTRY = _table(key=(1, "text"), value=(2, "text"))
_OPSET = _table(domain=(1, "text"), version=(2, "int"))
_TENSOR = _table(
    dims=(1, ["int"]),
    data_type=(2, "int"),
    float_data=(4, ["float"]),
    int32_data=(5, ["int"]),
    int64_data=(7, ["int"]),
    name=(8, "text"),
    raw_data=(9, "bytes"),
    doc_string=(12, "skip"),
    external_data=(13, ["never"]),
    data_location=(14, "int"),
)
_ATTRIBUTE = _table(
    name=(1, "text"),
    f=(2, "float"),
    i=(3, "int"),
    s=(4, "text"),
    g=(6, "never"),
    ints=(8, ["int"]),
    doc_string=(13, "skip"),
    type=(20, "int"),
)
_NODE = _table(
    input=(1, ["text"]),
    output=(2, ["text"]),
    name=(3, "skip"),
    op_type=(4, "text"),
    attribute=(5, [_ATTRIBUTE]),
    doc_string=(6, "skip"),
    domain=(7, "text"),
)
_DIMENSION = _table(dim_value=(1, "int"), dim_param=(2, "text"))
_SHAPE = _table(dim=(1, [_DIMENSION]))
_TENSOR_TYPE = _table(elem_type=(1, "int"), shape=(2, _SHAPE))
_PORT = _table(name=(1, "text"), type=(2, _table(tensor_type=(1, _TENSOR_TYPE))), doc=(3, "skip"))
_GRAPH = _table(
    node=(1, [_NODE]),
    name=(2, "skip"),
    initializer=(5, [_TENSOR]),
    doc_string=(10, "skip"),
    input=(11, [_PORT]),
    output=(12, [_PORT]),
    value_info=(13, [_PORT]),
)
_MODEL = _table(
    ir_version=(1, "int"),
    producer_name=(2, "skip"),
    producer_version=(3, "skip"),
    domain=(4, "skip"),
    model_version=(5, "int"),
    doc_string=(6, "skip"),
    graph=(7, _GRAPH),
    opset_import=(8, [_OPSET]),
    metadata_props=(14, [_ENTRY]),
    training_info=(20, ["never"]),
    functions=(25, ["never"]),
)

_NEVER = {
    "external_data": "a constant of it lies in another file",
    "g": "an operation of it runs a graph of its own",
    "training_info": "it says how it is to be trained",
    "functions": "it brings operations of its own along",
}

# What an attribute of each type keeps its value in: float, int, text, ints.
_ATTRIBUTE_VALUES = {1: "f", 2: "i", 3: "s", 7: "ints"}


def read_onnx(data: bytes) -> OnnxFile:
    """Read a model file.

    Raises:
        WireError: damaged, or with something in it that SharpEye does not write.
    """
    if not data.startswith(b"\x08"):
        raise OnnxFormatError(f"{len(data)} bytes, starts with {data[:12]!r}")
    raw = _Reader(data).message(0, len(data), _MODEL, "the model")
    graph = raw.get("graph", {})
    opset = _opset(raw.get("opset_import", []))
    entries = [
        (each.get("key", ""), each.get("value", "")) for each in raw.get("metadata_props", [])
    ]
    metadata = dict(entries)
    if len(metadata) != len(entries):
        raise OnnxFormatError("a key of its metadata is there twice")
    inputs, outputs, notes = (
        [_port(each) for each in graph.get(key, [])] for key in ("input", "output", "value_info")
    )
    return OnnxFile(
        raw.get("ir_version", 0),
        opset,
        [_node(each) for each in graph.get("node", [])],
        [_tensor(each) for each in graph.get("initializer", [])],
        inputs,
        outputs,
        notes,
        metadata,
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._left = data, _MAX_FIELDS

    def message(self, at: int, end: int, table: dict[int, _Field], what: str) -> dict[str, Any]:
        """The fields of the message that lies there; those to be skipped are left out."""
        found: dict[str, Any] = {}
        read, data = self._varint, self._data
        while at < end:
            tag = data[at]
            if tag < 128:  # nearly always
                at += 1
            else:
                tag, at = read(at, end)
            part, wire = table.get(tag >> 3), tag & 7
            if part is None:
                raise OnnxFormatError(f"{what} has a part that SharpEye does not write: {tag >> 3}")
            name, kind, many = part
            start, length = at, 8 if wire == _EIGHT else 4
            if wire == _VARINT:
                length, at = read(at, end)  # the number itself
            elif wire == _BYTES:
                length, start = read(at, end)
                at = start + length
            elif wire in (_FOUR, _EIGHT):
                at += length
            else:
                raise OnnxFormatError("it is damaged")
            self._left -= 1
            if at > end or self._left < 0:
                raise OnnxFormatError("it is damaged, or has too many parts")
            if kind == "skip":
                continue
            if kind == "never":
                raise OnnxFormatError(_NEVER[name])
            value = self._value(part, wire, length, start, at)
            if not many:
                if name in found:
                    raise OnnxFormatError(f"{what} has two of {name}")
                found[name] = value
            elif wire == _BYTES and kind in _PACKABLE:
                found.setdefault(name, []).extend(value)
            else:
                found.setdefault(name, []).append(value)
        return found

    def _value(self, part: _Field, wire: int, length: int, start: int, end: int) -> Any:
        name, kind, many = part
        if wire == _BYTES:
            if isinstance(kind, dict):
                return self.message(start, end, kind, name)
            if kind == "text":
                return self._text(start, end)
            if kind == "bytes":
                return memoryview(self._data)[start:end]
            if many and kind == "float" and length % 4 == 0:
                self._left -= length // 4
                return np.frombuffer(self._data, "<f4", length // 4, start).tolist()
            if many and kind == "int":
                return self._varints(start, end)
        elif wire == _VARINT and kind == "int":
            return length if length < 2**63 else _signed(length)
        elif wire == _FOUR and kind == "float":
            return struct.unpack_from("<f", self._data, start)[0]
        raise OnnxFormatError("it is damaged")

    def _text(self, start: int, end: int) -> str:
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError:
            raise OnnxFormatError("a text in it is not UTF-8") from None

    def _varints(self, at: int, end: int) -> list[int]:
        raw = self._data[at:end]
        self._left -= len(raw)
        if raw.isascii():  # each is a number of its own: zeros, mostly
            return list(raw)
        found = []
        while at < end and self._left >= 0:
            value, at = self._varint(at, end)
            found.append(_signed(value))
        return found

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise OnnxFormatError("it is damaged")


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _opset(imports: list[dict[str, Any]]) -> int:
    """The version of ONNX's own operations; others may be named there, but none may be used."""
    found = [each.get("version", 0) for each in imports if is_onnx(each.get("domain", ""))]
    if len(found) != 1:
        raise OnnxFormatError("it names no version of ONNX's operations, or several")
    return int(found[0])


def is_onnx(domain: str) -> bool:
    """Whether operations of that domain are ONNX's own."""
    return domain in ("", "ai.onnx")


def _node(raw: dict[str, Any]) -> Node:
    op, domain = raw.get("op_type", ""), raw.get("domain", "")
    if not is_onnx(domain):
        raise OnnxFormatError(f"it has an operation of {domain[:40]!r}: {op[:40]!r}")
    outputs = raw.get("output", [])
    if len(outputs) != 1 or not outputs[0]:
        raise OnnxFormatError(f"an operation {op[:40]!r} has {len(outputs)} outputs")
    attributes: dict[str, Any] = {}
    for each in raw.get("attribute", []):
        place = _ATTRIBUTE_VALUES.get(each.get("type", 0), "")
        values = set(each) - {"name", "type"}
        # A number that is 0, a text or a list that is empty may be left out.
        if not place or not values <= {place} or each.get("name", "") in attributes:
            raise OnnxFormatError(
                f"an attribute of {op[:40]!r} is of an unknown kind, or there twice"
            )
        attributes[each.get("name", "")] = each.get(place, {"s": "", "ints": []}.get(place, 0))
    return Node(op, tuple(raw.get("input", [])), outputs[0], attributes)


def _tensor(raw: dict[str, Any]) -> Tensor:
    name, kind, shape = raw.get("name", ""), raw.get("data_type", 0), tuple(raw.get("dims", []))
    dtype = DTYPES.get(kind)
    kept = [key for key in ("raw_data", "float_data", "int32_data", "int64_data") if key in raw]
    if raw.get("data_location", 0):
        raise OnnxFormatError(f"the constant {name[:60]!r} lies in another file")
    if dtype is None or len(kept) > 1 or len(shape) > 8 or any(side < 0 for side in shape):
        raise OnnxFormatError(f"the constant {name[:60]!r} is of an unknown kind")
    count = 1
    for side in shape:
        count *= side
    data = raw.get(kept[0], []) if kept else []
    if isinstance(data, memoryview):
        whole = len(data) == count * np.dtype(dtype).itemsize
        values = np.frombuffer(data, dtype) if whole else np.zeros(0)
    else:
        expected = {FLOAT: "float_data", INT64: "int64_data"}.get(kind, "int32_data")
        whole = len(data) == count <= _MAX_VARINTS and kept in ([], [expected])
        whole = whole and kind not in (10, 11)
        values = _small(data, dtype) if whole else np.zeros(0)
    if not whole or len(values) != count:
        raise OnnxFormatError(
            f"the constant {name[:60]!r} says {list(shape)}, but holds another number"
        )
    return Tensor(name, kind, values.reshape(shape))


def _small(data: list[Any], dtype: Any) -> Array:
    try:
        return np.array(data, dtype)
    except (OverflowError, ValueError):
        raise OnnxFormatError("a constant is out of its type's range") from None


def _port(raw: dict[str, Any]) -> Port:
    tensor = raw.get("type", {}).get("tensor_type", {})
    sides = tensor["shape"].get("dim", []) if "shape" in tensor else None
    shape = None if sides is None else tuple(side.get("dim_value") for side in sides)
    return Port(raw.get("name", ""), tensor.get("elem_type", 0), shape)
