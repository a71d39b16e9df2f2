"""Remove from a PNG what its pixels do not need and what would have it refused.

Pillow refuses a PNG with a long compressed text or colour profile, with a damaged chunk that only
viewers use, or without its end chunk. Its limits belong to the process and are left alone; instead
such a file is written again without these chunks.
"""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that the pixels depend on; eXIf says how the image is turned.
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf")
# Text chunks that say how the image is turned.
_ORIENTATION = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_TEXTS = (b"zTXt", b"iTXt", b"tEXt")
_MAX_TEXT = 64_000  # bytes as stored and, by the largest factor of deflate, 64 MB unpacked
_MAX_UNPACKED = 1_000_000
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def without_extras(data: bytes) -> bytes | None:
    """The same pixels without chunks that may be left out; None if nothing can be left out.

    A critical chunk that is damaged stays as it is, so that the decoder refuses it.
    """
    parts, changed, ended = [SIGNATURE], False, False
    for kind, start, end in _iter_chunks(data):
        chunk = data[start:end]
        critical, intact = not kind[0] & 0x20, _is_intact(chunk)
        if kind == b"IEND":
            ended = True
            parts.append(chunk)
            break
        if kind == b"IDAT" and len(chunk) < 12 + struct.unpack_from(">I", chunk)[0]:
            missing = 12 + struct.unpack_from(">I", chunk)[0] - len(chunk)
            if missing > 4:
                return None  # Pixels are missing.
            # Only the checksum is cut off; deflate has one of its own.
            chunk = chunk[: len(chunk) - (4 - missing)]
            parts.append(chunk + struct.pack(">I", zlib.crc32(chunk[4:])))
            changed = True
        elif critical or (kind in _NEEDED and intact) or (intact and _is_orientation(kind, chunk)):
            parts.append(chunk)
        else:
            changed = True
    if not ended:
        parts.append(_END)
    return b"".join(parts) if changed or not ended else None


def _iter_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk; the last one may be cut off."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = min(at + 12 + length, len(data))
        yield data[at + 4 : at + 8], at, end
        at = end


def _is_intact(chunk: bytes) -> bool:
    (length,) = struct.unpack_from(">I", chunk)
    if len(chunk) != 12 + length:
        return False
    return bool(struct.unpack_from(">I", chunk, 8 + length)[0] == zlib.crc32(chunk[4 : 8 + length]))


def _is_orientation(kind: bytes, chunk: bytes) -> bool:
    """Whether a text chunk holds EXIF or XMP of a size that Pillow unpacks."""
    body = chunk[8:-4]
    if kind not in _TEXTS or not body.startswith(_ORIENTATION) or len(body) > _MAX_TEXT:
        return False
    keyword = body.index(b"\0")
    compressed = body[keyword + 2 :] if kind == b"zTXt" else body[keyword + 3 :].split(b"\0", 2)[-1]
    if kind == b"tEXt" or (kind == b"iTXt" and body[keyword + 1 : keyword + 2] != b"\1"):
        return True
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(compressed, _MAX_UNPACKED)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail
