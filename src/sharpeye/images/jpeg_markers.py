"""Read the markers of a JPEG: the frame, how its samples are coded, and where its scans end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
START, END, SCAN = 0xD8, 0xD9, 0xDA
_MAX_SEGMENTS = 20_000
# Within a scan FF 00 is one byte of data, FF D0 to FF D7 separate intervals, and FF 01 is skipped.
_NEXT_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame of a JPEG.

    Attributes:
        size: width and height in pixels.
        components: (identifier, horizontal and vertical sampling) of each one.
        progressive: whether its scans refine each other.
        scan_components: the number of components in the first scan.
    """

    size: tuple[int, int]
    components: tuple[tuple[int, int, int], ...]
    progressive: bool
    scan_components: int

    @property
    def buffered(self) -> bool:
        """Whether the decoder has to hold all coefficients until the last scan."""
        return self.progressive or self.scan_components < len(self.components)

    @property
    def samples(self) -> int:
        """Number of samples of all components, without the padding to blocks."""
        across = max((h for _, h, _ in self.components), default=1) or 1
        down = max((v for _, _, v in self.components), default=1) or 1
        pixels = self.size[0] * self.size[1]
        return sum(pixels * h * v // (across * down) for _, h, v in self.components)


def iter_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first scan's header.

    Bytes that are no marker are skipped, as decoders do.
    """
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1
            continue
        at += 2
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, at + 2, min(at + length, len(data))
        if marker in (SCAN, END):
            return
        at += length


def read_frame(data: bytes) -> JpegFrame | None:
    """The frame of a JPEG, or None if there is none before the first scan."""
    frame: JpegFrame | None = None
    for marker, start, end in iter_segments(data):
        body = data[start:end]
        if marker in _FRAMES and len(body) >= 6 and frame is None:
            components = tuple(
                (body[at], body[at + 1] >> 4, body[at + 1] & 15)
                for at in range(6, min(6 + 3 * body[5], len(body) - 2), 3)
            )
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            frame = JpegFrame(size, components, marker in _PROGRESSIVE, len(components))
        elif marker == SCAN and frame and body:
            return JpegFrame(frame.size, frame.components, frame.progressive, body[0])
    return frame


def count_scans(data: bytes) -> tuple[int, bool]:
    """The number of scans of a JPEG, and whether the end marker follows them.

    The bytes are read as decoders read them, so that nothing behind the end marker counts: phones
    append a video there, which has bytes like any marker's. In a file of more segments than any
    photograph has, all that looks like a scan counts.
    """
    scans, at = 0, 0
    for marker, _, end in iter_segments(data):
        at, scans = end, int(marker == SCAN)
    for _ in range(_MAX_SEGMENTS):
        match = _NEXT_SEGMENT.search(data, at)
        if not scans or match is None:
            return scans, False
        marker, at = match[1][0], match.end()
        if marker in (START, END):
            return scans, marker == END
        scans += marker == SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    return data.count(b"\xff\xda"), False
