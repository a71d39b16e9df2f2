"""The table of formats: what is read, its suffixes, and the pixels of each format."""

import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from image_files import decoded_pixels, encoded, quarters, refusal
from sharpeye.images.decode import decode, image_size
from sharpeye.images.formats import FORMATS, HEIC, SUFFIXES, readable_formats, sniff, suffixes_of


@pytest.mark.parametrize(
    ("kind", "name", "tolerance", "options"),
    [
        ("AVIF", "AVIF", 60, {"quality": 100, "subsampling": "4:4:4"}),
        ("JPEG2000", "JPEG 2000", 0, {}),
        ("JPEG2000", "JPEG 2000", 0, {"no_jp2": True}),
        ("PPM", "PNM", 0, {}),
        ("TIFF", "TIFF", 0, {"big_tiff": True}),
    ],
)
def test_formats_that_pillow_has_are_read(
    kind: str, name: str, tolerance: int, options: dict[str, Any]
) -> None:
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(quarters(), kind, **options)
    assert sniff(data[:32]) == name
    gap = np.abs(decoded_pixels(data).astype(int) - quarters())
    assert gap.max() <= tolerance and gap.mean() < 2
    assert image_size(data, "x").upright == (48, 32)


@pytest.mark.parametrize(
    "text", [b"P2 3 1 255\n0 128 255\n", b"P2\n# made by hand\n3 1\n255\n0 128 255"]
)
def test_plain_numbers_of_pnm_are_read(text: bytes) -> None:
    assert decoded_pixels(text)[0, :, 0].tolist() == [0, 128, 255]


def test_a_pnm_of_sixteen_bits_keeps_the_upper_byte() -> None:
    data = b"P5 3 1 65535\n" + np.array([0x0100, 0x8000, 0xFFFF], ">u2").tobytes()
    assert decoded_pixels(data)[0, :, 0].tolist() == [1, 128, 255]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_avif_is_turned_once(orientation: int) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:20, :20] = 255  # the top left corner
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(np.rot90(upright, turns)), "AVIF", exif=exif)
    pixels = decoded_pixels(data)
    assert pixels.shape == (64, 96, 3) and image_size(data, "x").upright == (96, 64)
    assert pixels[5, 5].min() > 200 and pixels[50, 80].max() < 50


def test_every_readable_format_has_suffixes_and_a_decoder() -> None:
    assert {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PNM"} <= set(readable_formats())
    for name, item in FORMATS.items():
        assert suffixes_of(name) == item.suffixes and set(item.suffixes) <= SUFFIXES


def test_texts_are_no_images() -> None:
    for text in (b"BMW and others", b"P1 is a name", b"P5", b"GIF", b"II*", b"P6 heading\n"):
        assert sniff(text) is None, text


def test_a_heic_photo_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpeye.images.formats.readable_formats", lambda: ("JPEG",))
    reason = refusal(b"\x00\x00\x00\x18ftypheic" + bytes(40))
    assert "HEIC" in reason and "pip install 'sharpeye[formats]'" in reason


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_heic_photo_is_read_upright(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored = quarters() if orientation == 1 else np.ascontiguousarray(np.rot90(quarters(), 1))
    heif.from_pillow(Image.fromarray(stored)).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    assert sniff(data[:32]) == HEIC
    pixels = decoded_pixels(data)
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels.astype(int) - quarters()).mean() < 12
    assert "pillow_heif" in sys.modules


def test_a_grey_image_is_fitted_as_its_levels_in_rgb() -> None:
    from sharpeye.core.types import InputSpec
    from sharpeye.images.resize import fit_image
    from sharpeye.images.views import View

    ramp = np.random.default_rng(1).integers(0, 256, (37, 53), np.uint8)
    data = encoded(ramp, "PNG")
    grey, rgb = decode(data, "x", keep_grey=True), decode(data, "x")
    assert (grey.mode, rgb.mode) == ("L", "RGB")
    view = View(crop=(0.1, 0.2, 0.9, 0.8), flip=True, brightness=1.2)
    for fit in ("pad", "crop", "stretch"):
        for channels in (1, 3):
            for resampling in ("bicubic", "bilinear", "bilinear_asymmetric"):
                spec = InputSpec(24, 20, channels=channels, fit=fit, filter=resampling)
                for each in (View(), view):
                    assert (fit_image(grey, spec, each) == fit_image(rgb, spec, each)).all()
