"""Parse a GraphDef message that others wrote, in bounded memory.

A field of 2 bytes can take 100 in memory: 60 kB of gzip became 4 GB. So the fields are counted
before protobuf builds them. Bytes and floats, which weights are, take no more memory than bytes of
the file.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from typing import Any

from sharpeye.errors import ModelError

# NASNet, the largest of the published classifiers, has some 200,000.
_MAX_FIELDS = 500_000
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types
# Packed numbers of variable length take at most 8 bytes for one: a sixteenth of a field.
_PACKED_BYTES_PER_FIELD = 16
# Numbers of FieldDescriptor's types: double, float, string, bytes.
_UNCOUNTED = (1, 2, 9, 12)


def parse_graph_def(data: bytes, message: Any, where: str) -> Any:
    """Parse `data` into an empty GraphDef message, of TensorFlow or of TensorBoard; returns it.

    Raises:
        ModelError: it is not a GraphDef, is damaged, has no nodes, or has too many fields.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        _check_field_count(data, message.DESCRIPTOR, where)
        message.ParseFromString(data)
    except (DecodeError, IndexError):  # IndexError: it ends within a number
        message.Clear()
    if not message.node:
        raise ModelError(
            f"{where} is not a frozen TensorFlow graph, or is damaged: {len(data)} bytes, starts "
            f"with {data[:12]!r}"
        )
    return message


def _check_field_count(data: bytes, descriptor: Any, where: str) -> None:
    """Raise ModelError for too many fields, and IndexError or DecodeError for a damaged message."""
    from google.protobuf.message import DecodeError

    tables: dict[str, dict[int, Any]] = {}
    left = _MAX_FIELDS
    unread = [(0, len(data), descriptor)]
    while unread:
        at, end, descriptor = unread.pop()
        table = tables.setdefault(descriptor.full_name, {})
        if not table:
            table.update((field.number, field) for field in descriptor.fields)
        while at < end:
            tag, at = _read_varint(data, at)
            wire = tag & 7
            left -= 1
            if wire == _VARINT:
                _, at = _read_varint(data, at)
            elif wire == _LENGTH_DELIMITED:
                length, at = _read_varint(data, at)
                field = table.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    unread.append((at, at + length, field.message_type))
                elif field is not None and field.type not in _UNCOUNTED:
                    left -= length // _PACKED_BYTES_PER_FIELD
                at += length
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                at += 4 if wire == _FOUR_BYTES else 8
            else:
                raise DecodeError("a group, which GraphDef does not have")
            if at > end:
                raise DecodeError("a field is longer than its message")
            if left < 0:
                raise ModelError(f"{where} is refused: it has more than {_MAX_FIELDS:,} fields")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the position behind it; IndexError at the end of the data."""
    value = data[at]
    at += 1
    if value < 128:  # nearly always
        return value, at
    value &= 127
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError("a number of more than 10 bytes")
