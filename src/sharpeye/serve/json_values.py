"""Parse JSON bodies, and the base64 texts and pixel arrays in them."""

import binascii
import json
import re
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array, Pixels
from sharpeye.errors import one_line
from sharpeye.serve.limits import RequestRefused

# A value takes 2 bytes of JSON and up to 80 of memory. Two million are six images of 320 x 320
# as lists of numbers, and at most 160 MB.
MAX_VALUES = 2_000_000

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_SPACE = re.compile(r"\s+")
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RequestRefused: not JSON, not an object, too deep, or with too many values.
    """
    # Base64 has none of these characters, so each of them stands for a value.
    if sum(body.count(mark) for mark in (b",", b"[", b"{", b":")) > MAX_VALUES:
        raise RequestRefused(
            413,
            f"the JSON holds more than {MAX_VALUES:,} values; "
            "send pictures as base64 of their files, not as lists of numbers",
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
    """The type of a JSON value, in JSON's words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def decode_base64(text: Any) -> bytes:
    """The bytes of a base64 text in either alphabet, with line breaks and a `data:` prefix or not.

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
    except ValueError as error:  # also for characters beyond ASCII
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
    # A float that is a whole number is one: numpy writes 255.0, JavaScript 255.
    if array.dtype.kind not in "iuf" or not np.array_equal(array, np.rint(array)):
        raise ValueError("pixels must be whole numbers 0..255")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"pixels must be 0..255. Received: {array.min():g} to {array.max():g}")
    return array.astype(np.uint8)
