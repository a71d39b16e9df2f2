"""Read protobuf messages by tables of the allowed fields.

A field that its table does not list is an error, and so is a second occurrence of a singular field:
every reader then understands an accepted message in the same way.

Source: https://protobuf.dev/programming-guides/encoding.
"""

import struct
from typing import Any, NamedTuple

import numpy as np

_MAX_FIELDS = 300_000
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_PACKABLE = ("int", "float")


class OnnxFormatError(ValueError):
    """The file is not ONNX as SharpEye writes it; the message says why."""


class Forbidden(str):
    """The kind of a forbidden field; the text is the error message."""

    __slots__ = ()


class Field(NamedTuple):
    """A field: its name, whether it may occur several times, and its kind.

    Kinds are `int`, `float`, `text`, `bytes`, `skip`, `Forbidden`, and the table of a message.
    """

    name: str
    kind: "str | dict[int, Field]"
    repeated: bool


Table = dict[int, Field]
Message = dict[str, Any]


def make_table(**fields: tuple[int, Any]) -> Table:
    """Fields by number, from `name=(number, kind)`; a kind in a list is repeated."""
    return {
        number: Field(name, kind[0], True) if isinstance(kind, list) else Field(name, kind, False)
        for name, (number, kind) in fields.items()
    }


def read_message(data: bytes, table: Table, what: str) -> Message:
    """The fields of a message by name; those of the kind `skip` are left out.

    Raises:
        OnnxFormatError: it is damaged, too long, or holds a forbidden field.
    """
    return _MessageReader(data).read(0, len(data), table=table, what=what)


class _MessageReader:
    def __init__(self, data: bytes) -> None:
        self._data, self._fields_left = data, _MAX_FIELDS

    def read(self, at: int, end: int, *, table: Table, what: str) -> Message:
        message: Message = {}
        read_varint, data = self._read_varint, self._data
        while at < end:
            tag = data[at]
            if tag < 128:  # nearly always
                at += 1
            else:
                tag, at = read_varint(at, end)
            field, wire = table.get(tag >> 3), tag & 7
            if field is None:
                raise OnnxFormatError(f"{what} has a part that SharpEye does not write: {tag >> 3}")
            name, kind, repeated = field
            # `number` is the value of a varint, and the length of every other field.
            start, number = at, 8 if wire == _EIGHT_BYTES else 4
            if wire == _VARINT:
                number, at = read_varint(at, end)
            elif wire == _LENGTH_DELIMITED:
                number, start = read_varint(at, end)
                at = start + number
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                at += number
            else:
                raise OnnxFormatError("it is damaged")
            self._fields_left -= 1
            if at > end or self._fields_left < 0:
                raise OnnxFormatError("it is damaged, or has too many parts")
            if kind == "skip":
                continue
            if isinstance(kind, Forbidden):
                raise OnnxFormatError(kind)
            value = self._read_value(field, wire, number, start=start, end=at)
            if not repeated:
                if name in message:
                    raise OnnxFormatError(f"{what} has two of {name}")
                message[name] = value
            elif wire == _LENGTH_DELIMITED and kind in _PACKABLE:
                message.setdefault(name, []).extend(value)
            else:
                message.setdefault(name, []).append(value)
        return message

    def _read_value(self, field: Field, wire: int, number: int, *, start: int, end: int) -> Any:
        name, kind, repeated = field
        if wire == _LENGTH_DELIMITED:
            if isinstance(kind, dict):
                return self.read(start, end, table=kind, what=name)
            if kind == "text":
                return self._read_text(start, end)
            if kind == "bytes":
                return memoryview(self._data)[start:end]
            if repeated and kind == "float" and number % 4 == 0:
                self._fields_left -= number // 4
                return np.frombuffer(self._data, "<f4", number // 4, start).tolist()
            if repeated and kind == "int":
                return self._read_packed_varints(start, end)
        elif wire == _VARINT and kind == "int":
            return number if number < 2**63 else _to_signed(number)
        elif wire == _FOUR_BYTES and kind == "float":
            return struct.unpack_from("<f", self._data, start)[0]
        raise OnnxFormatError("it is damaged")

    def _read_text(self, start: int, end: int) -> str:
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError:
            raise OnnxFormatError("a text in it is not UTF-8") from None

    def _read_packed_varints(self, at: int, end: int) -> list[int]:
        packed = self._data[at:end]
        self._fields_left -= len(packed)
        if packed.isascii():  # fast path: each number is one byte; most are 0
            return list(packed)
        numbers = []
        while at < end and self._fields_left >= 0:
            value, at = self._read_varint(at, end)
            numbers.append(_to_signed(value))
        return numbers

    def _read_varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at `at`, and the position behind it."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise OnnxFormatError("it is damaged")


def _to_signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
