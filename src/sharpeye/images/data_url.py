"""Base64 text, and `data:` URLs, which hold a file as base64 (RFC 2397)."""

import binascii
import re

_PREFIX = re.compile(r"\s*data:[^,;]*(;[^,;]*)*?;base64\s*,", re.I)
_MAX_PREFIX_CHARACTERS = 300
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
_SPACE = re.compile(r"\s+")
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")  # RFC 4648, section 5


def is_address(text: str) -> bool:
    """Whether a text is an address such as `https://example.org/1.jpg`."""
    return bool(_ADDRESS.match(text))


def is_data_url(text: str) -> bool:
    """Whether a text begins like a `data:` URL; it may yet be a wrong one."""
    return text[:_MAX_PREFIX_CHARACTERS].lstrip()[:5].lower() == "data:"


def decode_base64(text: str) -> bytes:
    """Decode base64 text in either alphabet, with or without line breaks and a `data:` prefix.

    Raises:
        ValueError: not base64; the message says why.
    """
    if is_address(text[:_MAX_PREFIX_CHARACTERS]):
        raise ValueError("is an address, which is not opened; send the image's bytes as base64")
    prefix = _PREFIX.match(text[:_MAX_PREFIX_CHARACTERS])
    if is_data_url(text) and not prefix:
        raise ValueError("is a data: URL, but not data:image/TYPE;base64,TEXT")
    plain = _SPACE.sub("", text[prefix.end() :] if prefix else text)
    plain = plain.translate(_URL_SAFE_TO_STANDARD)
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:  # also raised for non-ASCII characters
        raise ValueError(f"is not base64: {' '.join(str(error).split())[:120]}") from None
