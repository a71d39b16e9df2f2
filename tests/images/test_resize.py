"""The one resizer: shapes, content, and that views show what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.types import FILTERS, RESIZE_MODES, InputSpec
from sharpeye.errors import ImageReadError
from sharpeye.images.resize import fit_image, fit_image_unrounded, load_image
from sharpeye.images.views import PLAIN, View, draw_view

RED, BLUE = (220, 20, 30), (20, 30, 220)
DIGEST = "ab" * 32


def halves(width: int, height: int) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


def test_pad_keeps_everything_and_fills_up_with_grey() -> None:
    pixels = fit_image(halves(80, 40), InputSpec(20, 20, fit="pad", pad_value=90))
    assert pixels.shape == (20, 20, 3) and pixels.dtype == np.uint8
    assert (pixels[:5] == 90).all() and (pixels[15:] == 90).all()
    assert (pixels[5:15, :8] == RED).all() and (pixels[5:15, 12:] == BLUE).all()


def test_crop_cuts_the_middle_out() -> None:
    pixels = fit_image(halves(80, 40), InputSpec(20, 20, fit="crop"))
    assert (pixels[:, :8] == RED).all() and (pixels[:, 12:] == BLUE).all()
    thirds = Image.new("RGB", (90, 30), (0, 255, 0))
    thirds.paste(RED, (0, 0, 30, 30))
    thirds.paste(BLUE, (60, 0, 90, 30))
    assert (fit_image(thirds, InputSpec(10, 10, fit="crop"))[:, 1:-1] == (0, 255, 0)).all()


def test_stretch_ignores_the_aspect_ratio() -> None:
    pixels = fit_image(halves(80, 40), InputSpec(20, 30, fit="stretch"))
    assert pixels.shape == (20, 30, 3)
    assert (pixels[:, :12] == RED).all() and (pixels[:, 18:] == BLUE).all()


@pytest.mark.parametrize("fit", RESIZE_MODES)
@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (16, 12), (300, 200)])
def test_any_image_gets_the_size_that_was_asked(
    fit: Any, filter_: Any, channels: int, size: tuple[int, int]
) -> None:
    spec = InputSpec(12, 16, fit=fit, channels=channels, filter=filter_)
    corner = View(crop=(0.9, 0.9, 1.0, 1.0))
    for view in (PLAIN, View(flip=True), draw_view(2, DIGEST), draw_view(5, DIGEST), corner):
        pixels = fit_image(Image.new("RGB", size, RED), spec, view)
        assert pixels.shape == (12, 16, channels) and pixels.dtype == np.uint8
        if fit != "pad":
            assert np.ptp(pixels.reshape(-1, channels), axis=0).max() == 0
            assert pixels[0, 0, 0] == (RED[0] if channels == 3 else pixels.max())


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("length", [16, 20, 31, 32, 33, 5000])
def test_a_thin_image_is_still_there_after_padding(length: int, filter_: Any) -> None:
    spec = InputSpec(16, 16, pad_value=0, filter=filter_)
    column = fit_image(Image.new("RGB", (1, length), RED), spec)
    assert (column == RED).all(axis=2).sum() == 16
    row = fit_image(Image.new("RGB", (length, 1), RED), spec)
    assert (row == column.swapaxes(0, 1)).all()


def test_one_channel_is_luma() -> None:
    pixels = fit_image(halves(40, 40), InputSpec(8, 8, channels=1))
    left, right = (round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (RED, BLUE))
    assert abs(int(pixels[4, 1, 0]) - left) <= 1 and abs(int(pixels[4, 6, 0]) - right) <= 1


def test_an_input_of_the_images_own_size_is_the_image() -> None:
    image = noise(16, 12)
    for fit in RESIZE_MODES:
        for filter_ in FILTERS:
            pixels = fit_image(image, InputSpec(12, 16, fit=fit, filter=filter_))
            assert (pixels == np.asarray(image)).all()


def test_resizing_down_is_antialiased() -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(checks).convert("RGB")
    pixels = fit_image(image, InputSpec(8, 8)).astype(int)
    assert np.abs(pixels - 127).max() <= 12


@pytest.mark.parametrize("filter_", FILTERS)
def test_view_0_is_the_image_and_view_1_its_exact_mirror(filter_: Any) -> None:
    image, spec = noise(50, 37), InputSpec(24, 24, filter=filter_)
    plain = fit_image(image, spec)
    assert draw_view(0, DIGEST) == PLAIN
    assert (fit_image(image, spec, draw_view(0, DIGEST)) == plain).all()
    assert (fit_image(image, spec, draw_view(1, DIGEST)) == plain[:, ::-1]).all()
    assert not (plain == plain[:, ::-1]).all()


def test_a_view_shows_what_its_crop_says() -> None:
    spec = InputSpec(10, 10, fit="stretch")
    right = fit_image(halves(80, 40), spec, View(crop=(0.5, 0.0, 1.0, 1.0)))
    assert (right == BLUE).all()
    flipped = fit_image(halves(80, 40), spec, View(flip=True, crop=(0.25, 0.0, 0.75, 1.0)))
    assert (flipped[:, :3] == BLUE).all() and (flipped[:, 7:] == RED).all()


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("brightness", [0.0, 0.3125, 1.5, 4.0])  # halves are exact
def test_brightness_multiplies_the_pixels_and_ends_at_white(
    filter_: Any, brightness: float
) -> None:
    image = noise(24, 16)  # of the input's own size: no resizing in between
    spec = InputSpec(16, 24, fit="stretch", filter=filter_)
    pixels = fit_image(image, spec, View(brightness=brightness))
    expected = np.clip(np.rint(np.asarray(image) * np.float32(brightness)), 0, 255)
    assert pixels.dtype == np.uint8 and (pixels == expected).all()
    mirrored = fit_image(image, spec, View(flip=True, brightness=brightness))
    assert (mirrored == pixels[:, ::-1]).all()


@pytest.mark.parametrize("filter_", FILTERS)
def test_brightness_leaves_the_padding_alone(filter_: Any) -> None:
    spec = InputSpec(20, 20, pad_value=90, filter=filter_)
    pixels = fit_image(Image.new("RGB", (80, 40), (100, 60, 20)), spec, View(brightness=1.5))
    assert (pixels[:5] == 90).all() and (pixels[15:] == 90).all()
    assert (pixels[5:15] == (150, 90, 30)).all()


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 7), (10, 10)])
def test_a_window_at_the_very_edge_of_a_small_image_shows_it(
    filter_: Any, size: tuple[int, int]
) -> None:
    spec = InputSpec(4, 4, fit="stretch", filter=filter_)
    for left in (0.0, 0.49, 0.51, 0.66, 0.99):
        view = View(crop=(left, left, min(1.0, left + 0.33), min(1.0, left + 0.33)))
        assert (fit_image(Image.new("RGB", size, RED), spec, view) == RED).all()


@pytest.mark.parametrize("fit", RESIZE_MODES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(50, 37), (37, 50), (8, 5), (1, 1)])
def test_exact_pixels_are_what_the_image_is_rounded_from(
    fit: Any, channels: int, size: tuple[int, int]
) -> None:
    spec = InputSpec(24, 20, fit=fit, channels=channels, filter="bilinear_asymmetric")
    image = noise(*size)
    exact, rounded = fit_image_unrounded(image, spec), fit_image(image, spec)
    assert exact.dtype == np.float32 and exact.shape == rounded.shape == (24, 20, channels)
    assert (np.rint(exact) == rounded).all()
    assert size == (1, 1) or (exact != rounded).mean() > 0.3


@pytest.mark.parametrize("filter_", ["bicubic", "bilinear"])
def test_exact_pixels_of_pillows_filters_are_whole(filter_: Any) -> None:
    image, spec = noise(50, 37), InputSpec(24, 20, filter=filter_)
    exact = fit_image_unrounded(image, spec)
    assert exact.dtype == np.float32 and (exact == fit_image(image, spec)).all()


def test_load_image_reads_decodes_and_fits(tmp_path: Path) -> None:
    image = noise(16, 12)
    image.save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", "a.png", InputSpec(12, 16))
    assert (pixels == np.asarray(image)).all()
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"^cannot read rose/b\.png: not an image"):
        load_image(tmp_path / "b.png", "rose/b.png", InputSpec(12, 16))
