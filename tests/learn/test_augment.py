"""Augmentation: small cases by hand, each eagerly and in a `tf.function`, and in JAX."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from sharpeye.core.config import AugmentConfig
from sharpeye.learn.nets.augmentation import Augmentation

Array = np.ndarray[Any, Any]

OFF = {"flip": False, "shift": 0}
EVERYTHING = AugmentConfig(rotate=30, zoom=20, brightness=20, noise=5.0, cutout=30, mixup=0.5)
MORE = AugmentConfig(contrast=20, saturation=30, hue=40, erase=0.5, mixup=0.5, cutmix=1.0)


def change(
    pixels: Array, config: AugmentConfig | None = None, fill: float = 0, **draws: Any
) -> tuple[Array, Array]:
    """Augment images [B,H,W,C] by given draws; the label of an image is its number."""
    import tensorflow as tf

    pixels = np.asarray(pixels, np.float32)
    label_probs = np.eye(len(pixels), dtype=np.float32)
    augmentation = Augmentation(config or AugmentConfig(**OFF), *pixels.shape[1:3], fill=fill)
    arrays = {key: np.asarray(value, np.float32) for key, value in draws.items()}
    integral = {"flip", "shift", "noise", "cutout", "erase", "cutmix", "autocontrast"}
    for key in integral & arrays.keys():
        arrays[key] = arrays[key].astype(np.int32)
    *eager, no_boxes = augmentation.apply(pixels, label_probs, arrays)
    assert no_boxes is None
    inputs = tf.nest.map_structure(tf.constant, (pixels, label_probs, arrays))
    *traced, _ = tf.function(augmentation.apply)(*inputs)
    for first, second in zip(eager, traced, strict=True):
        assert first.dtype == second.dtype == tf.float32
        np.testing.assert_allclose(first, second, atol=2e-3)
    return np.asarray(traced[0]), np.asarray(traced[1])


def line(*values: float) -> Array:
    """One image [1,1,W,1] with one row."""
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def noisy(count: int = 4, height: int = 9, width: int = 7) -> Array:
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, height, width, 3)).astype(np.float32)


# --- geometry ------------------------------------------------------------------------------------


def test_flip_mirrors_only_the_drawn_images() -> None:
    pixels = noisy()
    changed, targets = change(pixels, flip=[1, 0, 0, 1])
    np.testing.assert_array_equal(changed[[0, 3]], pixels[[0, 3], :, ::-1])
    np.testing.assert_array_equal(changed[1:3], pixels[1:3])
    np.testing.assert_array_equal(targets, np.eye(4))


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (0, [1, 2, 3, 4, 5]),
        (1, [2, 1, 2, 3, 4]),
        (2, [3, 2, 1, 2, 3]),
        (-1, [2, 3, 4, 5, 4]),
        (-4, [5, 4, 3, 2, 1]),
    ],
)
def test_shift_reflects_at_the_border_without_repeating_the_edge(
    right: int, expected: list[int]
) -> None:
    across = line(1, 2, 3, 4, 5)
    for zoom in ({}, {"zoom": [1.0]}):  # by gathering, and by bilinear sampling
        changed, _ = change(across, shift=[[0, right]], **zoom)
        np.testing.assert_allclose(changed.ravel(), expected, atol=1e-5)
        changed, _ = change(across.swapaxes(1, 2), shift=[[right, 0]], **zoom)
        np.testing.assert_allclose(changed.ravel(), expected, atol=1e-5)


def test_each_image_has_its_own_shift_and_is_flipped_before() -> None:
    pixels = np.repeat(line(1, 2, 3, 4, 5), 3, axis=0)
    for zoom in ({}, {"zoom": np.ones(3)}):
        changed, _ = change(pixels, flip=[1, 0, 1], shift=[[0, 0], [0, 1], [0, -1]], **zoom)
        expected = [[5, 4, 3, 2, 1], [2, 1, 2, 3, 4], [4, 3, 2, 1, 2]]
        np.testing.assert_allclose(changed.reshape(3, 5), expected, atol=1e-5)


def test_sampling_without_rotation_and_zoom_equals_gathering() -> None:
    pixels, random = noisy(), np.random.default_rng(0)
    draws = {"flip": [1, 0, 1, 0], "shift": random.integers(-3, 4, (4, 2))}
    gathered, _ = change(pixels, **draws)
    sampled, _ = change(pixels, **draws, angle=np.zeros(4), zoom=np.ones(4))
    assert not np.array_equal(gathered, pixels)
    np.testing.assert_allclose(sampled, gathered, atol=1e-3)


@pytest.mark.parametrize(
    ("angle", "turns"), [(90, 1), (-90, -1), (180, 2), (-180, 2), (0, 0), (360, 0)]
)
def test_a_rotation_by_quarters_turns_counterclockwise(angle: float, turns: int) -> None:
    pixels = noisy(2, 7, 7)
    changed, _ = change(pixels, angle=[angle, 0])
    np.testing.assert_allclose(changed[0], np.rot90(pixels[0], turns), atol=0.05)
    np.testing.assert_allclose(changed[1], pixels[1], atol=1e-3)


def test_a_marker_turns_by_its_angle() -> None:
    pixels = np.zeros((1, 41, 41, 1))
    pixels[0, 18:23, 28:33] = 255  # 10 pixels to the right of the centre
    changed, _ = change(pixels, angle=[30])
    weights = changed[0, ..., 0] / changed.sum()
    y = (weights.sum(1) * np.arange(41)).sum() - 20
    x = (weights.sum(0) * np.arange(41)).sum() - 20
    assert (y, x) == pytest.approx((-5, 10 * np.cos(np.pi / 6)), abs=0.05)


def test_zoom_enlarges_about_the_centre() -> None:
    changed, _ = change(line(0, 10, 20, 30, 40), zoom=[2.0])
    np.testing.assert_allclose(changed.ravel(), [10, 15, 20, 25, 30], atol=1e-4)


def test_zoom_reduces_and_reflects_as_often_as_needed() -> None:
    changed, _ = change(line(0, 10, 20, 30, 40), zoom=[0.5])
    np.testing.assert_allclose(changed.ravel(), [20, 0, 20, 40, 20], atol=1e-4)
    changed, _ = change(line(0, 10, 20, 30, 40), zoom=[0.1])  # -18, -8, 2, 12, 22
    np.testing.assert_allclose(changed.ravel(), [20, 0, 20, 40, 20], atol=1e-3)


def test_rotation_comes_before_shift() -> None:
    """A marker in the middle is moved by the shift alone."""
    pixels = np.zeros((2, 11, 15, 1))
    pixels[:, 5, 7] = 200
    changed, _ = change(
        pixels, angle=[33, -120], zoom=[1.3, 0.8], shift=[[2, 3], [-1, -4]], flip=[0, 1]
    )
    assert changed[0, 7, 10, 0] == pytest.approx(200, abs=0.01)
    assert changed[1, 4, 3, 0] == pytest.approx(200, abs=0.01)


# --- grey levels ---------------------------------------------------------------------------------


def test_brightness_is_a_factor_and_is_clipped() -> None:
    pixels = np.repeat(line(0, 100, 200, 255), 3, axis=0)
    changed, _ = change(pixels, brightness=[1.5, 0.5, 0.0])
    expected = [[0, 150, 255, 255], [0, 50, 100, 127.5], [0, 0, 0, 0]]
    np.testing.assert_allclose(changed.reshape(3, 4), expected, atol=1e-3)


def test_noise_has_its_deviation_and_is_clipped() -> None:
    config, random = AugmentConfig(**OFF, noise=8.0), np.random.default_rng(0)
    draws = Augmentation(config, 32, 32, fill=0).draw(16, random)
    changed, _ = change(np.full((16, 32, 32, 3), 128.0), config, noise=draws["noise"])
    noise = changed - 128
    assert noise.std() == pytest.approx(8, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.2)
    flat = noise.reshape(16, -1)
    between = np.abs(np.corrcoef(flat) - np.eye(16)).max()
    assert between < 0.25, "each image has its own noise"
    lines = noise[0].reshape(32, -1)
    assert np.abs(np.corrcoef(lines) - np.eye(32)).max() < 0.6, "and so has each of its rows"
    black, _ = change(np.zeros((16, 32, 32, 3)), config, noise=draws["noise"])
    assert black.min() == 0
    assert black.max() > 8


def test_noise_has_a_sign() -> None:
    config = AugmentConfig(**OFF, noise=4.0)
    changed, _ = change(np.full((2, 5, 5, 1), 99.0), config, noise=[[7, 3, 1], [7, 3, -1]])
    np.testing.assert_allclose(changed[0] - 99, 99 - changed[1], atol=1e-3)
    assert (changed[0] != 99).all()


def test_cutout_blanks_a_square_around_its_centre() -> None:
    config = AugmentConfig(**OFF, cutout=30)  # 30 percent of 10 are 3 pixels
    pixels = np.full((3, 10, 12, 3), 200.0)
    rectangles = [[3, 5, 6, 8], [-1, -1, 2, 2], [8, 10, 11, 13]]
    changed, targets = change(pixels, config, fill=50.0, cutout=rectangles)
    expected = pixels.copy()
    expected[0, 3:6, 5:8] = 50
    expected[1, :2, :2] = 50
    expected[2, 8:, 10:] = 50
    np.testing.assert_array_equal(changed, expected)
    np.testing.assert_array_equal(targets, np.eye(3))


def test_mixup_mixes_images_and_targets_alike() -> None:
    pixels = noisy(3)
    share = np.array([0.75, 0.5, 1.0], np.float32)
    changed, targets = change(pixels, mixup=share)
    previous = pixels[[2, 0, 1]]
    factor = share[:, None, None, None]
    np.testing.assert_allclose(changed, factor * pixels + (1 - factor) * previous, atol=1e-3)
    np.testing.assert_allclose(targets, [[0.75, 0, 0.25], [0.5, 0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(targets.sum(1), 1)


def test_contrast_saturation_and_sharpness_are_pillows() -> None:
    pixels = noisy(3)
    enhancers = {
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    factors = [0.4, 1.0, 1.7]
    for name, enhancer in enhancers.items():
        changed, _ = change(pixels, **{name: factors})
        for image, factor, result in zip(pixels, factors, changed, strict=True):
            expected = enhancer(Image.fromarray(image.astype(np.uint8))).enhance(factor)
            np.testing.assert_allclose(result, np.asarray(expected), atol=2.01, err_msg=name)
        np.testing.assert_allclose(changed[1], pixels[1], atol=1e-3)


def test_levels_are_posterized_solarized_and_stretched_as_pillow_does() -> None:
    pixels = noisy(2) / 2 + 40
    images = [Image.fromarray(image.astype(np.uint8)) for image in pixels]
    whole = np.floor(pixels)
    posterized, _ = change(whole, posterize=[16.0, 1.0])
    np.testing.assert_array_equal(posterized[0], np.asarray(ImageOps.posterize(images[0], 4)))
    np.testing.assert_array_equal(posterized[1], whole[1])
    solarized, _ = change(whole, solarize=[100.0, 256.0])
    np.testing.assert_array_equal(solarized[0], np.asarray(ImageOps.solarize(images[0], 100)))
    np.testing.assert_array_equal(solarized[1], whole[1])
    stretched, _ = change(whole, autocontrast=[1, 0])
    expected = np.asarray(ImageOps.autocontrast(images[0]))
    np.testing.assert_allclose(stretched[0], expected, atol=1.01)
    np.testing.assert_array_equal(stretched[1], whole[1])
    flat, _ = change(np.full((1, 3, 3, 3), 77.0), autocontrast=[1])
    assert np.isfinite(flat).all()


def test_a_turn_of_the_hue_keeps_the_luma() -> None:
    pixels = noisy(3) / 4 + 96  # no level is clipped
    turned, _ = change(pixels, hue=[120.0, 360.0, 0.0])
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(turned @ luma, pixels @ luma, atol=0.05)
    np.testing.assert_allclose(turned[1:], pixels[1:], atol=0.05)
    assert np.abs(turned[0] - pixels[0]).mean() > 5
    # Reddish becomes greenish, by a third of the circle.
    red, _ = change(np.full((1, 1, 1, 3), [140.0, 100, 100]), hue=[-120.0])
    assert red[0, 0, 0].argmax() == 1 or red[0, 0, 0].argmax() == 2


def test_colours_of_grey_images_stay() -> None:
    pixels = noisy()[..., :1]
    changed, _ = change(pixels, saturation=[0.1] * 4, hue=[90.0] * 4)
    np.testing.assert_array_equal(changed, pixels)


def test_a_shear_moves_rows_sideways_and_columns_down() -> None:
    pixels = np.zeros((2, 41, 41, 1))
    pixels[:, 29:32, 19:22] = 255  # 10 pixels below the centre
    pixels[1] = pixels[1].swapaxes(0, 1)  # 10 pixels to the right of it
    changed, _ = change(pixels, shear=[[0.5, 0], [0, 0.5]])
    for image, expected in zip(changed, ((10, 5), (5, 10)), strict=True):
        weights = image[..., 0] / image.sum()
        y = (weights.sum(1) * np.arange(41)).sum() - 20
        x = (weights.sum(0) * np.arange(41)).sum() - 20
        assert (y, x) == pytest.approx(expected, abs=0.1)


def test_cutmix_pastes_a_rectangle_of_the_previous_image() -> None:
    pixels = noisy(3, 8, 10)
    rectangles = [[1, 2, 5, 7], [0, 0, 0, 0], [0, 0, 8, 10]]
    shares = [1 - 20 / 80, 1.0, 0.0]
    changed, targets = change(pixels, cutmix=rectangles, cutmix_share=shares)
    expected = pixels.copy()
    expected[0, 1:5, 2:7] = pixels[2, 1:5, 2:7]
    expected[2] = pixels[1]
    np.testing.assert_array_equal(changed, expected)
    np.testing.assert_allclose(targets, [[0.75, 0, 0.25], [0, 1, 0], [0, 1, 0]])


def test_rectangles_of_cutmix_have_the_share_that_labels_get() -> None:
    augmentation = Augmentation(AugmentConfig(**OFF, cutmix=1.0), 32, 24, fill=0)
    draws = augmentation.draw(4000, np.random.default_rng(0))
    top, left, bottom, right = draws["cutmix"].T
    assert top.min() == left.min() == 0 and bottom.max() == 32 and right.max() == 24
    areas = (bottom - top) * (right - left) / (32 * 24)
    np.testing.assert_allclose(draws["cutmix_share"], 1 - areas, atol=1e-6)
    assert 0.15 < areas.mean() < 0.45


def test_mixup_and_cutmix_share_the_images() -> None:
    config = AugmentConfig(**OFF, mixup=0.4, cutmix=1.0)
    draws = Augmentation(config, 16, 16, fill=0).draw(1000, np.random.default_rng(0))
    pasted = draws["cutmix_share"] < 1
    assert (draws["mixup"][pasted] == 1).all()
    assert pasted.mean() == pytest.approx(0.5, abs=0.06)


def test_erased_rectangles_lie_inside_and_are_as_frequent_as_asked() -> None:
    augmentation = Augmentation(AugmentConfig(**OFF, erase=0.25), 30, 40, fill=0)
    rectangles = augmentation.draw(4000, np.random.default_rng(0))["erase"]
    sides = rectangles[:, 2:] - rectangles[:, :2]
    erased = sides.min(axis=1) > 0
    assert erased.mean() == pytest.approx(0.25, abs=0.03)
    assert rectangles.min() >= 0 and (rectangles[:, 2:] <= [30, 40]).all()
    areas = sides[erased].prod(axis=1) / 1200
    assert areas.min() > 0.015 and areas.max() < 0.36


# --- policies ------------------------------------------------------------------------------------


def changed_by(draws: dict[str, Array]) -> Array:
    """int[B]: how many operations of a policy change each image."""
    factors = ("brightness", "saturation", "contrast", "sharpness")
    counts = sum((draws[name] != 1).astype(int) for name in (*factors, "posterize"))
    counts = counts + (draws["solarize"] < 256) + draws["autocontrast"] + (draws["angle"] != 0)
    return np.asarray(counts + (draws["shear"] != 0).sum(1) + (draws["shift"] != 0).sum(1))


def test_a_policy_leaves_bright_and_uniform_images_bright() -> None:
    augmentation = Augmentation(AugmentConfig(**OFF, policy="trivial"), 8, 8, fill=0)
    draws = augmentation.draw(2000, np.random.default_rng(0))
    pixels = np.full((2000, 8, 8, 3), 220, np.float32)
    changed, _, _ = augmentation.apply(pixels, np.ones((2000, 1), np.float32), draws)
    levels = np.asarray(changed)[:, 3, 3]
    for name, expected in (("brightness", 255), ("contrast", 220)):
        brighter = np.asarray(draws[name]) > 1.3
        assert brighter.sum() > 20
        np.testing.assert_allclose(levels[brighter], expected, atol=0.01)
    chosen = np.asarray(draws["autocontrast"]) > 0
    assert chosen.sum() > 20
    np.testing.assert_allclose(levels[chosen], 220)  # nothing to stretch


def test_trivial_augment_makes_one_change_of_any_strength() -> None:
    augmentation = Augmentation(AugmentConfig(**OFF, policy="trivial"), 40, 40, fill=0)
    draws = augmentation.draw(5000, np.random.default_rng(0))
    counts = changed_by(draws)
    assert set(counts) == {0, 1}
    assert counts.mean() == pytest.approx(12 / 13, abs=0.06)  # or none, or of strength 0
    for name, low, high in [("angle", -135, 135), ("brightness", 0.01, 1.99), ("solarize", 0, 256)]:
        assert draws[name].min() == pytest.approx(low, abs=0.02)
        assert draws[name].max() == pytest.approx(high, abs=0.02)


def test_rand_augment_makes_some_changes_of_one_strength() -> None:
    config = AugmentConfig(**OFF, policy="rand", policy_operations=2, policy_magnitude=15)
    draws = Augmentation(config, 40, 40, fill=0).draw(3000, np.random.default_rng(0))
    assert set(changed_by(draws)) == {0, 1, 2}
    assert set(np.abs(draws["angle"])) == {0, 15}
    np.testing.assert_allclose(sorted(set(draws["contrast"])), [0.55, 1, 1.45], rtol=1e-6)


# --- draws ---------------------------------------------------------------------------------------


def test_only_active_changes_are_drawn() -> None:
    assert Augmentation(AugmentConfig(**OFF), 8, 8, fill=0).draw(4, np.random.default_rng(0)) == {}
    pixels = noisy()
    np.testing.assert_array_equal(change(pixels)[0], pixels)
    knobs = {"shift": 10, "rotate": 5, "zoom": 5, "brightness": 5, "noise": 1.0, "cutout": 5}
    knobs |= {"contrast": 5, "saturation": 5, "hue": 5, "erase": 0.5}
    for knob, value in {"flip": True, "mixup": 0.2, **knobs}.items():
        augmentation = Augmentation(AugmentConfig(**OFF | {knob: value}), 8, 8, fill=0)
        draws = augmentation.draw(4, np.random.default_rng(0))
        assert list(draws) == ["angle" if knob == "rotate" else knob]


def test_draws_are_compact_and_within_their_ranges() -> None:
    draws = Augmentation(EVERYTHING, 20, 40, fill=0).draw(2000, np.random.default_rng(0))
    assert {key: (value.dtype.name, value.shape[1:]) for key, value in draws.items()} == {
        "flip": ("int32", ()),
        "shift": ("int32", (2,)),
        "angle": ("float32", ()),
        "zoom": ("float32", ()),
        "brightness": ("float32", ()),
        "noise": ("int32", (3,)),
        "cutout": ("int32", (4,)),
        "mixup": ("float32", ()),
    }
    assert all(len(value) == 2000 for value in draws.values())
    assert draws["flip"].mean() == pytest.approx(0.5, abs=0.05)
    assert set(draws["shift"][:, 0]) == set(range(-2, 3))
    assert set(draws["shift"][:, 1]) == set(range(-4, 5))
    for key, low, high in [
        ("angle", -30, 30),
        ("zoom", 1 / 1.2, 1.2),
        ("brightness", 0.8, 1.2),
        ("mixup", 0.5, 1),
    ]:
        assert low - 1e-6 <= draws[key].min() < low + 0.02 * (high - low)
        assert high + 1e-6 >= draws[key].max() > high - 0.02 * (high - low)
    assert (draws["zoom"] > 1).mean() == pytest.approx(0.5, abs=0.05)
    top, left, bottom, right = draws["cutout"].T
    assert set(top) == set(range(-3, 17))  # 30 percent of 20 are 6 pixels
    assert set(left) == set(range(-3, 37))
    assert set(bottom - top) == set(right - left) == {6}
    assert set(draws["noise"][:, 2]) == {-1, 1}
    assert set(draws["noise"][:, 1] % 2) == {1}


def test_an_active_change_is_at_least_a_pixel() -> None:
    augmentation = Augmentation(AugmentConfig(flip=False, shift=1, cutout=1), 8, 8, fill=0)
    draws = augmentation.draw(100, np.random.default_rng(0))
    assert set(draws["shift"].ravel()) == {-1, 0, 1}
    assert set((draws["cutout"][:, 2:] - draws["cutout"][:, :2]).ravel()) == {1}
    config = AugmentConfig(**OFF, cutout=1)
    changed, _ = change(np.ones((1, 8, 8, 1)), config, cutout=[[3, 4, 4, 5]])
    assert changed[0, 3, 4, 0] == 0
    assert changed.sum() == 63


def test_an_image_one_pixel_wide_can_be_changed() -> None:
    config = AugmentConfig(shift=50, rotate=90, zoom=50)
    draws = Augmentation(config, 6, 1, fill=0).draw(3, np.random.default_rng(0))
    assert set(draws["shift"][:, 1]) == {0}
    changed, _ = change(np.full((3, 6, 1, 1), 9.0), config, **draws)
    np.testing.assert_allclose(changed, 9, atol=1e-5)


def test_equal_seeds_draw_the_same_and_epochs_differ() -> None:
    augmentation = Augmentation(EVERYTHING, 16, 16, fill=0)
    first, same, other = (
        augmentation.draw(64, np.random.default_rng([5, epoch])) for epoch in (0, 0, 1)
    )
    for key in first:
        np.testing.assert_array_equal(first[key], same[key])
        assert not np.array_equal(first[key], other[key]), key


# --- all at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        MORE,
        AugmentConfig(policy="trivial", cutmix=1.0),
        AugmentConfig(policy="rand", rotate=20, shift=20, contrast=10),
    ],
)
def test_all_changes_together_stay_in_range_for_any_batch_size(config: AugmentConfig) -> None:
    import tensorflow as tf

    augmentation = Augmentation(config, 12, 10, fill=127.0)
    draws = augmentation.draw(1, np.random.default_rng(0))
    signature = [
        tf.TensorSpec([None, 12, 10, 3]),
        tf.TensorSpec([None, 4]),
        {k: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for k, v in draws.items()},
    ]
    apply = tf.function(augmentation.apply, input_signature=signature)
    for count in (1, 5, 8):
        pixels = noisy(count, 12, 10)
        targets = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
        draws = augmentation.draw(count, np.random.default_rng(count))
        changed, mixed, _ = apply(pixels, targets, draws)
        assert changed.shape == pixels.shape
        assert 0 <= np.min(changed) < np.max(changed) <= 255
        np.testing.assert_allclose(np.sum(mixed, axis=1), 1, atol=1e-6)
        eager, _, _ = augmentation.apply(pixels, targets, draws)
        # A level at a step of a posterized or solarized image may be rounded to either side of it.
        share = 0.05 if config.policy != "none" else 0
        assert (np.abs(changed - eager) > 2e-3).mean() <= share
        assert np.abs(changed - pixels).mean() > 1


_IN_JAX = """
import sys
import jax
import numpy as np
from sharpeye.core.config import AugmentConfig
from sharpeye.learn.nets.augmentation import Augmentation
config = AugmentConfig(**eval(sys.argv[1]))
inputs = np.load(sys.argv[2])
augmentation = Augmentation(config, *inputs["pixels"].shape[1:3], fill=127.0)
draws = augmentation.draw(len(inputs["pixels"]), np.random.default_rng(3))
eager = augmentation.apply(inputs["pixels"], inputs["targets"], draws)
pixels, targets, _ = jax.jit(augmentation.apply)(inputs["pixels"], inputs["targets"], draws)
np.testing.assert_allclose(eager[0], pixels, atol=2e-3)
np.savez(sys.argv[3], pixels=pixels, targets=targets)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"rotate": 30, "zoom": 20, "brightness": 20, "noise": 5.0, "cutout": 30, "mixup": 0.5},
        {"contrast": 20, "saturation": 30, "hue": 40, "erase": 0.5, "cutmix": 1.0},
        {"policy": "trivial"},
    ],
)
def test_jax_makes_the_same_images(knobs: dict[str, Any], tmp_path: Path) -> None:
    pixels, targets = noisy(6), np.eye(6, dtype=np.float32)
    np.savez(tmp_path / "inputs.npz", pixels=pixels, targets=targets)
    files = [str(tmp_path / name) for name in ("inputs.npz", "result.npz")]
    done = subprocess.run(
        [sys.executable, "-c", _IN_JAX, repr(knobs), *files],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = np.load(files[1])
    augmentation = Augmentation(AugmentConfig(**knobs), 9, 7, fill=127.0)
    draws = augmentation.draw(6, np.random.default_rng(3))
    expected, expected_targets, _ = augmentation.apply(pixels, targets, draws)
    assert np.abs(result["pixels"] - pixels).mean() > 1
    np.testing.assert_allclose(result["pixels"], expected, atol=5e-3)
    np.testing.assert_allclose(result["targets"], expected_targets, atol=1e-6)
