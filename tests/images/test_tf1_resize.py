"""TensorFlow 1's bilinear resizing: equal to a plain loop, and to TensorFlow itself."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.types import RESIZE_MODES, InputSpec
from sharpeye.images.resize import fit_image, fit_image_unrounded, load_image, resize_asymmetric
from sharpeye.images.views import View
from sharpeye.learn.nets.backend import load_backend

# (height, width) of the image and of the target: down, up, both at once, itself, single pixels.
SIZES = [
    *(((24, 32), (7, 9)), ((5, 6), (13, 17)), ((40, 3), (9, 21)), ((16, 16), (16, 16))),
    *(((1, 1), (4, 5)), ((1, 9), (3, 4)), ((9, 1), (4, 3)), ((8, 8), (1, 1)), ((31, 29), (30, 28))),
]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def by_the_rule(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A target pixel at a time: source = index * in / out, four neighbours, clamped."""
    values, resized = pixels.astype(np.float32), np.empty((height, width, 3), np.float32)
    rows, columns = pixels.shape[:2]
    for y in range(height):
        down = np.float32(y) * (np.float32(rows) / np.float32(height))
        top = int(down)
        bottom = min(top + 1, rows - 1)
        for x in range(width):
            across = np.float32(x) * (np.float32(columns) / np.float32(width))
            left = int(across)
            right, share = min(left + 1, columns - 1), across - np.float32(left)
            upper = values[top, left] + (values[top, right] - values[top, left]) * share
            lower = values[bottom, left] + (values[bottom, right] - values[bottom, left]) * share
            resized[y, x] = upper + (lower - upper) * (down - np.float32(top))
    return resized


@pytest.mark.parametrize(("size", "target"), SIZES)
def test_each_pixel_is_what_the_rule_says(size: tuple[int, int], target: tuple[int, int]) -> None:
    pixels = noise(*size)
    resized = resize_asymmetric(pixels, *target)
    assert resized.dtype == np.float32 and resized.flags.c_contiguous and resized.flags.writeable
    assert (resized == by_the_rule(pixels, *target)).all()


def test_halving_picks_every_other_pixel_and_doubling_keeps_the_first() -> None:
    pixels = noise(12, 8)
    assert (resize_asymmetric(pixels, 6, 4) == pixels[::2, ::2]).all()
    doubled = resize_asymmetric(pixels, 24, 16)
    assert (doubled[::2, ::2] == pixels).all()
    assert (doubled[-1] == doubled[-2]).all() and (doubled[:, -1] == doubled[:, -2]).all()
    middles = (pixels[:, :-1].astype(np.float32) + pixels[:, 1:]) / 2
    assert (doubled[::2, 1:-1:2] == middles).all()


def test_it_takes_any_layout_and_changes_nothing() -> None:
    pixels = noise(20, 30)
    before = pixels.copy()
    resized = resize_asymmetric(pixels, 7, 11)
    assert (pixels == before).all()
    wide = np.asfortranarray(pixels)
    assert (resize_asymmetric(wide, 7, 11) == resized).all()
    assert (resize_asymmetric(np.repeat(pixels, 2, axis=1)[:, ::2], 7, 11) == resized).all()
    resized *= 0  # what is cached is not what was given out
    assert resize_asymmetric(pixels, 7, 11).any()


def test_it_equals_tensorflow() -> None:
    load_backend()
    import tensorflow as tf

    photographs = [((240, 320), (224, 224)), ((375, 500), (299, 299)), ((100, 80), (224, 192))]
    for seed, (size, target) in enumerate(SIZES + photographs):
        pixels = noise(*size, seed=seed)
        expected = tf.compat.v1.image.resize_bilinear(
            pixels[None].astype(np.float32),
            target,
            align_corners=False,
            half_pixel_centers=False,
        )
        gap = np.abs(resize_asymmetric(pixels, *target) - expected.numpy()[0])
        assert gap.max() <= 1e-3, size  # other builds may fuse products and sums


# --- as a filter ---------------------------------------------------------------------------------


def spec_of(height: int, width: int, fit: Any = "stretch", channels: int = 3) -> InputSpec:
    return InputSpec(height, width, fit, 90, channels, "bilinear_asymmetric")


def test_stretch_is_the_resized_image_rounded_to_nearest() -> None:
    pixels = noise(30, 40)
    expected = by_the_rule(pixels, 17, 13)
    assert (fit_image_unrounded(Image.fromarray(pixels), spec_of(17, 13)) == expected).all()
    resized = fit_image(Image.fromarray(pixels), spec_of(17, 13))
    assert resized.dtype == np.uint8 and (resized == np.rint(expected)).all()


def test_crop_resizes_the_middle_and_pad_the_whole() -> None:
    pixels = noise(20, 60)
    image = Image.fromarray(pixels)
    cropped = fit_image_unrounded(image, spec_of(8, 8, "crop"))
    assert (cropped == by_the_rule(pixels[:, 20:40], 8, 8)).all()
    padded = fit_image_unrounded(image, spec_of(12, 12, "pad"))
    assert (padded[4:8] == by_the_rule(pixels, 4, 12)).all()
    assert (padded[:4] == 90).all() and (padded[8:] == 90).all()


def test_a_view_is_cut_then_resized_then_made_brighter_then_mirrored() -> None:
    pixels = noise(20, 60)
    view = View(flip=True, crop=(0.5, 0.25, 1.0, 0.75), brightness=1.25)
    resized = fit_image(Image.fromarray(pixels), spec_of(7, 9), view)
    bright = np.clip(by_the_rule(pixels[5:15, 30:], 7, 9) * np.float32(1.25), 0, 255)
    assert (resized == np.rint(bright)[:, ::-1]).all() and resized.flags.c_contiguous


@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_grey_is_pillows_luma_within_a_level(fit: Any) -> None:
    image = Image.fromarray(noise(30, 40))
    coloured = fit_image(image, spec_of(16, 16, fit))
    grey = fit_image(image, spec_of(16, 16, fit, channels=1))
    luma = np.asarray(Image.fromarray(coloured).convert("L")).astype(int)
    assert np.abs(grey[..., 0] - luma).max() <= 1


def test_a_large_jpeg_is_decoded_whole(tmp_path: Path) -> None:
    small = Image.fromarray(noise(9, 12))
    data = io.BytesIO()
    small.resize((1600, 1200), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    (tmp_path / "x.jpg").write_bytes(data.getvalue())
    with Image.open(tmp_path / "x.jpg") as image:
        whole = np.asarray(image.convert("RGB"))
    resized = load_image(tmp_path / "x.jpg", "x.jpg", spec_of(64, 64))
    assert (resized == np.rint(by_the_rule(whole, 64, 64))).all()
