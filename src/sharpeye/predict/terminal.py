"""Make names safe to print on a terminal; imports nothing heavy."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def show(name: str) -> str:
    """The name with control characters as backslash escapes."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), name)
