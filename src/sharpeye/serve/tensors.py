"""Tensors of the Open Inference Protocol, as JSON and as bytes. They raise ValueError only."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpeye.serve.json_values import as_image, from_base64, kind_of
from sharpeye.serve.requests import Pixels

_LENGTH = struct.Struct("<I")


def files(data: Any, count: int) -> list[bytes]:
    """Images' files from a list, flat or nested, of base64 texts, or from bytes."""
    if isinstance(data, memoryview):
        return _elements(data, count)
    if not isinstance(data, list):
        raise ValueError(f'"data" must be a list. Received: {kind_of(data)}')
    if len(data) != count:
        raise ValueError(f"the shape says {count} elements, the data have {len(data)}")
    found: list[bytes] = []
    for number, one in enumerate(data):
        text = one[0] if isinstance(one, list) and len(one) == 1 else one
        try:
            found.append(from_base64(text))
        except ValueError as error:
            raise ValueError(f"data[{number}] {error}") from None
    return found


def _elements(binary: memoryview, count: int) -> list[bytes]:
    """Each element has its length before it, 4 bytes little-endian."""
    found: list[bytes] = []
    place = 0
    while place + _LENGTH.size <= len(binary) and len(found) < count:
        (length,) = _LENGTH.unpack_from(binary, place)
        place += _LENGTH.size
        left = len(binary) - place
        if length > left:
            raise ValueError(f"element {len(found)} says {length} bytes, {left} follow")
        found.append(bytes(binary[place : place + length]))
        place += length
    if len(found) != count or place != len(binary):
        raise ValueError(f"the shape says {count} elements, the bytes do not hold just that many")
    return found


def pixels(data: Any, shape: Sequence[int]) -> Pixels:
    """Pixels from a list, flat or nested, of whole numbers 0..255, or from bytes."""
    size = math.prod(shape)
    if isinstance(data, memoryview):
        array = np.frombuffer(data, np.uint8)
    elif isinstance(data, list):
        try:
            array = np.asarray(data)
        except (ValueError, OverflowError):
            raise ValueError("the data are neither flat nor evenly nested") from None
    else:
        raise ValueError(f'"data" must be a list. Received: {kind_of(data)}')
    if array.size != size:
        raise ValueError(f"the shape says {size} values, the data have {array.size}")
    if not size:
        raise ValueError(f"a picture has at least one pixel. Received: the shape {list(shape)}")
    return as_image(array.reshape(1, -1)).reshape(shape)  # as an image its range is checked


def packed(texts: Sequence[str]) -> bytes:
    """Texts as `files` reads bytes."""
    coded = [text.encode("utf-8", "backslashreplace") for text in texts]
    return b"".join(_LENGTH.pack(len(one)) + one for one in coded)
