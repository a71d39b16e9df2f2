"""PNG files that are damaged, unusual, or unpack to far more than they are; kinds 11 to 15."""

import struct
import zlib

import numpy as np
from PIL import Image

from battery.image_case import ImageCase, MakeCase, Pixels, photo
from image_files import encoded
from large_images import png, png_chunk

_BLOCK = 2**20
# x0, y0, step of columns and step of lines of the seven passes of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_PASSES = (*_PASSES, (0, 1, 1, 2))


def _packed_zeros(count: int) -> bytes:
    """zlib's stream of `count` zero bytes, made of copies of one compressed block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.compress(bytes(count % _BLOCK)) + packer.flush()
    checksum = count % 65_521 << 16 | 1
    return b"\x78\xda" + block * (count // _BLOCK) + last + struct.pack(">I", checksum)


def pixel_bomb(random: np.random.Generator, number: int) -> ImageCase:
    """100 kB to 2 MB that unpack to hundreds of megapixels."""
    width, height = (int(side) for side in random.integers(14_000, 32_000, 2))
    depth, color = ((1, 0), (8, 0), (8, 2), (8, 6))[number % 4]
    samples = {0: 1, 2: 3, 6: 4}[color]
    packed = _packed_zeros((1 + (width * samples * depth + 7) // 8) * height)
    return ImageCase(png(width, height, depth, color, packed), "refused", reason="megapixels")


def text_bomb(random: np.random.Generator, number: int) -> ImageCase:
    """Compressed texts and colour profiles that unpack to 1 to 50 MB; no pixel needs them."""
    packed = _packed_zeros(int(random.integers(1, 51)) * 1_000_000)
    chunks = (
        png_chunk(b"iCCP", b"profile\0\0" + packed),
        png_chunk(b"zTXt", b"Comment\0\0" + packed),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + packed),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + packed),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
    )
    pixels = photo(random)
    data = encoded(pixels, "PNG")
    # Before the pixels or behind them.
    at = 33 if number % 2 else len(data) - 12
    return ImageCase(data[:at] + chunks[number % 5] + data[at:], "accepted", pixels)


def _chunk_at(data: bytes, kind: bytes) -> tuple[int, int]:
    """Start and end of the first chunk of a kind."""
    start = data.index(kind) - 4
    return start, start + 12 + int.from_bytes(data[start : start + 4], "big")


def wrong_checksum(random: np.random.Generator, number: int) -> ImageCase:
    """Refused in the header. The pixels have a checksum of their own, and no pixel needs a text."""
    pixels = photo(random)
    plain = encoded(pixels, "PNG")
    text = png_chunk(b"tEXt", b"Comment\0" + random.bytes(20).replace(b"\0", b"."))
    data = bytearray(plain[:33] + text + plain[33:])
    kind = (b"IHDR", b"IDAT", b"tEXt", b"tEXt")[number % 4]
    _, end = _chunk_at(bytes(data), kind)
    data[end - 1 - int(random.integers(4))] ^= 1 << int(random.integers(8))
    if kind == b"IHDR":
        return ImageCase(bytes(data), "refused", reason="damaged PNG")
    return ImageCase(bytes(data), "accepted", pixels)


def _interlaced(bits: Pixels) -> bytes:
    """A PNG of one bit a sample in seven passes."""
    height, width = bits.shape
    lines = b""
    for left, top, across, down in _PASSES:
        for line in bits[top::down, left::across]:
            lines += b"\0" + np.packbits(line).tobytes() if line.size else b""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def unusual_samples(random: np.random.Generator, number: int) -> ImageCase:
    """16 bits a sample, palettes with transparency, one bit in seven passes."""
    pixels = photo(random)
    if number % 4 == 0:
        grey = pixels[..., 0]
        wide = grey.astype(np.uint16) << 8 | random.integers(0, 256, grey.shape).astype(np.uint16)
        return ImageCase(encoded(wide, "PNG"), "accepted", np.dstack([grey] * 3))
    if number % 4 == 1:
        bits = (pixels[..., 0] > 127).astype(np.uint8)
        return ImageCase(_interlaced(bits), "accepted", np.dstack([bits * 255] * 3))
    if number % 4 == 2:
        palette = Image.fromarray(pixels).quantize(16)
        clear = int(random.integers(16))
        data = encoded(palette, "PNG", transparency=clear)
        expected = np.asarray(palette.convert("RGB")).copy()
        expected[np.asarray(palette) == clear] = 255
        return ImageCase(data, "accepted", expected)
    samples = (pixels.astype(">u2") << 8) | random.integers(0, 256, pixels.shape).astype(">u2")
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    height, width = pixels.shape[:2]
    return ImageCase(png(width, height, 16, 2, zlib.compress(lines)), "accepted", pixels)


def truncated_pixels(random: np.random.Generator, number: int) -> ImageCase:
    """Cut within the pixels; or whole, with a stream that ends too early or says so."""
    pixels = photo(random)
    data = encoded(pixels, "PNG")
    start, end = _chunk_at(data, b"IDAT")
    if number % 2:
        length = int(random.integers(start + 12, end - 8))
        return ImageCase(data[:length], "refused", reason="PNG")
    packed = data[start + 8 : end - 4]
    packed = packed[: int(random.integers(2, len(packed) - 6))]
    again = data[:start] + png_chunk(b"IDAT", packed) + data[end:]
    return ImageCase(again, "refused", reason="PNG")


PNG_KINDS: dict[str, MakeCase] = {
    "PNG that unpacks to too many pixels": pixel_bomb,
    "PNG with a text that unpacks to megabytes": text_bomb,
    "PNG with a wrong checksum": wrong_checksum,
    "PNG with unusual samples": unusual_samples,
    "PNG with truncated pixels": truncated_pixels,
}
