"""Images are read pixel for pixel, whatever their mode, orientation and byte order."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_files import (
    BLUE,
    GREEN,
    RED,
    decoded_pixels,
    encoded,
    grey_tiff,
    quarters,
    refusal,
    zero_png,
)
from large_images import png, png_chunk
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import (
    ImageSize,
    decode,
    decode_with_size,
    image_size,
    read_file,
)
from sharpeye.images.formats import sniff


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
