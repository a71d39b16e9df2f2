"""JPEG files that are damaged, unusual, or built to take the decoder's time; kinds 1 to 10."""

import struct
from typing import Any

import numpy as np
from PIL import Image

from battery.image_case import ImageCase, MakeCase, Pixels, flip_bits, photo
from image_files import decoded_pixels, encoded
from sharpeye.images.jpeg_markers import SCAN, iter_segments

_PROGRESSIVE_FRAME = b"\xff\xc2"
_BASELINE_FRAME = b"\xff\xc0"


def _options(random: np.random.Generator) -> dict[str, Any]:
    """One of the ways in which programs write a JPEG."""
    options: dict[str, Any] = {"quality": int(random.integers(40, 96))}
    options |= [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}][
        int(random.integers(4))
    ]
    return options


def _jpeg(random: np.random.Generator, **options: Any) -> bytes:
    return encoded(photo(random), "JPEG", **(options or _options(random)))


def _first_scan(data: bytes) -> int:
    """Where the entropy-coded data of the first scan begins."""
    return next(end for marker, _, end in iter_segments(data) if marker == SCAN)


def truncated(random: np.random.Generator, number: int) -> ImageCase:
    data = _jpeg(random)
    length = int(random.integers(3, len(data)))
    # Without the last bytes, which are no pixel's, it is read.
    outcome = "either" if length > len(data) - 8 else "refused"
    return ImageCase(data[:length], outcome, decoded_pixels(data))


def flipped_entropy_bits(random: np.random.Generator, number: int) -> ImageCase:
    data = _jpeg(random)
    count = int(random.choice((1, 3, 20)))
    return ImageCase(flip_bits(data, random, _first_scan(data), len(data) - 2, count), "either")


def flipped_header_bits(random: np.random.Generator, number: int) -> ImageCase:
    data = _jpeg(random)
    count = int(random.choice((1, 2, 6)))
    return ImageCase(flip_bits(data, random, 2, _first_scan(data), count), "either")


def wrong_size(random: np.random.Generator, number: int) -> ImageCase:
    """A header that names a size which the few bytes cannot hold."""
    sizes = [(1, 65_535), (65_535, 1), (65_500, 65_500), (30_000, 20_000), (7000, 6000), (0, 50)]
    width, height = sizes[number % len(sizes)]
    data = bytearray(_jpeg(random, quality=80))
    at = data.index(_BASELINE_FRAME)
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    # A single column or row of blocks is so small that its bytes could be there.
    return ImageCase(bytes(data), "either" if 1 in (width, height) else "refused")


def many_scans(random: np.random.Generator, number: int) -> ImageCase:
    """200 to 10,000 scans, each of which takes a pass over all coefficients."""
    data = encoded(photo(random), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan, copies = data[last:-2], int(np.geomspace(200, 10_000, 40)[number % 40])
    return ImageCase(data[:-2] + scan * copies + b"\xff\xd9", "refused", reason="scans")


def four_colours(random: np.random.Generator, number: int) -> ImageCase:
    """CMYK and YCCK, also with a marker of Adobe that says something else than is there."""
    data = bytearray(encoded(Image.fromarray(photo(random)).convert("CMYK"), "JPEG"))
    at = data.index(b"Adobe")
    change = number % 4
    if change == 1:
        data[at + 11] = int(random.choice((1, 2, 3, 255)))
    elif change == 2:  # without the marker
        del data[at - 4 : at + 12]
    elif change == 3:
        three = encoded(photo(random), "JPEG")
        marker = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00" + bytes([number % 3])
        return ImageCase(three[:2] + marker + three[2:], "accepted")
    return ImageCase(bytes(data), "accepted")


def rare_processes(random: np.random.Generator, number: int) -> ImageCase:
    """12 bits a sample, lossless, hierarchical and arithmetic coding, by the frame's header."""
    data = bytearray(_jpeg(random, quality=80))
    at = data.index(_BASELINE_FRAME)
    if number % 4 == 0:
        data[at + 4] = int(random.choice((2, 12, 16)))
        return ImageCase(bytes(data), "refused", reason="JPEG")
    data[at + 1] = (0xC9, 0xC3, 0xC5, 0xCA, 0xC1, 0xC7, 0xCB, 0xCF)[number % 8]
    return ImageCase(bytes(data), "either")


def _exif_block(random: np.random.Generator, number: int) -> bytes:
    """EXIF whose directories form rings, or whose values lie anywhere or are of any length."""
    big = bool(random.integers(2))
    order = ">" if big else "<"
    far = (0, 8, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFF0)[number % 5]
    entries = [
        (0x010E, 2, int(random.choice((20, 0x1000_0000, 0xFFFF_FFFF))), far),
        (0x8769, 4, 1, 8 if number % 2 else far),  # the directory of EXIF: this one itself
        (0x8825, 4, 1, 8),
        (0x014A, 4, int(random.choice((1, 2000, 0x4000_0000))), far),
        (int(random.integers(65_536)), int(random.integers(0, 20)), 3, far),
    ]
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "I", 8)
    body = struct.pack(order + "H", len(entries))
    body += b"".join(struct.pack(order + "HHII", *entry) for entry in sorted(entries))
    return b"Exif\0\0" + head + body + struct.pack(order + "I", 8)  # the next is the first one


def hostile_exif(random: np.random.Generator, number: int) -> ImageCase:
    data = _jpeg(random)
    block = _exif_block(random, number)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    return ImageCase(data[:2] + segment + data[2:], "accepted", decoded_pixels(data))


def upright_pixels(stored: Pixels, orientation: int) -> Pixels:
    """What EXIF's orientation makes of stored pixels, by NumPy."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    rows, columns = {
        1: (1, 1),
        2: (1, -1),
        3: (-1, -1),
        4: (-1, 1),
        5: (1, 1),
        6: (1, -1),
        7: (-1, -1),
        8: (-1, 1),
    }[orientation]
    return np.ascontiguousarray(turned[::rows, ::columns])


def orientations(random: np.random.Generator, number: int) -> ImageCase:
    """The orientations 1 to 8 in five formats."""
    orientation, stored = number % 8 + 1, photo(random)
    kind, options = (
        *(("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})),
        ("TIFF", {"compression": "tiff_lzw"}),
    )[number // 8 % 5]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **options)
    reference = decoded_pixels(encoded(stored, kind)) if kind == "JPEG" else stored
    return ImageCase(data, "accepted", upright_pixels(reference, orientation))


def trailing_bytes(random: np.random.Generator, number: int) -> ImageCase:
    """Bytes behind the end, among them a second image."""
    data = _jpeg(random)
    tails = (
        random.bytes(int(random.integers(1, 5000))).replace(b"\xff", b"\xfe"),
        _jpeg(random),
        b"<?php system($_GET['c']); ?>",
        bytes(4096),
        encoded(photo(random), "PNG"),
    )
    return ImageCase(data + tails[number % 5], "accepted", decoded_pixels(data))


JPEG_KINDS: dict[str, MakeCase] = {
    "JPEG truncated": truncated,
    "JPEG with flipped bits in its scans": flipped_entropy_bits,
    "JPEG with flipped bits in its headers": flipped_header_bits,
    "JPEG with a wrong size": wrong_size,
    "JPEG of many scans": many_scans,
    "JPEG of four colours": four_colours,
    "JPEG of a rare process": rare_processes,
    "JPEG with hostile EXIF": hostile_exif,
    "orientation": orientations,
    "JPEG with trailing bytes": trailing_bytes,
}
