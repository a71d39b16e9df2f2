"""Make names safe to print on a terminal, and visible on a page; imports nothing heavy."""

import re

# Control characters, separators of lines, and invisible marks that change how text is read. Not
# U+200C and U+200D, which belong to the spelling of Persian and of the scripts of India.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb]"
)


def show(name: str) -> str:
    """The name with control characters and invisible marks as backslash escapes."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), name)
