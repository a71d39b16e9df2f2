"""The peak memory of a decode, estimated from the header.

The file's bytes and everything up to the finished RGB image count: the decoder's buffers, Pillow's
image (4 bytes a pixel in every mode of several channels), the copy that is turned upright and the
RGB image. The constants were measured with Pillow 13 as peak resident memory of a process
(`tests/images/test_decode_memory.py` repeats it for every format and mode).
"""

import re
from typing import Any

from PIL import Image

from sharpeye.images.formats import AVIF, BMP, HEIC, JPEG, JPEG2000, PNG, PNM, TIFF, WEBP
from sharpeye.images.jpeg2000_header import read_codestream_header
from sharpeye.images.jpeg_markers import read_frame
from sharpeye.images.orientation import (
    LARGE_PIXELS,
    ORIENTATION,
    count_orientation_marks,
    orientation_of,
)

# What each decode costs beside pixels: tables, lines, the 64 kB blocks in which Pillow reads.
_FIXED = 1_000_000
_STRIP = 3_000_000  # a strip of `composite.over_white`
# WebP: the canvas of the frame and that of the frame before, the bytes object that Pillow gets of
# it, and Pillow's image. A lossless one needs as much while it is decoded.
_WEBP_BYTES = 16.5
# Palette entries, run lengths and plain numbers are decoded in Python: a growing bytearray with an
# eighth to spare, and its copy.
_PYTHON_COPIES = 2.2
_PLAIN_BLOCK = 32_000_000  # PNM's plain numbers: the tokens of a block of 1 MB as Python objects


def estimate_bytes(image: Image.Image, data: bytes, format_: str, *, to_rgb: bool = True) -> int:
    """Peak bytes of decoding an image that is opened, but not loaded.

    Args:
        to_rgb: it becomes RGB; otherwise it keeps its mode.
    """
    pixels = image.width * image.height
    stored = pixel_bytes(image.mode)
    buffers = _DECODER_BUFFERS.get(format_, _no_buffers)
    decoding = stored * pixels + buffers(image, data)
    strip = _STRIP if has_transparency(image) else 0
    later = max(_turned(image, data, format_), _converted(image) if to_rgb else 0.0) * pixels
    return int(len(data) + _FIXED + max(decoding, later + strip))


def has_transparency(image: Image.Image) -> bool:
    """Whether the header says that pixels may be transparent."""
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def pixel_bytes(mode: str) -> int:
    """Bytes of a pixel in Pillow's memory."""
    if mode in ("1", "L", "P"):
        return 1
    return 2 if mode.startswith("I;16") else 4


def _turned(image: Image.Image, data: bytes, format_: str) -> float:
    """Bytes a pixel while the decoded image is turned upright."""
    if not _may_be_turned(image, data, format_):
        return 0.0
    large = image.mode == "RGB" and image.width * image.height >= LARGE_PIXELS
    # Pillow itself turns a TIFF.
    return 7.0 if large and format_ != TIFF else 2.0 * pixel_bytes(image.mode)


def _may_be_turned(image: Image.Image, data: bytes, format_: str) -> bool:
    """Whether the image has an orientation but 1, as far as this is known before it is decoded."""
    if format_ == PNG and (count_orientation_marks(data) != 1 or "exif" not in image.info):
        # A mark may follow the pixels, and Pillow would decode them to read it.
        return count_orientation_marks(data) > 0
    if format_ == TIFF:
        tag = getattr(image, "tag_v2", {}).get(ORIENTATION)
        return tag in range(2, 9) or (tag is None and b"Orientation" in data)  # the latter of XMP
    return orientation_of(image) != 1


def _converted(image: Image.Image) -> float:
    """Bytes a pixel while the upright image becomes RGB."""
    stored = pixel_bytes(image.mode)
    if image.mode.startswith("I") or image.mode == "F":
        return stored + _WIDE_BYTES[stored]
    return stored if image.mode == "RGB" and not has_transparency(image) else stored + 4.0


# 16 or 32 bits a sample become uint16, then uint8, then an image: see `color.to_rgb`.
_WIDE_BYTES = {2: 7.0, 4: 9.0}


def _webp(image: Image.Image, data: bytes) -> float:
    return (_WEBP_BYTES - pixel_bytes(image.mode)) * image.width * image.height + len(data)


def _no_buffers(image: Image.Image, data: bytes) -> float:
    return 0.0


def _jpeg(image: Image.Image, data: bytes) -> float:
    """libjpeg keeps all coefficients, 2 bytes each, if they come in several scans."""
    frame = read_frame(data)
    if frame is None or not frame.buffered:
        return 0.0
    return 2.0 * frame.samples


def _avif(image: Image.Image, data: bytes) -> float:
    """The planes of the frame, their pixels, and the bytes object that Pillow gets of these."""
    bands = len(image.getbands())
    # The configuration of the codec. All that look like one count: other boxes hold anything.
    flags = [data[match.end() + 2] for match in re.finditer(rb"av1C(?=...)", data, re.DOTALL)]
    planes = max(_planes(bits, alpha=bands == 4) for bits in flags or [_UNKNOWN_PLANES])
    return (planes + bands + 2.2) * image.width * image.height


_UNKNOWN_PLANES = 0x40  # 10 bits, colour at full size


def _planes(flags: int, *, alpha: bool) -> float:
    """Bytes a pixel of the planes, by the third byte of AV1's configuration."""
    depth = 2 if flags & 0x40 else 1
    chroma = 0.0 if flags & 0x10 else 2.0 / ((1 + bool(flags & 8)) * (1 + bool(flags & 4)))
    return depth * (1 + chroma + alpha)


def _heic(image: Image.Image, data: bytes) -> float:
    """The planes and references of the decoder, the interleaved pixels and Pillow's copy."""
    return 6.0 * image.width * image.height + len(data)


def _jpeg2000(image: Image.Image, data: bytes) -> float:
    """Tile by tile: each component as int32, and as packed samples of 1, 2 or 4 bytes."""
    header = read_codestream_header(data)
    if header is None:
        return 25.0 * image.width * image.height
    packed = 1 if header.bits <= 8 else 2 if header.bits <= 16 else 4
    tile = header.tile[0] * header.tile[1]
    return float(tile * min(header.components, 16) * (4.2 + packed) + len(data))


def _bmp(image: Image.Image, data: bytes) -> float:
    run_length = image.tile and image.tile[0][0] == "bmp_rle"  # type: ignore[attr-defined]
    return _PYTHON_COPIES * image.width * image.height if run_length else 0.0


def _pnm(image: Image.Image, data: bytes) -> float:
    codec = image.tile[0][0] if image.tile else ""  # type: ignore[attr-defined]
    samples = image.width * image.height * (4 if image.mode == "I" else len(image.getbands()))
    if codec == "raw":
        return 0.0
    if codec == "ppm":
        return _PYTHON_COPIES * samples
    # A plain bitmap is joined block by block, in three copies.
    return (3.0 if image.mode == "1" else _PYTHON_COPIES) * samples + _PLAIN_BLOCK


# CCITT, LZW, deflate and PackBits write into the buffer of the strip.
_PLAIN_COMPRESSIONS = (2, 3, 4, 5, 8, 32773, 32946)


def _tiff(image: Image.Image, data: bytes) -> float:
    """A strip or a tile, decoded and, for compressions that decode images, once more."""
    tags: Any = getattr(image, "tag_v2", {})
    width, height = image.width, image.height
    strip: int
    tile_width, tile_height = tags.get(322), tags.get(323)
    if isinstance(tile_width, int) and isinstance(tile_height, int):
        strip = tile_width * tile_height
    else:
        rows = tags.get(278, height)
        strip = width * (min(rows, height) if isinstance(rows, int) else height)
    compression = tags.get(259, 1)
    if compression == 1:
        parts = 2 * strip < width * height
        return 2.0 * float(strip) * pixel_bytes(image.mode) if parts else 0.0
    bits = tags.get(258, (8,))
    depth = sum(b for b in bits if isinstance(b, int)) if isinstance(bits, tuple) else 8
    sample_bytes = max(depth / 8, 4.0 if tags.get(262) == 6 else 0.0)
    copies = 1.0 if compression in _PLAIN_COMPRESSIONS else 2.0
    return copies * max(sample_bytes, 1.0) * float(strip)


_DECODER_BUFFERS = {
    AVIF: _avif,
    BMP: _bmp,
    HEIC: _heic,
    JPEG: _jpeg,
    JPEG2000: _jpeg2000,
    PNM: _pnm,
    TIFF: _tiff,
    WEBP: _webp,
}
