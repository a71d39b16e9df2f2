"""A file that lacks only what no pixel needs is read; one whose pixels are cut off is not."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_files import decoded_pixels, encoded, quarters, refusal
from large_images import png_chunk
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode, image_size

_RANDOM = np.random.default_rng(3)
NOISE = _RANDOM.integers(0, 256, (75, 93, 3), np.uint8)
SMOOTH = np.asarray(
    Image.fromarray(_RANDOM.integers(0, 256, (9, 12, 3), np.uint8)).resize((93, 75), 3)
)
JPEGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "baseline": (SMOOTH, {}),
    "noise": (NOISE, {}),
    "full colour": (SMOOTH, {"quality": 100, "subsampling": 0}),
    "grey": (SMOOTH[..., 0], {}),
    "cmyk": (Image.fromarray(SMOOTH).convert("CMYK"), {}),
    "one colour": (np.full((64, 64, 3), 200, np.uint8), {}),
    "progressive": (SMOOTH, {"progressive": True}),
    "progressive noise": (NOISE, {"progressive": True}),
    "progressive grey": (SMOOTH[..., 1], {"progressive": True}),
    "restart markers": (SMOOTH, {"restart_marker_blocks": 3}),
    "restart rows": (NOISE, {"restart_marker_rows": 1}),
    "progressive restart": (SMOOTH, {"progressive": True, "restart_marker_blocks": 5}),
}


def pixels_or_none(data: bytes) -> np.ndarray | None:
    try:
        return np.asarray(decode(data, "x"))
    except ImageReadError as error:
        assert error.reason.startswith(("a truncated JPEG: its scan ends", "damaged JPEG: "))
        return None


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("tail", [b"", bytes(3000)], ids=["", "zeros"])
def test_a_jpeg_is_read_while_all_its_pixels_are_there(name: str, tail: bytes) -> None:
    image, options = JPEGS[name]
    data = encoded(image, "JPEG", **options)
    expected = decoded_pixels(data)
    for cut in range(1, 65):
        pixels = pixels_or_none(data[:-cut] + tail)
        if cut <= 2:
            assert pixels is not None
        assert pixels is None or (pixels == expected).all(), cut
        assert pixels is None or cut <= 4
    for share in (0.4, 0.7):
        assert pixels_or_none(data[: int(len(data) * share)] + tail) is None


def test_garbage_behind_the_last_scan_does_no_harm() -> None:
    data = encoded(SMOOTH, "JPEG")
    expected = decoded_pixels(data)
    for tail in (b"<html>404</html>", b"\xff" * 9, b"\r\n", bytes(7)):
        assert (decoded_pixels(data[:-2] + tail) == expected).all(), tail


def test_a_progressive_jpeg_without_its_last_scan_is_refused() -> None:
    data = encoded(SMOOTH, "JPEG", progressive=True)
    assert "truncated" in refusal(data[: data.rindex(b"\xff\xda")])


@pytest.mark.parametrize(
    ("kind", "options", "cut"),
    [("GIF", {}, 2), ("PNG", {}, 12), ("PNG", {}, 16), ("WEBP", {}, 1), ("BMP", {}, 1)],
)
def test_other_formats_are_read_without_their_end(
    kind: str, options: dict[str, Any], cut: int
) -> None:
    data = encoded(NOISE, kind, **options)
    assert (decoded_pixels(data[:-cut]) == decoded_pixels(data)).all()
    refusal(data[: len(data) * 2 // 3])


def test_every_cut_of_a_png_gives_its_pixels_or_a_refusal() -> None:
    data = encoded(NOISE, "PNG")
    for cut in range(1, 80):
        try:
            assert (decoded_pixels(data[:-cut]) == NOISE).all(), cut
        except ImageReadError:
            assert cut > 16


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"quRk"])
@pytest.mark.parametrize("damaged", [False, True])
def test_long_or_damaged_texts_of_a_png_are_left_out(kind: bytes, damaged: bool) -> None:
    packed = zlib.compress(b"x" * 2_000_000)
    body = {
        b"zTXt": b"Comment\0\0" + packed,
        b"iTXt": b"Comment\0\1\0\0\0" + packed,
        b"tEXt": b"Comment\0" + b"x" * 2_000_000,
        b"iCCP": b"profile\0\0" + packed,
        b"quRk": b"unknown",
    }[kind]
    chunk = bytearray(png_chunk(kind, body))
    if damaged:
        chunk[-1] ^= 1
    plain = encoded(quarters(), "PNG")
    data = plain[:33] + bytes(chunk) + plain[33:]
    assert (decoded_pixels(data) == quarters()).all()
    assert image_size(data, "x").stored == (48, 32)


def test_a_png_with_a_long_text_is_turned_upright() -> None:
    exif, info = Image.Exif(), PngInfo()
    exif[0x0112] = 6
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    buffer = io.BytesIO()
    Image.fromarray(quarters()).save(buffer, "PNG", exif=exif, pnginfo=info)
    assert decode(buffer.getvalue(), "x").size == (32, 48)


def test_a_damaged_chunk_with_pixels_is_refused() -> None:
    data = bytearray(encoded(NOISE, "PNG"))
    data[18] ^= 1
    refusal(bytes(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_what_follows_the_end_of_a_jpeg_is_no_part_of_it(options: dict[str, Any]) -> None:
    """Phones append a video to a photograph, whose bytes may be those of any marker."""
    data = encoded(SMOOTH, "JPEG", **options)
    expected, video = decoded_pixels(data), b"ftypmp42" + b"\xff\xd9\xff\xda\0\x0c" * 500
    for tail in (video, b"\xff\xda", b"\xff\xd9\xff\xda" + video):
        assert (decoded_pixels(data + tail) == expected).all()
    truncated = data[: int(len(data) * 0.7)]
    assert "JPEG" in refusal(truncated + b"\xff\xd8" + video)
