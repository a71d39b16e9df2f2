"""Decode JSON bodies, base64 texts and pixels, and the tensors of the Open Inference Protocol."""

import binascii
import json
import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array, Pixels
from sharpeye.errors import one_line
from sharpeye.serve.limits import RequestRefused

# A value takes 2 bytes of JSON and up to 80 of memory. Two million values are six images of 320 x
# 320 as lists of numbers, and at most 160 MB.
MAX_VALUES = 2_000_000

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_SPACE = re.compile(r"\s+")
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5
_LENGTH = struct.Struct("<I")  # before each element of a binary tensor


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RequestRefused: not JSON, not an object, too deep, or with too many values.
    """
    # Base64 has none of these characters, so each of them marks a value.
    if sum(body.count(mark) for mark in (b",", b"[", b"{", b":")) > MAX_VALUES:
        raise RequestRefused(
            413,
            f"the JSON holds more than {MAX_VALUES:,} values; "
            "send images as base64 of their files, not as lists of numbers",
        )
    try:
        content = json.loads(body)
    except RecursionError:
        raise RequestRefused(400, "the JSON is nested too deeply") from None
    except ValueError as error:
        raise RequestRefused(400, f"the body is not JSON: {one_line(error, 120)}") from None
    if not isinstance(content, dict):
        raise RequestRefused(400, f"the body must be a JSON object. Received: {json_type(content)}")
    return content


def json_type(value: Any) -> str:
    """The type of a JSON value, in JSON's terms."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def decode_base64(text: Any) -> bytes:
    """Decode base64 text in either alphabet, with or without line breaks and a `data:` prefix.

    Raises:
        ValueError: not base64; the message says why.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be a base64 string. Received: {json_type(text)}")
    prefix = _DATA_URL.match(text[:200])
    plain = _SPACE.sub("", text[prefix.end() :] if prefix else text)
    plain = plain.translate(_URL_SAFE_TO_STANDARD)
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:  # also raised for non-ASCII characters
        raise ValueError(f"is not base64: {one_line(error, 120)}") from None


def to_pixels(array: Array) -> Pixels:
    """An array as an image, uint8[H,W,3] or uint8[H,W].

    Args:
        array: [H,W,3], [H,W,1] or [H,W], whole numbers 0..255 of any dtype.

    Raises:
        ValueError: not an image; the message says why.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ValueError(f"must have the shape [H,W,3] or [H,W]. Received: {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    # A float with an integer value is allowed: numpy writes 255.0, JavaScript 255.
    if array.dtype.kind not in "iuf" or not np.array_equal(array, np.rint(array)):
        raise ValueError("pixels must be whole numbers 0..255")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"pixels must be 0..255. Received: {array.min():g} to {array.max():g}")
    return array.astype(np.uint8)


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
        raise ValueError(f"an image has at least one pixel. Received: the shape {list(shape)}")
    return to_pixels(array.reshape(1, -1)).reshape(shape)  # `to_pixels` checks the range


def encode_texts(texts: Sequence[str]) -> bytes:
    """Texts as binary data, each with its length before it."""
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
