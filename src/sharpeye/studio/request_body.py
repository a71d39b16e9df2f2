"""Read fields of JSON bodies that need no model of their own."""

from typing import Any

from sharpeye.errors import UsageError


def text_field(body: Any, key: str) -> str:
    """A text of a JSON object; UsageError if the body is no object or has no such text."""
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise UsageError(f'the request needs {{"{key}": ...}}')
    return value
