"""Read the header of a JPEG 2000 codestream: the size of its image and of its tiles.

The codestream is located by the boxes of the file, as the decoder does: other boxes may hold
anything, also what looks like a codestream.
"""

import struct
from dataclasses import dataclass

_START = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """The segment SIZ of a codestream.

    Attributes:
        size: width and height of the image in pixels.
        tile: width and height of its largest tile within the image.
        components: their number.
        bits: of a sample of the first component.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    components: int
    bits: int


def read_codestream_header(data: bytes) -> CodestreamHeader | None:
    """The header of the first codestream of a file; None if there is none."""
    at = 0 if data.startswith(_START) else _codestream_offset(data)
    if at is None or not data.startswith(_START, at):
        return None
    try:
        fields = struct.unpack_from(">8IHB", data, at + 8)
    except struct.error:
        return None
    right, bottom, left, top, tile_width, tile_height = fields[:6]
    size = max(right - left, 0), max(bottom - top, 0)
    tile = min(tile_width, size[0]), min(tile_height, size[1])
    return CodestreamHeader(size, tile, fields[8], (fields[9] & 127) + 1)


def _codestream_offset(data: bytes) -> int | None:
    """Where the content of the first box `jp2c` begins."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1:  # A longer number follows.
            if at + 16 > len(data):
                return None
            (length,), header = struct.unpack_from(">Q", data, at + 8), 16
        if kind == b"jp2c":
            return at + header
        if length < header:
            return None
        at += length
    return None
