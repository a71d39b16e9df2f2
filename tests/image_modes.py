"""Image files of all modes that decoders know, and of many sizes."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Encode = Callable[[Image.Image, np.random.Generator], bytes]

# Width and height at the limits: one pixel, or thinner than a pixel of the model's input.
EXTREME_SIZES = ((1, 1), (2000, 3), (3, 2000), (1, 700), (2, 2), (640, 480), (64, 64), (65, 63))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _rotated(kind: str, orientation: int) -> Encode:
    def encode(image: Image.Image, _: np.random.Generator) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return _saved(image, kind, exif=exif)

    return encode


def _jpeg(mode: str = "RGB", **options: object) -> Encode:
    return lambda image, _: _saved(image.convert(mode), "JPEG", **options)


def _plain(kind: str, mode: str = "RGB", **options: object) -> Encode:
    return lambda image, _: _saved(image.convert(mode), kind, **options)


def _16_bit(kind: str, order: str = "<") -> Encode:
    def encode(image: Image.Image, random: np.random.Generator) -> bytes:
        grey = np.asarray(image.convert("L")).astype(np.uint16) << 8
        grey |= random.integers(0, 256, grey.shape, dtype=np.uint16)
        wide = Image.fromarray(grey)
        return _saved(wide.convert("I;16B") if order == ">" else wide, kind)

    return encode


def _with_alpha(kind: str, mode: str = "RGBA", **options: object) -> Encode:
    """With an alpha channel of all levels."""

    def encode(image: Image.Image, random: np.random.Generator) -> bytes:
        coarse = random.integers(0, 256, (3, 4), dtype=np.uint8)
        image = image.convert(mode)
        image.putalpha(Image.fromarray(coarse).resize(image.size, Image.Resampling.BILINEAR))
        return _saved(image, kind, **options)

    return encode


def _palette(kind: str, *, transparent: bool | bytes = False) -> Encode:
    def encode(image: Image.Image, _: np.random.Generator) -> bytes:
        indexed = image.quantize(32)
        if transparent is False:
            return _saved(indexed, kind)
        return _saved(indexed, kind, transparency=3 if transparent is True else transparent)

    return encode


def _transparent_colour(mode: str) -> Encode:
    """Without a palette, the first pixel's colour is transparent."""

    def encode(image: Image.Image, _: np.random.Generator) -> bytes:
        image = image.convert("L").quantize(8).convert(mode)
        return _saved(image, "PNG", transparency=image.getpixel((0, 0)))

    return encode


def _animated(kind: str, mode: str = "RGB", **options: object) -> Encode:
    """Three frames; the second and the third are plain."""

    def encode(image: Image.Image, random: np.random.Generator) -> bytes:
        first = image.convert(mode)
        if mode == "RGBA":
            first.putalpha(first.getchannel("R").point(lambda level: 255 if level > 60 else 0))
        rest = [Image.new(mode, image.size, tuple(random.integers(0, 256, 3))) for _ in "12"]
        return _saved(first, kind, save_all=True, append_images=rest, **options)

    return encode


# Encoders by name; the name's suffix is the file's.
MODES: dict[str, Encode] = {
    "camera.jpg": _jpeg(quality=90),
    "progressive.jpg": _jpeg(quality=85, progressive=True),
    "full_colour.jpg": _jpeg(quality=95, subsampling=0),
    "poor.jpg": _jpeg(quality=30),
    "grey.jpg": _jpeg("L"),
    "cmyk.jpg": _jpeg("CMYK"),
    **{f"turned{n}.jpg": _rotated("JPEG", n) for n in range(2, 9)},
    "turned6.png": _rotated("PNG", 6),
    "turned8.webp": _rotated("WEBP", 8),
    "turned6.tif": _rotated("TIFF", 6),
    "two_pictures.jpg": _animated("MPO"),
    "rgb.png": _plain("PNG"),
    "grey.png": _plain("PNG", "L"),
    "one_bit.png": _plain("PNG", "1"),
    "sixteen.png": _16_bit("PNG"),
    "sixteen.tif": _16_bit("TIFF"),
    "sixteen_big_endian.tif": _16_bit("TIFF", ">"),
    "rgba.png": _with_alpha("PNG"),
    "grey_alpha.png": _with_alpha("PNG", "LA"),
    "palette.png": _palette("PNG"),
    "palette_clear.png": _palette("PNG", transparent=True),
    "palette_veiled.png": _palette("PNG", transparent=bytes(range(0, 256, 8))),
    "clear_colour.png": _transparent_colour("RGB"),
    "clear_grey.png": _transparent_colour("L"),
    "moving.png": _animated("PNG"),
    "palette.gif": _palette("GIF"),
    "clear.gif": _palette("GIF", transparent=True),
    "moving.gif": _animated("GIF"),
    "moving_clear.gif": _animated("GIF", "RGBA", disposal=2),
    "lossy.webp": _plain("WEBP", quality=80),
    "lossless.webp": _plain("WEBP", lossless=True),
    "rgba.webp": _with_alpha("WEBP", lossless=True),
    "moving.webp": _animated("WEBP", lossless=True),
    "rgb.bmp": _plain("BMP"),
    "palette.bmp": _palette("BMP"),
    "lzw.tif": _plain("TIFF", compression="tiff_lzw"),
    "cmyk.tif": _plain("TIFF", "CMYK"),
    "rgba.tif": _with_alpha("TIFF"),
    "one_bit.tif": _plain("TIFF", "1"),
}


def sizes(count: int, max_side: int, seed: int = 0) -> Iterator[tuple[int, int]]:
    """Width and height: first the extreme ones, then random ones of 8 to `max_side` pixels, with
    an aspect ratio up to 4.
    """
    random = np.random.default_rng(seed)
    yield from EXTREME_SIZES[:count]
    for _ in range(count - len(EXTREME_SIZES)):
        side = np.exp(random.uniform(np.log(8), np.log(max_side)))
        ratio = np.exp(random.uniform(-np.log(4), np.log(4)) * random.uniform() ** 2)
        width, height = side * min(1, ratio), side * min(1, 1 / ratio)
        yield max(1, round(width)), max(1, round(height))


def write_modes(
    images: Sequence[Image.Image], folder: Path, count: int, max_side: int, seed: int = 0
) -> list[Path]:
    """Write images in all modes and many sizes; the same files for the same arguments.

    Args:
        images: mode RGB; used in turn, and resized.
        count: number of files; with as many as there are `MODES`, each mode comes once.
        max_side: longest side, pixels.

    Returns:
        The files, named NUMBER-MODE.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    # In steps of 7, so that extreme sizes meet other modes in each round.
    names, files = list(MODES), []
    for number, size in enumerate(sizes(count, max_side, seed)):
        image = images[number % len(images)].resize(size, Image.Resampling.LANCZOS)
        name = names[(number * 7) % len(names)]
        file = folder / f"{number:03d}-{name}"
        file.write_bytes(MODES[name](image, random))
        files.append(file)
    return files
