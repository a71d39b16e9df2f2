"""Parse JSON bodies and the base64 texts in them."""

import json
from typing import Any

from sharpeye.errors import one_line
from sharpeye.images.data_url import decode_base64
from sharpeye.serve.limits import RequestRefused

# A value takes 2 bytes of JSON and up to 80 of memory. Two million values are six images of 320 x
# 320 as lists of numbers, and at most 160 MB.
MAX_VALUES = 2_000_000


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


def text_to_bytes(text: Any) -> bytes:
    """The bytes of a base64 text or a `data:` URL.

    Raises:
        ValueError: neither of these; the message says why.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be a base64 string. Received: {json_type(text)}")
    return decode_base64(text)
