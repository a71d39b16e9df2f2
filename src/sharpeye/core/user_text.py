"""Decode text files that users wrote with any editor or spreadsheet."""

import codecs
from pathlib import Path

from sharpeye.errors import UsageError

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def decode_user_text(data: bytes, path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, without a byte order mark.

    Raises:
        UsageError: it is in another encoding, or is no text; the message names `path`.
    """
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _encoding_without_mark(data)
    if encoding == "utf-8" and b"\0" in data:
        raise _no_text(data, path)
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not in {encoding.upper()}: byte {error.start} cannot be decoded; "
            "save it in UTF-8"
        ) from None
    if "\0" in text:
        raise _no_text(data, path)
    return text


def _no_text(data: bytes, path: Path) -> UsageError:
    what = "an Excel workbook" if data.startswith(b"PK\3\4") else "no text file"
    return UsageError(f"{path} is {what}; save it as CSV or text in UTF-8")


def _encoding_without_mark(data: bytes) -> str:
    """UTF-16 is recognized by the zero byte in each of the first characters."""
    head = data[:64]
    if len(head) >= 2 and not len(data) % 2:
        for encoding, zeros, others in (
            ("utf-16-le", head[1::2], head[::2]),
            ("utf-16-be", head[::2], head[1::2]),
        ):
            if not any(zeros) and all(others):
                return encoding
    return "utf-8"
