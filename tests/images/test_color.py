"""12- and 16-bit samples: one range of brightness for each file format, mode and byte order."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sharpeye.errors import ImageReadError
from sharpeye.images.bit_depth import is_wide_file, significant_bits
from sharpeye.images.decode import decode, decode_with_size
from sharpeye.images.image_source import source_to_image
from wide_images import png, tiff

RANDOM = np.random.default_rng(0)
SHAPE = (8, 10)


def samples(bits: int, channels: int = 1) -> np.ndarray:
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    values = RANDOM.integers(0, 2**bits, shape).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    return values


def pixels_of(data: bytes, bit_depth: int = 16) -> np.ndarray:
    return np.asarray(decode(data, "x", bit_depth=bit_depth))


def grey(values: np.ndarray) -> np.ndarray:
    return np.dstack([values] * 3)


FILES = {
    "png": png,
    "tiff": tiff,
    "big-endian tiff": lambda values: tiff(values, ">"),
    "compressed tiff": lambda values: tiff(values, compressed=True),
    "compressed big-endian tiff": lambda values: tiff(values, ">", compressed=True),
}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", FILES)
def test_the_upper_8_of_the_significant_bits_are_used(kind: str, channels: int, bits: int) -> None:
    values = samples(bits, channels)
    data = FILES[kind](values)
    expected = values >> (bits - 8)
    expected = grey(expected) if channels == 1 else expected
    assert is_wide_file(data)
    assert significant_bits(Image.open(io.BytesIO(data))) == bits
    assert (pixels_of(data, bits) == expected).all()
    # All doors of the file, and its array.
    image = Image.open(io.BytesIO(data))
    for source in (data, io.BytesIO(data), image, values):
        assert (np.asarray(source_to_image(source, bit_depth=bits)) == expected).all()
    # Larger samples than the range are white.
    upper = np.minimum(values.astype(int) >> 2, 255)
    upper = grey(upper) if channels == 1 else upper
    assert (pixels_of(data, 10) == upper).all()


def test_alpha_keeps_its_own_range() -> None:
    values = np.dstack([samples(12, 3), np.full(SHAPE, 0xFFFF, np.uint16)])
    for data in (png(values), tiff(values)):
        assert (pixels_of(data, 12) == values[..., :3] >> 4).all()
    values[..., 3] = 0
    assert (pixels_of(png(values), 12) == 255).all()


@pytest.mark.parametrize("bit_depth", [12, 14, 16])
def test_a_tiff_whose_header_says_12_bits_has_so_many(bit_depth: int) -> None:
    values = samples(12)
    data = tiff(values, bits=12)
    assert is_wide_file(data)
    assert (pixels_of(data, bit_depth) == grey(values >> 4)).all()
    image = Image.open(io.BytesIO(data))
    assert (np.asarray(source_to_image(image, bit_depth=bit_depth)) == grey(values >> 4)).all()


def test_signed_samples_have_15_bits_and_negative_ones_are_refused() -> None:
    values = samples(15).astype(np.int16)
    data = tiff(values, sample_format=2)
    assert (pixels_of(data) == grey(values >> 7)).all()
    assert (pixels_of(tiff(values >> 8, sample_format=2)) == 0).all()  # dark, not in doubt
    values[0, 0] = -1
    with pytest.raises(ImageReadError, match="32-bit samples have no agreed range"):
        pixels_of(tiff(values, sample_format=2))


@pytest.mark.parametrize("sample_format", [1, 2, 3])
def test_32_bits_are_read_where_they_are_whole_numbers_of_16(sample_format: int) -> None:
    values = samples(12)
    data = tiff(values, bits=32, sample_format=sample_format)
    assert significant_bits(Image.open(io.BytesIO(data))) == 12
    assert (pixels_of(data, 12) == grey(values >> 4)).all()
    refused = {"no agreed range": values.astype(np.int64) * 100, "may be of 8 bits": values >> 4}
    if sample_format == 3:
        refused["32-bit samples have"] = values / 4095
    for words, changed in refused.items():
        with pytest.raises(ImageReadError, match=words):
            pixels_of(tiff(changed, bits=32, sample_format=sample_format))


def test_hot_pixels_do_not_count_and_larger_areas_do() -> None:
    values = RANDOM.integers(0, 2**12, (200, 200)).astype(np.uint16)
    values[0, 0] = 0xFFFF
    for data in (png(values), png(np.dstack([values] * 3))):
        assert significant_bits(Image.open(io.BytesIO(data))) == 12
    values[0, :20] = 0xFFFF
    assert significant_bits(Image.open(io.BytesIO(png(values)))) == 16


def test_images_of_8_bits_are_the_same_whatever_the_bit_depth() -> None:
    photo = Image.fromarray(RANDOM.integers(0, 256, (8, 10, 3), dtype=np.uint8))
    for mode, kind in (("RGB", "PNG"), ("L", "PNG"), ("RGB", "TIFF"), ("RGB", "JPEG")):
        stream = io.BytesIO()
        photo.convert(mode).save(stream, kind)
        data = stream.getvalue()
        assert not is_wide_file(data)
        assert (pixels_of(data, 10) == pixels_of(data)).all()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*" + bytes(40)])
def test_damaged_headers_are_not_wide(data: bytes) -> None:
    assert not is_wide_file(data)


def test_a_turned_colour_image_of_16_bits_is_upright() -> None:
    values = samples(12, 3)
    data = tiff(values, orientation=6)
    assert (pixels_of(data, 12) == np.rot90(values >> 4, -1)).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = exif.tobytes()[6:] if exif.tobytes().startswith(b"Exif") else exif.tobytes()
    plain = png(values)
    end = plain.index(b"IDAT") - 4
    piece = struct.pack(">I", len(chunk)) + b"eXIf" + chunk
    piece += struct.pack(">I", zlib.crc32(b"eXIf" + chunk))
    assert (pixels_of(plain[:end] + piece + plain[end:], 12) == np.rot90(values >> 4, -1)).all()


def test_people_see_the_range_of_the_image_itself() -> None:
    values = samples(11)
    for data in (png(values), tiff(values, bits=32)):
        image, _ = decode_with_size(data, "x", display_size=(8, 8), bit_depth=None)
        assert (np.asarray(image) == grey(values >> 3)).all()
