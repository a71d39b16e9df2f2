"""The decoder: images are read pixel for pixel, other files are refused with the reason."""

import functools
import io
import json
import os
import pickle
import random
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from sharpeye.core.types import InputSpec
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import (
    ImageSize,
    decode,
    decode_with_size,
    image_size,
    read_file,
)
from sharpeye.images.decode_limits import DecodeLimits
from sharpeye.images.formats import sniff
from sharpeye.images.resize import fit_image

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


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, packed: bytes, extra: bytes = b""
) -> bytes:
    """A PNG by hand. `packed`: compressed scan lines; `extra`: chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra
    return head + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


@functools.cache
def zero_png(width: int, height: int) -> bytes:
    """One bit a pixel, all zero, compressed without ever holding all of it."""
    packer, line = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(line * min(100, height - y)) for y in range(0, height, 100))
    return png(width, height, 1, 0, packed + packer.flush())


@pytest.fixture
def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formats of the images whose pixels Pillow was asked for, which takes time and memory."""
    formats: list[str] = []
    load = ImageFile.ImageFile.load

    def note(image: ImageFile.ImageFile) -> Any:
        formats.append(image.format or "")
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", note)
    return formats


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


# --- images that are read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "tolerance", "options"),
    [
        ("JPEG", 12, {"quality": 95, "subsampling": 0}),
        ("PNG", 0, {}),
        ("WEBP", 0, {"lossless": True}),
        ("GIF", 3, {}),
        ("BMP", 0, {}),
        ("TIFF", 0, {}),
        ("TIFF", 0, {"compression": "tiff_lzw"}),
    ],
)
def test_each_format_gives_its_pixels(kind: str, tolerance: int, options: dict[str, Any]) -> None:
    data = encoded(quarters(), kind, **options)
    assert sniff(data[:32]) == kind
    pixels = decoded_pixels(data)
    assert pixels.shape == (32, 48, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - quarters()).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_content_decides_not_the_suffix(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(encoded(quarters(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    pixels = decoded_pixels(read_file(file, "x.jpg"))
    assert np.abs(pixels.astype(int) - quarters()).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3  # the file is what the test is about
    assert np.abs(decoded_pixels(data).astype(int) - np.array(RED)).max() <= 3


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores an image, from the table of the EXIF standard: where row 0 and
    column 0 of what is stored lie in the upright image.
    """
    turned = upright.swapaxes(0, 1)
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = np.ascontiguousarray(stored(quarters(), orientation))
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"subsampling": 0}}[kind]
    pixels = decoded_pixels(encoded(image, kind, exif=exif, **options))
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels.astype(int) - quarters()).max() <= (0 if kind != "JPEG" else 25)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("note", ["exif", "xmp"])
def test_the_size_from_the_header_is_that_of_the_image(
    orientation: int, kind: str, note: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    xmp = f'<x xmlns:tiff="t" tiff:Orientation="{orientation}"/>'
    options: dict[str, Any] = {"exif": exif} if note == "exif" else {"xmp": xmp.encode()}
    if kind == "PNG" and note == "xmp":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp, zip=True)
        options = {"pnginfo": info}
    if kind == "TIFF" and note == "xmp":
        options = {"tiffinfo": {700: xmp.encode()}}
    data = encoded(quarters(), kind, **options)
    size = image_size(data, "x")
    assert size.upright == decode(data, "x").size
    assert size.stored == (48, 32)
    if note == "exif" and kind not in ("GIF", "BMP"):
        assert size.orientation == orientation


def test_the_size_of_a_png_needs_no_pixel() -> None:
    data = png(7_000, 8_000, 8, 2, b"no pixels")
    assert image_size(data, "x") == ImageSize((7_000, 8_000))


def test_the_size_of_what_is_no_image_or_too_large_is_refused(decoded_files: list[str]) -> None:
    for data, word in (
        (b"<html>", "web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (zero_png(30_000, 30_000), "megapixels"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged JPEG"),
    ):
        with pytest.raises(ImageReadError, match=word):
            image_size(data, "x")
    assert decoded_files == []


@pytest.mark.parametrize("kind", [2, 3])  # text, which it must not be, and a number
def test_an_orientation_that_does_not_exist_is_no_reason_to_refuse(kind: int) -> None:
    entry = struct.pack("<HHIHH", 0x0112, kind, 1, ord("9"), 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    assert (decoded_pixels(encoded(quarters(), "PNG", exif=exif)) == quarters()).all()
    jpeg = encoded(np.zeros((160, 240, 3), np.uint8), "JPEG", exif=exif)
    assert decode_with_size(jpeg, "x", display_size=(16, 16))[0].size[0] < 240


@pytest.mark.parametrize("exif", [b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"Exif\x00\x00garbage"])
def test_broken_exif_ends_in_an_image_or_a_refusal(exif: bytes) -> None:
    data = encoded(quarters(), "JPEG", exif=exif)
    try:
        assert decoded_pixels(data).shape == (32, 48, 3)
    except ImageReadError as error:
        assert error.reason.startswith("damaged JPEG")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_and_is_not_inverted(kind: str) -> None:
    data = encoded(Image.fromarray(quarters()).convert("CMYK"), kind)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
    if kind == "JPEG":
        assert b"Adobe" in data  # the marker that says: samples are stored inverted
    assert np.abs(decoded_pixels(data).astype(int) - quarters()).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
    pixels = decoded_pixels(encoded(ramp, kind))
    assert (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    assert np.abs(pixels[..., 0].astype(int) - ramp).max() <= (4 if kind == "JPEG" else 0)


def test_a_palette_becomes_its_colours() -> None:
    image = Image.fromarray(quarters()).quantize(16)
    assert image.mode == "P"
    assert np.abs(decoded_pixels(encoded(image, "PNG")).astype(int) - quarters()).max() <= 3


def test_a_palettes_transparent_colour_becomes_white() -> None:
    image = Image.new("P", (6, 4), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (3, 0, 6, 4))
    for kind in ("PNG", "GIF"):
        pixels = decoded_pixels(encoded(image, kind, transparency=1))
        assert (pixels[:, :3] == RED).all(), kind
        assert (pixels[:, 3:] == 255).all(), kind


def test_half_transparent_palette_entries_are_blended() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0])
    pixels = decoded_pixels(encoded(image, "PNG", transparency=bytes([128])))
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_one_bit_images_are_black_and_white() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 == 1
    pixels = decoded_pixels(encoded(Image.fromarray(checks), "PNG"))
    assert (pixels == np.where(checks, 255, 0)[..., None]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode: str) -> None:
    image = Image.new(mode, (3, 1), (0,) * len(mode))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (*(40,) * (len(mode) - 1), alpha))
    pixels = decoded_pixels(encoded(image, "PNG"))[0, :, 0].astype(int)
    assert np.abs(pixels - [255, 147, 40]).max() <= 1


@pytest.mark.parametrize(
    ("colour", "chunk", "shown"),
    [
        (0, struct.pack(">H", 40), [255, 255, 255]),
        (2, struct.pack(">HHH", 40, 40, 40), [255, 255, 255]),
    ],
)
def test_a_transparent_colour_without_a_palette_becomes_white(
    colour: int, chunk: bytes, shown: list[int]
) -> None:
    samples = 1 if colour == 0 else 3
    line = b"\0" + bytes([40] * samples + [90] * samples)
    data = png(2, 1, 8, colour, zlib.compress(line), png_chunk(b"tRNS", chunk))
    assert decoded_pixels(data)[0].tolist() == [shown, [90, 90, 90]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_upper_byte(kind: str) -> None:
    samples = np.array([[0, 0x00FF, 0x0100, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    pixels = decoded_pixels(encoded(samples, kind))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]
    assert (pixels[..., 0] == pixels[..., 2]).all()


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


@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bit_tiff_in_both_byte_orders(big: bool) -> None:
    pixels = np.array([0x0100, 0x8000, 0xFFFF], ">u2" if big else "<u2").tobytes()
    assert decoded_pixels(grey_tiff(16, 1, pixels, 3, big))[0, :, 0].tolist() == [1, 128, 255]


def test_sixteen_bit_colour_png_keeps_the_upper_byte() -> None:
    line = b"\0" + struct.pack(">6H", 0x8000, 0x00FF, 0xFFFF, 0x0100, 0x7FFF, 0)
    data = png(2, 1, 16, 2, zlib.compress(line))
    assert decoded_pixels(data)[0].tolist() == [[128, 0, 255], [1, 127, 0]]


def test_float_tiff_is_refused_with_the_reason() -> None:
    values = np.array([0.5, np.nan, np.inf], "<f4").tobytes()
    assert "32-bit samples" in refusal(grey_tiff(32, 3, values, 3))


def test_thirty_two_bit_tiff_is_refused_unless_its_range_is_sixteen_bits() -> None:
    wide = np.array([0, 1 << 20, 5], "<i4").tobytes()
    assert "32-bit samples" in refusal(grey_tiff(32, 2, wide, 3))
    narrow = np.array([0, 0x8000, 0xFFFF], "<i4").tobytes()
    assert decoded_pixels(grey_tiff(32, 2, narrow, 3))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_the_thinnest_images_are_read(size: tuple[int, int]) -> None:
    assert decode(zero_png(*size), "x").size == size


def test_bytes_behind_the_image_do_no_harm() -> None:
    data = encoded(quarters(), "JPEG")
    expected = decoded_pixels(data)
    assert (decoded_pixels(data + b"\0" * 999) == expected).all()
    assert (decoded_pixels(data + encoded(quarters()[::-1], "JPEG")) == expected).all()


# --- what is refused ---------------------------------------------------------------------------


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
OTHER_FILES = [
    (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    (b"\n  <HTML><head></head>", "HTML"),
    (EPS, "PostScript"),
    (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
    (b"%PDF-1.7\n1 0 obj", "PDF"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>', "SVG"),
    (b'<?xml version="1.0"?><annotation/>', "XML"),
    (b"8BPS\x00\x01" + bytes(40), "PSD"),
    (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
    (b"\x00\x00\x00\x18ftypavif" + bytes(40), "AVIF"),
    (b"\x00\x00\x00\x18ftypisom" + bytes(40), "video"),
    (b"RIFF\x10\x00\x00\x00AVI LIST", "video"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (zipped(), "ZIP"),
    (pickle.dumps({"a": 1}), "pickle"),
    (b"\x7fELF\x02\x01\x01" + bytes(40), "a program"),
    (json.dumps({"a": [1]}).encode(), "JSON"),
    (b"SIMPLE  =                    T", "FITS"),
    (b"icns\x00\x00\x00\x08", "icon"),
    (b"", "empty (0 bytes)"),
    (bytes(4096), "zero bytes"),
    (b"\x89", r"b'\x89'"),
    (b"hello, world", "b'hello, world'"),
]


@pytest.mark.parametrize(("data", "word"), OTHER_FILES, ids=[word for _, word in OTHER_FILES])
def test_a_file_that_is_no_image_is_named(data: bytes, word: str) -> None:
    assert sniff(data[:32]) is None
    assert word in refusal(data)


@pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")
def test_no_interpreter_starts_for_postscript(tmp_path: Path) -> None:
    canary, tools = tmp_path / "canary", tmp_path / "bin"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\necho started >> {canary}\n")
    (tools / "gs").chmod(0o755)
    (tmp_path / "x.jpg").write_bytes(EPS)
    run = "decode(Path('x.jpg').read_bytes(), 'x.jpg')"
    control = "Image.open('x.jpg').load()"
    before = "from pathlib import Path; from PIL import Image; Image.init();"
    before += "from sharpeye.images.decode import decode;"

    def try_it(action: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", before + action],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    assert "ImageReadError: cannot read x.jpg: not an image: it is PostScript" in try_it(run)
    assert not canary.exists()
    try_it(control)
    assert canary.exists()  # Pillow by itself would have started it


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images_are_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = encoded(noise, kind)
    for share in (0.3, 0.5, 0.9):
        assert refusal(data[: int(len(data) * share)]).startswith(f"damaged {kind}: ")


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encoded(quarters(), "PNG"))
    data[20] ^= 1  # in the header chunk
    assert refusal(bytes(data)).startswith("damaged PNG: ")


def test_a_bomb_is_refused_by_its_header(decoded_files: list[str]) -> None:
    bomb = zero_png(30_000, 30_000)
    assert len(bomb) < 2**20
    assert "900 megapixels are over the limit of 64" in refusal(bomb)
    assert "megapixels" in refusal(zero_png(20_000, 5_000))  # its sides are within the limit
    assert decoded_files == []
    decode(encoded(quarters(), "PNG"), "x")
    assert "PNG" in decoded_files  # so it would be noticed


def test_a_wrong_size_in_the_header_is_refused(decoded_files: list[str]) -> None:
    data = bytearray(encoded(quarters(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    assert len(data) < 2000
    refusal(bytes(data))
    data[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)  # within all limits, but not there
    assert "bytes are too few for 7000 x 7000 pixels" in refusal(bytes(data))
    assert decoded_files == []


@pytest.mark.parametrize("progressive", [False, True])
def test_the_emptiest_jpeg_is_read(progressive: bool) -> None:
    plain = np.full((4000, 4000), 128, np.uint8)
    data = encoded(plain, "JPEG", quality=1, optimize=True, progressive=progressive)
    assert decode_with_size(data, "x", display_size=(64, 64))[0].getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("size", [(20_001, 1), (1, 20_001)])
def test_a_side_over_the_limit_is_refused(size: tuple[int, int]) -> None:
    assert "a side is over the limit of 20,000" in refusal(zero_png(*size))


def test_the_limit_of_pixels_is_exact() -> None:
    assert "8001 x 8000 pixels are over the limit of 64 megapixels" in refusal(zero_png(8001, 8000))
    limits = DecodeLimits(pixels=32 * 48)
    assert decode(encoded(quarters(), "PNG"), "x", limits=limits).size == (48, 32)
    assert "megapixels" in refusal(encoded(quarters(), "PNG"), replace(limits, pixels=32 * 48 - 1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_too_many_frames_are_refused(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    options = {} if kind == "TIFF" else {"duration": 100}

    def animation(count: int) -> bytes:
        return encoded(frames[0], kind, save_all=True, append_images=frames[1:count], **options)

    assert decode(animation(3), "x", limits=DecodeLimits(frames=3)).size == (8, 8)
    assert refusal(animation(4), DecodeLimits(frames=3)) == "more than the limit of 3 frames"
    assert decode(animation(5), "x").size == (8, 8)


def test_a_tiff_whose_directories_form_a_ring_ends() -> None:
    data = bytearray(grey_tiff(8, 1, b"abc", 3))
    data[-4:] = data[4:8]  # the next directory is the first one
    with at_most(10):
        assert decoded_pixels(bytes(data)).shape == (1, 3, 3)


def test_too_many_scans_are_refused() -> None:
    data = encoded(quarters(), "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert scans > 3
    assert decode(data, "x", limits=DecodeLimits(jpeg_scans=scans)).size == (48, 32)
    assert f"{scans} scans" in refusal(data, DecodeLimits(jpeg_scans=scans - 1))
    assert f"{scans} scans" in refusal(data, DecodeLimits(scan_pixels=scans * 32 * 48 - 1))
    assert decode(encoded(quarters(), "JPEG"), "x", limits=DecodeLimits(jpeg_scans=0)).size == (
        48,
        32,
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_decoding_ends_when_its_time_is_up(kind: str) -> None:
    reason = refusal(encoded(quarters(), kind), DecodeLimits(seconds=0))
    assert reason == "decoding took more than 0 s"


# --- reading files -----------------------------------------------------------------------------


def read_refusal(file: Path) -> str:
    with at_most(5), pytest.raises(ImageReadError) as caught:
        read_file(file, "x.jpg")
    return caught.value.reason


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(encoded(quarters(), "PNG"))
    os.truncate(file, 64 * 2**20 + 1)
    assert "over the limit of 64 MiB" in read_refusal(file)
    os.truncate(file, 64 * 2**20)
    assert len(read_file(file, "x.png")) == 64 * 2**20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    assert read_refusal(tmp_path / "x.jpg").startswith("not a regular file")


def test_folders_devices_and_missing_files_are_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in read_refusal(tmp_path / "none.jpg")
    (tmp_path / "x.jpg").mkdir()
    read_refusal(tmp_path / "x.jpg")
    if stat.S_ISCHR(Path(os.devnull).stat().st_mode):
        assert read_refusal(Path(os.devnull)).startswith("not a regular file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(encoded(quarters(), "PNG"))
    file.chmod(0)
    assert read_refusal(file) == "cannot be opened: Permission denied"


# --- draft mode --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A smooth 4000 x 3000 JPEG."""
    small = np.random.default_rng(5).integers(0, 256, (9, 12, 3), np.uint8)
    large = Image.fromarray(small).resize((4000, 3000), Image.Resampling.BICUBIC)
    return encoded(large, "JPEG", quality=90)


def test_a_model_gets_every_pixel_of_a_large_jpeg(photo: bytes) -> None:
    """Whoever asks the model in another language has no draft mode."""
    with Image.open(io.BytesIO(photo)) as image:
        assert (decoded_pixels(photo) == np.asarray(image)).all()


def test_for_people_a_large_jpeg_is_decoded_smaller_but_large_enough(photo: bytes) -> None:
    small = decode_with_size(photo, "x", display_size=(224, 224))[0]
    assert 2 * 224 <= small.width < 2000
    gap = np.abs(np.asarray(small.resize((224, 168))).astype(int) - resized(photo, (224, 168)))
    assert gap.mean() < 1.0 and np.percentile(gap, 99) <= 6


def resized(data: bytes, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(decode(data, "x").resize(size))


def test_a_turned_jpeg_stays_twice_as_large_as_it_is_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (1600, 400)), "JPEG", exif=exif)  # upright: 400 x 1600
    image = decode_with_size(data, "x", display_size=(40, 160))[0]
    assert image.width < 400
    assert image.height >= 2 * 160 and image.width >= 2 * 40


def test_small_and_lossless_images_are_never_shrunk() -> None:
    jpeg, png = (encoded(np.zeros((300, 400), np.uint8), kind) for kind in ("JPEG", "PNG"))
    assert decode_with_size(jpeg, "x", display_size=(224, 224))[0].size == (400, 300)
    assert decode_with_size(png, "x", display_size=(40, 40))[0].size == (400, 300)


# --- many at once ------------------------------------------------------------------------------


def test_threads_leave_the_process_its_warning_filters() -> None:
    data = encoded(quarters(), "JPEG")
    before = list(warnings.filters)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            barrier = threading.Barrier(8)

            def work(_: int) -> None:
                barrier.wait()
                for _ in range(30):
                    decode(data, "x")

            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before


def test_warnings_of_pillow_are_not_passed_on() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([1, 2, 3])
    data = encoded(quarters(), "TIFF")
    torn = data[:-2] + b"\xff\xff"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for image_data in (data, torn, encoded(image, "PNG", transparency=bytes([7]))):
            try:
                decode(image_data, "x")
            except ImageReadError:
                continue
    assert not caught


def seeds() -> list[bytes]:
    noise = np.random.default_rng(2).integers(0, 256, (24, 20, 3), np.uint8)
    frames = [Image.fromarray(noise), Image.fromarray(noise[::-1].copy())]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return [
        encoded(noise, "JPEG", exif=exif),
        encoded(noise, "JPEG", progressive=True),
        encoded(frames[0].convert("CMYK"), "JPEG"),
        encoded(noise, "PNG", exif=exif),
        encoded(frames[0].quantize(8), "PNG", transparency=bytes([0, 99])),
        encoded((noise[..., 0].astype(np.uint16) << 8), "PNG"),
        encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        encoded(noise, "WEBP", lossless=True),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        encoded(noise, "BMP"),
        encoded(noise, "TIFF", compression="tiff_lzw"),
        encoded(noise, "TIFF", compression="tiff_adobe_deflate"),
        encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
    ]


def flip(data: bytearray, source: random.Random) -> None:
    for _ in range(source.choice((1, 3, 20))):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def cut(data: bytearray, source: random.Random) -> None:
    del data[source.randrange(len(data)) :]


def spoil_header(data: bytearray, source: random.Random) -> None:
    for _ in range(4):
        data[source.randrange(4, min(120, len(data)))] = source.choice((0, 1, 0x7F, 0x80, 0xFF))


def double(data: bytearray, source: random.Random) -> None:
    start = source.randrange(len(data))
    data[start:start] = data[start : start + source.randrange(1, 300)]


def test_mutated_files_end_in_an_image_or_a_refusal() -> None:
    mutations: tuple[Callable[[bytearray, random.Random], None], ...] = (
        flip,
        cut,
        spoil_header,
        double,
    )
    originals, spec = seeds(), InputSpec(16, 16)
    read = refused = 0
    total = 0.0
    for number in range(312):
        source = random.Random(number)
        data = bytearray(originals[number % len(originals)])
        mutations[number // len(originals) % len(mutations)](data, source)
        started = time.process_time()
        try:
            fit_image(decode(bytes(data), "x"), spec)
            read += 1
        except ImageReadError as error:
            assert error.reason and "\n" not in error.reason
            refused += 1
        took = time.process_time() - started
        total += took
        assert took < 2, number
    assert total < 20
    assert read > 30 and refused > 100  # the mutations are neither too mild nor too wild
