"""Decode and encode the tensors of the Open Inference Protocol, in JSON and binary."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.serve.request_values import json_type, text_to_bytes

_LENGTH = struct.Struct("<I")  # before each element of binary BYTES

# The protocol's numeric datatypes. Binary data are little-endian.
DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


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
            files.append(text_to_bytes(text))
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


def decode_numbers(data: Any, datatype: str, shape: Sequence[int]) -> Array:
    """An array of `shape` from a list, flat or nested, or from binary data.

    Raises:
        ValueError: not as many values as the shape says, or not of the datatype.
    """
    dtype, size = np.dtype(DTYPES[datatype]), math.prod(shape)
    if not size:
        raise ValueError(f"an image has at least one pixel. Received: the shape {list(shape)}")
    if isinstance(data, memoryview):
        if len(data) != size * dtype.itemsize:
            expected = f"{size * dtype.itemsize} bytes of {datatype}"
            raise ValueError(f"the shape says {expected}, the data have {len(data)}")
        return np.frombuffer(data, dtype).reshape(shape)
    if not isinstance(data, list):
        raise ValueError(f'"data" must be a list. Received: {json_type(data)}')
    array = lists_to_array(data)
    if array.size != size:
        raise ValueError(f"the shape says {size} values, the data have {array.size}")
    return _cast(array, dtype, datatype).reshape(shape)


def lists_to_array(values: list[Any]) -> Array:
    """Nested JSON lists of numbers as an array.

    Raises:
        ValueError: lists of different lengths, or other values than numbers.
    """
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        raise ValueError("the lists are neither flat nor evenly nested") from None
    if array.size and array.dtype.kind not in "buif":
        raise ValueError("pixels must be numbers")
    return array


def _cast(array: Array, dtype: np.dtype[Any], datatype: str) -> Array:
    """JSON's numbers in the dtype that the request declares for them."""
    if dtype.kind in "iu" and array.dtype.kind != "b":
        limits = np.iinfo(dtype)
        if not np.array_equal(array, np.rint(array)):
            raise ValueError(f"{datatype} needs whole numbers")
        if array.min() < limits.min or array.max() > limits.max:
            received = f"{array.min():g} to {array.max():g}"
            allowed = f"{limits.min}..{limits.max}"
            raise ValueError(f"{datatype} must be {allowed}. Received: {received}")
    if dtype.kind == "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{datatype} must be true or false, or 0 or 1")
    with np.errstate(over="ignore"):  # of FP16: an infinite value, which is refused as a pixel
        return array.astype(dtype)


def encode_texts(texts: Sequence[str]) -> bytes:
    """Texts as binary data, each with its length before it."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
