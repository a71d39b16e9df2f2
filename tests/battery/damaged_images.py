"""Image files of 25 kinds: damaged, hostile, unusual, or no images at all.

`make_cases(seed, per_kind)` makes the same files for the same seed, each by its kind and number.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, features

from battery.damaged_jpegs import JPEG_KINDS
from battery.damaged_pngs import PNG_KINDS
from battery.image_case import ImageCase, MakeCase, flip_bits, photo
from image_files import decoded_pixels, encoded, grey_tiff

SUFFIXES = (".jpg", ".png", ".webp", ".gif", ".bmp", ".tif")


def frames(random: np.random.Generator, number: int) -> ImageCase:
    """GIF and WebP of 1,001 to 10,000 frames, and of none."""
    images = [Image.fromarray(photo(random)).resize((8, 8)) for _ in range(2)]
    kind = ("GIF", "WEBP")[number % 2]
    data = encoded(images[0], kind, save_all=True, append_images=images[1:], duration=100)
    count = 0 if number % 5 == 4 else int(np.geomspace(1001, 10_000, 40)[number % 40])
    mark = b"\x21\xf9\x04" if kind == "GIF" else b"ANMF"
    first, last = data.index(mark), data.rindex(mark)
    end = data.index(b"\x3b", len(data) - 1) if kind == "GIF" else len(data)
    data = data[:first] + data[last:end] * count + data[end:]
    if kind == "WEBP":
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return ImageCase(data, "refused", reason="frames" if count else kind)


def bitmaps(random: np.random.Generator, number: int) -> ImageCase:
    """BMP with wrong lengths, with lines from top to bottom, and a TGA, which has no signature."""
    pixels = photo(random)
    data = bytearray(encoded(pixels, "BMP"))
    if number % 4 == 0:  # A negative height: the first line is the uppermost one.
        data[22:26] = struct.pack("<i", -pixels.shape[0])
        return ImageCase(bytes(data), "accepted", pixels[::-1])
    if number % 4 == 1:
        wrong = int(random.choice((0, 1, 14, 0x7FFF_FFFF, 0xFFFF_FFFF)))
        at = int(random.choice((2, 10, 34)))  # of the file, of the header, of the pixels
        data[at : at + 4] = struct.pack("<I", wrong)
        return ImageCase(bytes(data), "either")
    if number % 4 == 2:
        at = (18, 22, 28, 30)[number // 4 % 4]  # width, height, bits, compression
        data[at : at + 4] = struct.pack("<I", int(random.integers(2**32)))
        return ImageCase(bytes(data), "either")
    tga = bytearray(encoded(pixels, "TGA"))
    tga[12:16] = struct.pack("<HH", *(int(side) for side in random.integers(0, 65_536, 2)))
    return ImageCase(bytes(tga), "refused", reason="not an image that SharpEye reads")


def tiff_rings(random: np.random.Generator, number: int) -> ImageCase:
    """Directories that form a ring, or lead behind the end; tags without end."""
    pixels = photo(random)
    data = bytearray(encoded(pixels, "TIFF"))
    first = int.from_bytes(data[4:8], "little")
    tags = int.from_bytes(data[first : first + 2], "little")
    link = first + 2 + 12 * tags
    if number % 4 == 3:
        data[first : first + 2] = struct.pack("<H", int(random.integers(501, 65_536)))
        return ImageCase(bytes(data), "refused", reason="TIFF")
    target = (first, 4, 0xFFFF_FFF0)[number % 4]
    data[link : link + 4] = struct.pack("<I", target)
    # What lies at offset 4 may have the length of a directory that is refused.
    return ImageCase(bytes(data), "either" if target == 4 else "accepted", pixels)


_BODY = b"0 0 9 9 " * 40
_OTHER_IMAGES = {
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\xff\xff\0\0\xff\xff\0\x08\0\3" + _BODY,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n"
    b"(canary) (w) file closefile\nshowpage\n%%EOF\n" + _BODY,
    "PDF": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n" + _BODY,
    "SVG": b'<?xml version="1.0"?>\n<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'
    b'<svg xmlns="http://www.w3.org/2000/svg"><text>&a;</text></svg>' + _BODY,
    "FITS": b"SIMPLE  =                    T" + b" " * 50 + b"NAXIS1  = 99999999" + _BODY,
    "icon": b"icns\xff\xff\xff\xff" + _BODY,
}


def other_images(random: np.random.Generator, number: int) -> ImageCase:
    """Formats that programs or old decoders open, renamed to .jpg; none is opened."""
    name = list(_OTHER_IMAGES)[number % len(_OTHER_IMAGES)]
    data = _OTHER_IMAGES[name] + random.bytes(int(random.integers(1, 500)))
    # A document type with an internal subset stands before the SVG element.
    reason = "not an image" if name == "SVG" else name
    return ImageCase(data, "refused", reason=reason)


class _Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('canary', 'w')",)


def other_files(random: np.random.Generator, number: int) -> ImageCase:
    """A web page, JSON, an archive, a pickle that runs code, a program."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("1.jpg", encoded(photo(random), "JPEG"))
    files = {
        "HTML": b"<!DOCTYPE html><html><body>404 <img src=x onerror=alert(1)></body></html>",
        "JSON": json.dumps({"error": "not found", "number": number}).encode(),
        "ZIP": archive.getvalue(),
        "pickle": pickle.dumps(_Canary()),
        "a program": b"\x7fELF\2\1\1" + random.bytes(500),
    }
    reason = list(files)[number % len(files)]
    return ImageCase(files[reason], "refused", reason=reason)


def other_suffix(random: np.random.Generator, number: int) -> ImageCase:
    """A PNG, GIF, WebP, BMP or TIFF that is called .jpg is read as what it is."""
    pixels = photo(random)
    kind = ("PNG", "GIF", "WEBP", "BMP", "TIFF")[number % 5]
    if kind == "GIF":
        palette = Image.fromarray(pixels).quantize(32)
        return ImageCase(encoded(palette, kind), "accepted", np.asarray(palette.convert("RGB")))
    options = {"lossless": True} if kind == "WEBP" else {}
    return ImageCase(encoded(pixels, kind, **options), "accepted", pixels)


def nearly_empty(random: np.random.Generator, number: int) -> ImageCase:
    if number % 4 == 0:
        return ImageCase(b"", "refused", reason="empty (0 bytes)")
    if number % 4 == 1:
        return ImageCase(random.bytes(1), "refused", reason="not an image")
    if number % 4 == 2:
        return ImageCase(bytes(4096 * (1 + number // 4)), "refused", reason="zero bytes")
    heads = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBP", b"II*\0", b"P6 1 ")
    return ImageCase(heads[number // 4 % 6], "refused")


def extreme_sizes(random: np.random.Generator, number: int) -> ImageCase:
    """One pixel, and one line or column of up to 20,000."""
    length = 20_000 - int(random.integers(5))
    width, height = ((1, 1), (1, length), (length, 1))[number % 3]
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    kind, options = (
        *(("PNG", {}), ("JPEG", {"quality": 90}), ("BMP", {}), ("TIFF", {})),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    )[number % 5]
    data = encoded(pixels, kind, **options)
    return ImageCase(data, "accepted", None if kind == "JPEG" else pixels)


def modern_formats(random: np.random.Generator, number: int) -> ImageCase:
    """HEIC, AVIF and JPEG 2000: read, or refused with what is missing; and damaged. JPEG XL."""
    image = Image.fromarray(photo(random))
    kind = ("AVIF", "HEIF", "JPEG2000", "JPEG XL")[number % 4]
    if kind == "JPEG XL":
        head = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")[number // 4 % 2]
        return ImageCase(head + random.bytes(300), "refused", reason="JPEG XL")
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF" and not features.check("avif"):
        data = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1" + random.bytes(300)
        return ImageCase(data, "refused", reason="cannot read AVIF")
    data = encoded(image, kind)
    if number // 4 % 2 == 0:
        return ImageCase(data, "accepted", decoded_pixels(data))
    if number // 8 % 2 == 0:
        return ImageCase(data[: int(random.integers(32, len(data)))], "either")
    return ImageCase(flip_bits(data, random, 12, len(data), 4), "either")


def float_samples(random: np.random.Generator, number: int) -> ImageCase:
    """Samples that are no numbers, or no bound on them is known."""
    values = random.normal(0, 1, 30).astype("<f4")
    values[int(random.integers(30))] = (np.nan, np.inf, -np.inf, 3.4e38)[number % 4]
    data = grey_tiff(32, 3, values.tobytes(), 30)
    return ImageCase(data, "refused", reason="32-bit samples")


KINDS: dict[str, MakeCase] = {
    **JPEG_KINDS,
    **PNG_KINDS,
    "frames by the thousand, or none": frames,
    "bitmap with wrong lengths": bitmaps,
    "TIFF whose directories form a ring": tiff_rings,
    "other image formats": other_images,
    "other files": other_files,
    "suffix of another format": other_suffix,
    "nearly empty": nearly_empty,
    "extreme sizes": extreme_sizes,
    "HEIC, AVIF, JPEG 2000, JPEG XL": modern_formats,
    "samples that are no numbers": float_samples,
}


def make_cases(seed: int, per_kind: int) -> Iterator[tuple[str, ImageCase]]:
    """(kind and number, file) of `per_kind` files of each kind."""
    for index, (kind, make) in enumerate(KINDS.items()):
        for number in range(per_kind):
            yield f"{kind} {number}", make(np.random.default_rng((seed, index, number)), number)


def make_neighbors(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(suffix, bytes) of ordinary images, in six formats."""
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        pixels = photo(np.random.default_rng((seed, 1000, number)))
        yield suffix, encoded(pixels, kinds.get(suffix, suffix[1:].upper()))
