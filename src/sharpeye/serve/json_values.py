"""Reads what JSON bodies hold: the text itself, base64, nested lists of pixels."""

import binascii
import json
import re
from typing import Any

import numpy as np

from sharpeye.serve.limits import RequestRefused
from sharpeye.serve.requests import ImageInput, Pixels

# A value takes 2 bytes of JSON and up to 80 of memory. Two million are six images of 320 x 320
# as lists of numbers, and at most 160 MB.
MAX_VALUES = 2_000_000

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_SPACE = re.compile(r"\s+")
_OTHER_ALPHABET = str.maketrans("-_", "+/")  # RFC 4648, section 5


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        Refusal: not JSON, not an object, too deep, or with too many values.
    """
    # Base64 holds none of these characters.
    if sum(body.count(mark) for mark in (b",", b"[", b"{", b":")) > MAX_VALUES:
        raise RequestRefused(
            413,
            f"the JSON holds more than {MAX_VALUES:,} values; "
            "send pictures as base64 of their files, not as lists of numbers",
        )
    try:
        raw = json.loads(body)
    except RecursionError:
        raise RequestRefused(400, "the JSON is nested too deeply") from None
    except ValueError as error:
        raise RequestRefused(400, f"the body is not JSON: {one_line(error)}") from None
    if not isinstance(raw, dict):
        raise RequestRefused(400, f"the body must be a JSON object. Received: {kind_of(raw)}")
    return raw


def one_line(error: Exception) -> str:
    """The first 120 characters of a message, on one line."""
    return " ".join(str(error).split())[:120]


def kind_of(value: Any) -> str:
    """What a value of JSON is, in JSON's words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def from_base64(text: Any) -> bytes:
    """The bytes of a base64 text; line breaks, a `data:` prefix and either alphabet are fine.

    Raises:
        ValueError: it is none; the message says why.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be a base64 string. Received: {kind_of(text)}")
    found = _DATA_URL.match(text[:200])
    plain = _SPACE.sub("", text[found.end() :] if found else text).translate(_OTHER_ALPHABET)
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:  # also for characters beyond ASCII
        raise ValueError(f"is not base64: {one_line(error)}") from None


def from_lists(value: Any) -> Pixels:
    """An image from lists [H][W][3], [H][W][1] or [H][W] of whole numbers 0..255.

    Raises:
        ValueError: it is none; the message says why.
    """
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise ValueError("the rows are not of the same length") from None
    return as_image(array)


def as_image(array: np.ndarray[Any, Any]) -> Pixels:
    """The same image as uint8[H,W,3] or uint8[H,W].

    Raises:
        ValueError: it is no image.
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


def image_of(value: Any, name: str) -> ImageInput:
    """An image as TensorFlow Serving writes one.

    Args:
        value: `{"b64": text}`, the text alone, pixels as nested lists, or one of these under the
            name of the input: `{"image_bytes": {"b64": text}}`.
        name: how errors call it.

    Raises:
        Refusal: it is none of these.
    """
    if isinstance(value, dict) and len(value) == 1 and "b64" not in value:
        (value,) = value.values()
    if isinstance(value, dict) and set(value) == {"b64"}:
        value = value["b64"]
    try:
        if isinstance(value, str):
            return ImageInput(name, from_base64(value))
        if isinstance(value, list):
            return ImageInput(name, from_lists(value))
    except ValueError as error:
        raise RequestRefused(400, f"{name}: {error}") from None
    raise RequestRefused(
        400,
        f'{name} must be {{"b64": ...}} or pixels as nested lists. Received: {kind_of(value)}',
    )
