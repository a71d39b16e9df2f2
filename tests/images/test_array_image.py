"""Arrays become the image that a file of the same pixels is, or are refused by name."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.errors import UsageError
from sharpeye.images.array_image import array_to_image
from sharpeye.images.image_source import source_to_image

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (7, 9, 3), dtype=np.uint8)
GREY = RGB[..., 1]
GREY_RGB = np.dstack([GREY] * 3)
ALPHA = RANDOM.integers(0, 256, (7, 9), dtype=np.uint8)
RGBA = np.dstack([RGB, ALPHA])
WIDE = RANDOM.integers(0, 2**16, (7, 9, 3)).astype(np.uint16)
READ_ONLY = np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape)

FIRST = {"data_format": "channels_first"}


def over_white(rgba: np.ndarray) -> np.ndarray:
    image = Image.fromarray(rgba)
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        (RGB, {}, RGB),
        (GREY, {}, GREY_RGB),
        (GREY[..., None], {}, GREY_RGB),
        (RGBA, {}, over_white(RGBA)),
        (RGB.transpose(2, 0, 1), FIRST, RGB),
        (GREY[None], FIRST, GREY_RGB),
        (GREY, FIRST, GREY_RGB),
        (RGBA.transpose(2, 0, 1), FIRST, over_white(RGBA)),
        (RGB[::-1, ::-2], {}, RGB[::-1, ::-2]),
        (np.asfortranarray(RGB), {}, RGB),
        (READ_ONLY, {}, RGB),
        (GREY > 99, {}, np.where(GREY_RGB > 99, 255, 0)),
        (RGB.astype(np.int64), {}, RGB),
        (RGB.astype(np.float32), {}, RGB),
        (RGB.astype(">f8"), {}, RGB),
        (np.zeros((4, 5), np.int64), {}, np.zeros((4, 5, 3))),
        (RGB / 255, {"value_range": (0, 1)}, RGB),
        ((RGB / 255).astype(np.float16), {"value_range": [0, 1]}, RGB),
        ((RGB / 255).astype(">f4").transpose(2, 0, 1), FIRST | {"value_range": [0.0, 1.0]}, RGB),
        (RGB + np.float32(0.3), {"value_range": (0, 255)}, RGB),
        (RGB.astype(np.uint16), {"value_range": (0, 255)}, RGB),
        (WIDE, {}, WIDE >> 8),
        (WIDE.astype(">u2"), {}, WIDE >> 8),
        (WIDE[..., 0].astype(np.int32), {"value_range": (0, 65535)}, WIDE[..., :1] >> 8),
        (WIDE >> 4, {"bit_depth": 12}, WIDE >> 8),
        (WIDE, {"bit_depth": 12}, np.minimum(WIDE >> 4, 255)),
        ((WIDE >> 4).astype(np.float32), {"value_range": (0, 4095)}, WIDE >> 8),
        (RGB.astype(np.uint16), {"bit_depth": 12}, RGB >> 4),
    ],
)
def test_an_array_is_the_image_of_its_pixels(
    array: np.ndarray, options: dict[str, Any], expected: np.ndarray
) -> None:
    image = array_to_image(array, **options)
    assert image.mode == "RGB"
    assert (np.asarray(image) == expected).all()
    assert (np.asarray(source_to_image(array, **options)) == expected).all()


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (RGB.transpose(2, 0, 1), {}, "uint8[3,7,9]; for [C,H,W], say data_format='channels_first'"),
        (RGB, FIRST, "uint8[7,9,3]; for [H,W,C], say data_format='channels_last'"),
        (RGB[None], {}, "uint8[1,7,9,3]; a batch is given as a list of its images: list(array)"),
        (GREY[None], {}, "uint8[1,7,9]"),
        (RGB[..., :2], {}, "uint8[7,9,2]"),
        (np.dstack([RGBA, GREY]), {}, "uint8[7,9,5]"),
        (RGB[0, 0], {}, "uint8[3]"),
        (np.uint8(3), {}, "uint8[]"),
        (RGB[:0], {}, "at least one pixel. Received: uint8[0,9,3]"),
        (RGB[:, :0], {}, "at least one pixel. Received: uint8[7,0,3]"),
        (np.zeros((0,), np.float32), {}, "float32[0]"),
        (RGB / 255, {}, "value_range"),
        (np.zeros((4, 5), np.float32), {}, "value_range"),
        ((GREY > 99).astype(np.int64), {}, "value_range"),
        (RGB + 0.3, {}, "value_range"),
        (RGB.astype(np.uint16), {}, "value_range"),
        (WIDE.astype(np.int32), {}, "value_range"),
        (RGB.astype(np.int64), {"bit_depth": 12}, "value_range"),
        (RGB * 1.0, {"value_range": (0, 1)}, "from 0 to 1; scale or clip them"),
        (RGB / -255, {"value_range": (0, 1)}, "must not be negative"),
        (RGB.astype(np.int16) - 1, {}, "must not be negative"),
        (np.full((3, 3), np.nan), {"value_range": (0, 1)}, "no NaN"),
        (np.full((3, 3), np.inf, np.float32), {}, "no infinite value"),
        (RGB, {"value_range": (-1, 1)}, "value_range must be [0, 1], [0, 255]"),
        (RGB, {"value_range": 255}, "value_range must be"),
        (RGB, {"value_range": "01"}, "value_range must be"),
        (RGB, {"data_format": "chw"}, "data_format must be one of"),
        (RGB * 1j, {}, "an array of numbers. Received: complex128[7,9,3]"),
        (np.array("a.png"), {}, "an array of numbers"),
        (np.array([[None, None]]), {}, "an array of numbers"),
    ],
)
def test_an_array_of_another_meaning_is_refused(
    array: np.ndarray, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        array_to_image(array, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
