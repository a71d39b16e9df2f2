"""Decode and encode tensors of the Open Inference Protocol. All functions raise ValueError only."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpeye.core.arrays import Pixels
from sharpeye.serve.json_values import decode_base64, json_type, to_pixels

_LENGTH = struct.Struct("<I")


def decode_files(data: Any, count: int) -> list[bytes]:
    """Image files from a list, flat or nested, of base64 texts, or from binary data."""
    if isinstance(data, memoryview):
        return _decode_elements(data, count)
    if not isinstance(data, list):
        raise ValueError(f'"data" must be a list. Received: {json_type(data)}')
    if len(data) != count:
        raise ValueError(f"the shape says {count} elements, the data have {len(data)}")
    files: list[bytes] = []
    for number, element in enumerate(data):
        text = element[0] if isinstance(element, list) and len(element) == 1 else element
        try:
            files.append(decode_base64(text))
        except ValueError as error:
            raise ValueError(f"data[{number}] {error}") from None
    return files


def _decode_elements(binary: memoryview, count: int) -> list[bytes]:
    """Split binary data: 4 bytes, little-endian, before each element are its length."""
    elements: list[bytes] = []
    start = 0
    while start + _LENGTH.size <= len(binary) and len(elements) < count:
        (length,) = _LENGTH.unpack_from(binary, start)
        start += _LENGTH.size
        remaining = len(binary) - start
        if length > remaining:
            raise ValueError(f"element {len(elements)} says {length} bytes, {remaining} follow")
        elements.append(bytes(binary[start : start + length]))
        start += length
    if len(elements) != count or start != len(binary):
        raise ValueError(f"the shape says {count} elements, the bytes hold fewer or more")
    return elements


def decode_pixels(data: Any, shape: Sequence[int]) -> Pixels:
    """uint8 pixels of `shape` from a list, flat or nested, of 0..255, or from binary data."""
    size = math.prod(shape)
    if isinstance(data, memoryview):
        array = np.frombuffer(data, np.uint8)
    elif isinstance(data, list):
        try:
            array = np.asarray(data)
        except (ValueError, OverflowError):
            raise ValueError("the data are neither flat nor evenly nested") from None
    else:
        raise ValueError(f'"data" must be a list. Received: {json_type(data)}')
    if array.size != size:
        raise ValueError(f"the shape says {size} values, the data have {array.size}")
    if not size:
        raise ValueError(f"a picture has at least one pixel. Received: the shape {list(shape)}")
    return to_pixels(array.reshape(1, -1)).reshape(shape)  # `to_pixels` checks the range


def encode_texts(texts: Sequence[str]) -> bytes:
    """Texts as binary data, each with its length before it."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
