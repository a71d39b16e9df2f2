"""Read fields of JSON bodies without a model class."""

from typing import Any

from sharpeye.errors import UsageError


def text_field(body: Any, key: str) -> str:
    """A text field of a JSON object; UsageError if the body is not an object or lacks the field."""
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise UsageError(f'the request needs {{"{key}": ...}}')
    return value
