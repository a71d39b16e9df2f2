"""Image files of few bytes and many pixels, written without ever holding the pixels."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, packed: bytes, extra: bytes = b""
) -> bytes:
    """A PNG by hand. `packed`: compressed scan lines; `extra`: chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra
    return head + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def _packed_zeros(line_bytes: int, height: int) -> bytes:
    packer, line = zlib.compressobj(9), bytes(line_bytes)
    packed = b"".join(packer.compress(line * min(50, height - y)) for y in range(0, height, 50))
    return packed + packer.flush()


def blank_png(width: int, height: int, *, depth: int = 8, colour: int = 6) -> bytes:
    """All samples 0; colour 0 is grey, 2 RGB, 3 a palette, 4 grey with alpha, 6 RGBA."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packed = _packed_zeros(1 + (width * samples * depth + 7) // 8, height)
    palette = png_chunk(b"PLTE", bytes(6)) + png_chunk(b"tRNS", bytes(2))
    return png(width, height, depth, colour, packed, palette if colour == 3 else b"")


def blank_webp(width: int, height: int) -> bytes:
    """34 to 38 bytes: the codes of a lossless image of one colour do not depend on its size."""
    small = io.BytesIO()
    Image.new("RGBA", (16, 16), (10, 20, 30, 40)).save(small, "WEBP", lossless=True, exact=True)
    data = small.getvalue()
    fields = int.from_bytes(data[21:25], "little") >> 28 << 28 | (height - 1) << 14 | (width - 1)
    return data[:21] + fields.to_bytes(4, "little") + data[25:]


def blank_gif(width: int, height: int, *, transparent: bool = True) -> bytes:
    """One colour: each LZW code stands for one pixel more than the one before."""
    bits: list[str] = []

    def write(code: int, size: int) -> None:
        bits.append(f"{code:0{size}b}"[::-1])

    left, clear, end = width * height, 4, 5
    while left > 0:
        write(clear, 3)
        write(0, 3)
        left -= 1
        size, code, length = 3, 6, 2
        while left > 0 and code < 4095:
            take = min(length, left)
            write(code if take == length else (0 if take == 1 else 6 + take - 2), size)
            left -= take
            code, length = code + 1, length + 1
            if code == 1 << size and size < 12:
                size += 1
    write(end, 12)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    packed = int(text[::-1], 2).to_bytes(len(text) // 8, "little")
    blocks = b"".join(
        bytes([len(packed[at : at + 255])]) + packed[at : at + 255]
        for at in range(0, len(packed), 255)
    )
    control = b"\x21\xf9\x04" + bytes([transparent, 0, 0, 0, 0])
    screen = struct.pack("<HH", width, height) + b"\x80\0\0" + bytes([9, 9, 9, 200, 200, 200])
    image = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02"
    return b"GIF89a" + screen + control + image + blocks + b"\0\x3b"


def blank_tiff(width: int, height: int) -> bytes:
    """RGBA in one strip of deflate."""
    packed = _packed_zeros(width * 4, height)
    short = {256: width, 257: height, 258: 8, 259: 8, 262: 2, 277: 4, 278: height, 338: 2}
    entries = [(tag, 3, 1, value) for tag, value in short.items()]
    entries[2] = (258, 3, 4, 8 + len(packed))  # the bits of four samples stand behind the strip
    entries += [(273, 4, 1, 8), (279, 4, 1, len(packed))]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    bits = struct.pack("<4H", 8, 8, 8, 8)
    head = b"II*\0" + struct.pack("<I", 8 + len(packed) + len(bits))
    return head + packed + bits + struct.pack("<H", len(entries)) + directory + bytes(4)


def blank_bmp(width: int, height: int) -> bytes:
    """Run lengths of 255 pixels."""
    line = b"".join(bytes([min(255, width - x), 1]) for x in range(0, width, 255)) + b"\0\0"
    packed = line * height + b"\0\1"
    palette = bytes(v for level in range(256) for v in (level, 0, level, 0))
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(packed), 0, 0, 256, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", offset + len(packed), 0, 0, offset)
        + header
        + palette
        + (packed)
    )


def blank(kind: str, mode: str, width: int, height: int, **options: object) -> bytes:
    """One colour, written by Pillow."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, kind, **options)
    return buffer.getvalue()


LARGE: dict[str, Callable[[int, int], bytes]] = {
    "lossless.webp": blank_webp,
    "rgba.png": blank_png,
    "palette.png": lambda w, h: blank_png(w, h, colour=3),
    "grey_alpha.png": lambda w, h: blank_png(w, h, colour=4),
    "sixteen.png": lambda w, h: blank_png(w, h, depth=16, colour=0),
    "clear.gif": blank_gif,
    "rgba.tif": blank_tiff,
    "run_length.bmp": blank_bmp,
    "progressive.jpg": lambda w, h: blank("JPEG", "RGB", w, h, progressive=True, subsampling=0),
    "cmyk.jpg": lambda w, h: blank("JPEG", "CMYK", w, h),
    "grey.pgm": lambda w, h: blank("PPM", "L", w, h),
    "wide.pgm": lambda w, h: f"P5 {w} {h} 65535\n".encode() + bytes(2 * w * h),
    "tile.jp2": lambda w, h: blank("JPEG2000", "RGB", w, h),
    "alpha.avif": lambda w, h: blank("AVIF", "RGBA", w, h, speed=10),
    "lossy.webp": lambda w, h: blank("WEBP", "RGB", w, h, method=0),
}
