"""Small images, their files, and what the decoder says of them."""

import functools
import io
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from large_images import png
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode
from sharpeye.images.decode_limits import DecodeLimits

RED, GREEN, BLUE, YELLOW = (220, 20, 30), (20, 200, 40), (30, 40, 210), (230, 220, 30)


def quarters(height: int = 32, width: int = 48) -> np.ndarray:
    """uint8[H,W,3]: red, green above; blue, yellow below. No symmetry maps it onto itself."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, YELLOW
    return pixels


def encoded(photo: Any, kind: str, **options: Any) -> bytes:
    image = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded_pixels(data: bytes) -> np.ndarray:
    image = decode(data, "x")
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(data: bytes, limits: DecodeLimits | None = None) -> str:
    """Why `decode` refuses these bytes: one line, not the decoder's own words alone."""
    with pytest.raises(ImageReadError) as caught:
        decode(data, "photos/x.jpg", limits)
    error = caught.value
    assert error.path == "photos/x.jpg"
    assert str(error) == f"cannot read photos/x.jpg: {error.reason}"
    assert error.reason and "\n" not in error.reason and len(error.reason) < 250
    return error.reason


@functools.cache
def zero_png(width: int, height: int) -> bytes:
    """One bit a pixel, all zero, compressed without ever holding all of it."""
    packer, line = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(line * min(100, height - y)) for y in range(0, height, 100))
    return png(width, height, 1, 0, packed + packer.flush())


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail what hangs, instead of hanging with it."""

    def fail(*_: object) -> None:
        pytest.fail(f"took more than {seconds} s")

    if not hasattr(signal, "SIGALRM"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tiff(fields: dict[int, tuple[int, int]], pixels: bytes, big: bool = False) -> bytes:
    """A TIFF by hand: one strip at offset 8, the directory behind it.

    `fields`: (type, value) by tag.
    """
    order = ">" if big else "<"
    fields = fields | {273: (4, 8), 279: (4, len(pixels))}
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(order + "I", 8 + len(pixels))
    entries = b""
    for tag, (kind, value) in sorted(fields.items()):
        packed = struct.pack(order + ("H2x" if kind == 3 else "I"), value)
        entries += struct.pack(order + "HHI", tag, kind, 1) + packed
    return head + pixels + struct.pack(order + "H", len(fields)) + entries + bytes(4)


def grey_tiff(bits: int, sample_format: int, pixels: bytes, count: int, big: bool = False) -> bytes:
    fields = {256: count, 257: 1, 258: bits, 259: 1, 262: 1, 277: 1, 278: 1, 339: sample_format}
    return tiff({tag: (3, value) for tag, value in fields.items()}, pixels, big)
