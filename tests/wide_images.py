"""Files of 10 to 16 bits a sample, as cameras and scanners write them."""

import struct
import zlib

import numpy as np


def png(samples: np.ndarray) -> bytes:
    """A PNG of 16 bits from uint16[H,W], [H,W,3] or [H,W,4]."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    color_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">2I5B", width, height, 16, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff(
    samples: np.ndarray,
    order: str = "<",
    *,
    bits: int = 16,
    sample_format: int = 1,
    compressed: bool = False,
    orientation: int = 1,
) -> bytes:
    """A TIFF with one strip, little-endian or big-endian (`>`).

    Args:
        samples: [H,W], [H,W,3] or [H,W,4].
        bits: 12 packs two grey samples in three bytes; 16 and 32 store them whole.
        sample_format: 1 unsigned, 2 signed, 3 floating point.
    """
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    if bits == 12:
        pairs = samples.reshape(-1, 2).astype(np.uint16)
        first, second = pairs[:, 0], pairs[:, 1]
        data = (
            np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
            .astype(np.uint8)
            .tobytes()
        )
    else:
        kind = {1: "u", 2: "i", 3: "f"}[sample_format]
        data = samples.astype(f"{order}{kind}{bits // 8}").tobytes()
    if compressed:
        data = zlib.compress(data)
    short = {
        256: width,
        257: height,
        258: bits,
        259: 8 if compressed else 1,
        262: 2 if channels > 1 else 1,
        274: orientation,
        277: channels,
        278: height,
        284: 1,
        339: sample_format,
    }
    if channels == 4:
        short[338] = 2
    long = {273: 8, 279: len(data)}
    tags = sorted(short.keys() | long.keys())
    directory = 8 + len(data)
    per_sample = {258, 339} if channels > 1 else set()
    extra = directory + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag in tags:
        if tag in per_sample:
            entries += struct.pack(order + "HHII", tag, 3, channels, extra + len(tail))
            tail += struct.pack(f"{order}{channels}H", *[short[tag]] * channels)
        elif tag in short:
            entries += struct.pack(order + "HHIHH", tag, 3, 1, short[tag], 0)
        else:
            entries += struct.pack(order + "HHII", tag, 4, 1, long[tag])
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "I", directory) + data
    return head + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + tail
