"""Tell a JPEG that lacks only its end marker from one whose scans are cut off.

Many downloads lack the last one or two bytes, the end marker, and every viewer shows them. libjpeg
also "decodes" a file that is cut within a scan: it fills the rest with grey and tells Pillow
nothing. Whether the decoder needed bytes behind the end of the file is found by experiment: with
several different continuations the pixels are the same if and only if none was read (a Huffman code
is never the beginning of another one, so that different bits give different coefficients).

Two things no continuation shows, and they are counted: intervals between restart markers, which a
decoder skips in any continuation, and the scans of a progressive JPEG.
"""

import hashlib
from collections.abc import Callable

from PIL import Image

from sharpeye.images.jpeg_markers import JpegFrame, count_scans, iter_segments, read_frame

END_MARKER = b"\xff\xd9"
_PAD = 64  # bytes of a continuation
_CONTINUATIONS = (
    b"",  # libjpeg reads zeros
    b"\xff\x00" * _PAD,
    b"\x55" * _PAD,
    b"\xaa" * _PAD,
    hashlib.shake_128(b"continuation").digest(_PAD).replace(b"\xff", b"\xfe"),
)
# A few zeros may be the last bytes of a scan; more were appended, and would be read as data.
_MAX_ZEROS = 8


def has_end_marker(data: bytes) -> bool:
    """Whether an end marker follows the last scan of a JPEG, whatever follows that."""
    if data.endswith(END_MARKER):
        return True
    end = data.rfind(END_MARKER)
    return end >= 0 and (data.find(b"\xff\xda", end) < 0 or count_scans(data)[1])


def complete_jpeg(data: bytes, load: Callable[[bytes], Image.Image]) -> bytes | None:
    """The JPEG with an end marker if all its scans are there, otherwise None.

    Args:
        data: a JPEG without an end marker.
        load: decodes bytes, or raises an error.
    """
    frame, scans = read_frame(data), _without_padding(data)
    if frame is None or not _has_all_scans(scans, frame) or not _has_all_intervals(scans, frame):
        return None
    digests = set[bytes]()
    for continuation in _CONTINUATIONS:
        digests.add(_digest(load(scans + continuation + END_MARKER)))
        if len(digests) > 1:
            return None
    return scans + END_MARKER


def _without_padding(data: bytes) -> bytes:
    stripped = data.rstrip(b"\0")
    if len(data) - len(stripped) <= _MAX_ZEROS:
        stripped = data
    elif stripped.endswith(b"\xff"):
        stripped += b"\0"  # FF 00 is one byte of data
    # FF is the first half of the end marker, or of a byte whose second half is missing.
    return stripped.rstrip(b"\xff")


def _scan_headers(data: bytes) -> list[tuple[int, bytes]]:
    """(offset, header) of each scan."""
    headers, at = [], next((s - 4 for m, s, _ in iter_segments(data) if m == 0xDA), -1)
    while at >= 0:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        headers.append((at, data[at + 4 : at + 2 + length]))
        at = data.find(b"\xff\xda", at + 2 + length)
    return headers


def _has_all_scans(data: bytes, frame: JpegFrame) -> bool:
    """Whether each component has its coefficients down to the last bit."""
    bits: dict[int, list[int]] = {c: [99] * 64 for c, _, _ in frame.components}
    for _, header in _scan_headers(data):
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count:
            return False
        first, last, low = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
        for component in header[1 : 1 + 2 * count : 2]:
            if component in bits:
                span = range(first, min(last, 63) + 1) if frame.progressive else range(64)
                for k in span:
                    bits[component][k] = low if frame.progressive else 0
    return all(low == 0 for levels in bits.values() for low in levels)


def _has_all_intervals(data: bytes, frame: JpegFrame) -> bool:
    """Whether the last scan has as many restart markers as its size requires."""
    at, header = _scan_headers(data)[-1]
    definition = data.rfind(b"\xff\xdd\x00\x04", 0, at)
    interval = int.from_bytes(data[definition + 4 : definition + 6], "big") if definition > 0 else 0
    if not interval:
        return True
    across = max(h for _, h, _ in frame.components)
    down = max(v for _, _, v in frame.components)
    if header[0] == 1:  # a scan of one component has no padding to the blocks of the others
        h, v = next(((h, v) for c, h, v in frame.components if c == header[1]), (across, down))
        width, height = -(-frame.size[0] * h // across), -(-frame.size[1] * v // down)
        units = -(-width // 8) * -(-height // 8)
    else:
        units = -(-frame.size[0] // (8 * across)) * -(-frame.size[1] // (8 * down))
    scan = data[at:]
    markers = sum(scan.count(bytes((0xFF, 0xD0 + n))) for n in range(8))
    return markers >= -(-units // interval) - 1


def _digest(image: Image.Image) -> bytes:
    """A digest of the pixels, strip by strip."""
    digest, rows = hashlib.sha256(), max(1, 2**20 // max(1, image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        digest.update(strip.tobytes())
    return digest.digest()
