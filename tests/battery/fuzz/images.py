"""Fuzz the image loader: the size from the header, and the pixels in all modes."""

import io

import numpy as np
from PIL import Image

from battery.fuzz.checked_target import check_message
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode_with_size, image_size
from sharpeye.images.decode_limits import MB, DecodeLimits

TOKENS = (
    *(b"JFIF\0", b"Exif\0\0", b"\xff\xd8\xff", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4"),
    *(b"\xff\xdd", b"\xff\xee", b"Adobe", b"ICC_PROFILE\0", b"\xff\xd9", b"IHDR", b"IDAT", b"PLTE"),
    *(b"tRNS", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"acTL", b"fdAT", b"IEND", b"GIF89a", b"RIFF"),
    *(b"WEBPVP8 ", b"VP8L", b"VP8X", b"ANMF", b"ALPH", b"BM", b"II*\0", b"MM\0*", b"P6\n", b"P3\n"),
    *(b"jP  \r\n\x87\n", b"ftypavif", b"ihdr", b"\x12\x01\x03\0\x01\0\0\0\x06"),
)
# Lower than the defaults, so that an input takes milliseconds.
_LIMITS = DecodeLimits(pixels=4_000_000, memory_bytes=100 * MB, scan_pixels=20_000_000, seconds=3)


def seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    alpha = image.convert("RGBA")
    alpha.putalpha(image.convert("L"))
    wide = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    animated = {"save_all": True, "append_images": [image.rotate(90)]}
    variants = (
        *((image, "JPEG", {"exif": exif}), (image, "JPEG", {"progressive": True})),
        *((image.convert("CMYK"), "JPEG", {}), (image.convert("L"), "JPEG", {})),
        *((image, "PNG", {"exif": exif}), (alpha, "PNG", {}), (wide, "PNG", {})),
        *((image.convert("P"), "PNG", {"transparency": 3}), (image.convert("1"), "PNG", {})),
        *((image, "PNG", {"save_all": True, "append_images": [image.rotate(180)]}),),
        *((image, "GIF", animated), (image, "WEBP", {}), (alpha, "WEBP", {"lossless": True})),
        *((image, "WEBP", animated), (image, "BMP", {}), (image, "TIFF", {"exif": exif})),
        *((image, "TIFF", {"compression": "tiff_lzw"}), (wide, "TIFF", {})),
        *((alpha, "TIFF", {"compression": "tiff_adobe_deflate"}), (image, "JPEG2000", {})),
        *(
            (image, "PPM", {}),
            (image.convert("1"), "PPM", {}),
            (image, "TGA", {}),
            (image, "AVIF", {}),
        ),
    )
    files = []
    for source, format_, options in variants:
        file = io.BytesIO()
        source.save(file, format_, **options)
        files.append(file.getvalue())
    return files


def one_input(data: bytes) -> None:
    size = None
    try:
        size = image_size(data, "x", _LIMITS)
    except ImageReadError as error:
        _check(error)
    # The last byte, which most formats do not need, chooses the options.
    choice = data[-1] if data else 0
    try:
        image, full_size = decode_with_size(
            data,
            "x",
            _LIMITS,
            display_size=(8, 8) if choice & 1 else None,
            bit_depth=12 if choice & 2 else 16,
            keep_grey=bool(choice & 4),
        )
    except ImageReadError as error:
        _check(error)
        return
    assert image.mode == "RGB" or (image.mode == "L" and choice & 4), image.mode
    assert size is None or size.upright == full_size, (size, full_size)
    assert 0 < image.width * image.height <= _LIMITS.pixels, image.size


def _check(error: ImageReadError) -> None:
    check_message(error)
    assert " object at 0x" not in error.reason, error.reason
