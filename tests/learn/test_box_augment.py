"""Boxes move with their images: what is painted into a box lies in the moved box afterwards."""

import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import AugmentConfig, Config
from sharpeye.errors import ConfigError
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.box_augment import move_boxes

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH, COUNT = 72, 96, 100
FILL = 127.0
KNOBS = {"flip": True, "shift": 25, "rotate": 20, "zoom": 50}
COMBINATIONS = [
    dict(zip(KNOBS, chosen, strict=True))
    for chosen in product(*[(value, type(value)(0)) for value in KNOBS.values()])
]
# All together and each alone are fast enough; pairs and triples are slow.
CASES = [
    pytest.param(knobs, marks=[pytest.mark.slow] if 1 < sum(map(bool, knobs.values())) < 4 else [])
    for knobs in COMBINATIONS
]


def draw_boxes(count: int = COUNT, seed: int = 0) -> Array:
    """float32[count,4] on pixel edges: some at the border, one in each corner, one everywhere."""
    random = np.random.default_rng(seed)
    size = np.array([WIDTH, HEIGHT])
    sides = random.integers(12, size * 9 // 10, (count, 2))
    first = random.integers(0, size - sides, endpoint=True)
    boxes = np.concatenate([first, first + sides], axis=1)
    boxes[:5] = [
        *[(0, 0, 20, 15), (WIDTH - 20, 0, WIDTH, 15), (0, HEIGHT - 15, 20, HEIGHT)],
        *[(WIDTH - 20, HEIGHT - 15, WIDTH, HEIGHT), (0, 0, WIDTH, HEIGHT)],
    ]
    return (boxes / np.tile(size, 2)).astype(np.float32)


def paint(boxes: Array, *, ellipses: bool = False) -> Array:
    """float32[B,H,W,3]: a red object on blue, which is the box itself or the ellipse in it."""
    fine = 4  # points a side of a pixel
    y = (np.arange(HEIGHT * fine) + 0.5)[None, :, None] / (HEIGHT * fine)
    x = (np.arange(WIDTH * fine) + 0.5)[None, None, :] / (WIDTH * fine)
    left, top, right, bottom = (edge[:, None, None] for edge in boxes.T)
    across, down = (2 * x - left - right) / (right - left), (2 * y - top - bottom) / (bottom - top)
    mask = across**2 + down**2 < 1 if ellipses else np.maximum(abs(across), abs(down)) < 1
    share = mask.reshape(-1, HEIGHT, fine, WIDTH, fine).mean(axis=(2, 4))[..., None]
    red, blue = np.array([255, 0, 0]), np.array([0, 0, 255])
    return (share * red + (1 - share) * blue).astype(np.float32)


def painted(pixels: Array, *, threshold: float = 1) -> Array:
    """bool[B,H,W]: whether a pixel is more red than blue; filled pixels are neither."""
    pixels = np.asarray(pixels)
    return np.asarray(pixels[..., 0] - pixels[..., 2] > threshold)


def bounds(masks: Array) -> Array:
    """float64[B,4]: the boxes around the masks, in pixels."""
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return np.array(boxes, np.float64)


def in_pixels(boxes: Array) -> Array:
    return np.asarray(boxes) * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])


@lru_cache
def augmentation_of(config: AugmentConfig) -> tuple[Augmentation, Any]:
    """The augmentation, and its `apply` as a `tf.function`."""
    import tensorflow as tf

    augmentation = Augmentation(config, HEIGHT, WIDTH, fill=FILL)
    return augmentation, tf.function(augmentation.apply)


def change(
    config: AugmentConfig, pixels: Array, boxes: Array, seed: int = 0
) -> tuple[dict[str, Array], Array, Array]:
    """Draws, pixels and boxes, which are the same eagerly and in a `tf.function`."""
    import tensorflow as tf

    augmentation, apply = augmentation_of(config)
    draws = augmentation.draw(len(boxes), np.random.default_rng(seed), boxes)
    label_probs = np.eye(len(boxes), dtype=np.float32)
    inputs = (pixels, label_probs, draws)
    eager = augmentation.apply(*inputs, boxes=boxes)
    traced = apply(*tf.nest.map_structure(tf.constant, inputs), boxes=tf.constant(boxes))
    np.testing.assert_array_equal(traced[1], label_probs)
    np.testing.assert_allclose(traced[2], eager[2], atol=1e-6)
    # A position exactly on the border of the image may be rounded to either side of it.
    assert (np.abs(traced[0] - eager[0]) > 0.01).mean() < 1e-3
    assert traced[2].dtype == tf.float32
    return draws, np.asarray(traced[0]), np.asarray(traced[2])


@pytest.fixture(scope="module")
def rectangles() -> Array:
    return paint(draw_boxes())


@pytest.fixture(scope="module")
def ellipses() -> Array:
    return paint(draw_boxes(), ellipses=True)


@pytest.mark.parametrize("knobs", CASES, ids=lambda k: "+".join(n for n, v in k.items() if v))
def test_the_box_is_where_the_object_is(
    knobs: dict[str, Any], rectangles: Array, ellipses: Array
) -> None:
    boxes = draw_boxes()
    # A rotated box is the box around a rotated ellipse; see `sharpeye.learn.nets.box_augment`.
    pixels = ellipses if knobs["rotate"] else rectangles
    for seed in range(3):
        _, changed, moved = change(AugmentConfig(**knobs), pixels, boxes, seed)
        error = np.abs(bounds(painted(changed)) - in_pixels(moved)).max(axis=1)
        assert error.max() < (1.5 if knobs["rotate"] else 1.0)
        assert error.mean() < 0.6
        if any(knobs.values()):
            assert (np.abs(in_pixels(moved - boxes)).max(axis=1) > 1).mean() > 0.3
        else:
            np.testing.assert_array_equal(changed, pixels)


def test_brightness_and_noise_do_not_change_the_box(rectangles: Array) -> None:
    boxes = draw_boxes()
    config = AugmentConfig(**KNOBS | {"rotate": 0}, brightness=20, noise=4.0)
    _, changed, moved = change(config, rectangles, boxes)
    error = np.abs(bounds(painted(changed, threshold=40)) - in_pixels(moved))
    assert error.max() < 1.0


@pytest.mark.parametrize(
    "knobs", COMBINATIONS, ids=lambda k: "+".join(n for n, v in k.items() if v)
)
def test_the_complete_object_stays_visible_wherever_it_is(knobs: dict[str, Any]) -> None:
    boxes = draw_boxes(2000, seed=1)
    augmentation = Augmentation(AugmentConfig(**knobs), HEIGHT, WIDTH, fill=FILL)
    draws = augmentation.draw(len(boxes), np.random.default_rng(2), boxes)
    moved = in_pixels(move_boxes(boxes, draws, (HEIGHT, WIDTH)))
    # An object that fills the image to the last pixel may exceed it by less than one.
    assert moved[:, :2].min() > -1
    assert (moved[:, 2] - WIDTH).max() < 1
    assert (moved[:, 3] - HEIGHT).max() < 1
    if knobs["zoom"]:
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        assert draws["zoom"][sides < 0.5].max() > 1.45
        assert draws["zoom"].min() < 0.7
        assert (draws["zoom"] > 1).mean() > 0.2
    if knobs["shift"] and not (knobs["rotate"] or knobs["zoom"]):
        assert np.abs(draws["shift"]).max(axis=0).tolist() == [HEIGHT // 4, WIDTH // 4]


def test_a_shift_loses_no_pixel_of_the_object_and_fills_with_grey(rectangles: Array) -> None:
    draws, changed, _ = change(AugmentConfig(shift=25, flip=False), rectangles, draw_boxes())
    counts = [painted(pixels).sum(axis=(1, 2)) for pixels in (rectangles, changed)]
    np.testing.assert_array_equal(*counts)
    for image, (down, right) in zip(changed, draws["shift"], strict=True):
        grey = (image == FILL).all(axis=-1)
        visible = (HEIGHT - abs(down)) * (WIDTH - abs(right))
        assert grey.sum() == HEIGHT * WIDTH - visible
        if down > 0:
            assert grey[:down].all()
        if right < 0:
            assert grey[:, right:].all()


def test_a_zoom_goes_about_any_point() -> None:
    """An object in the middle moves all over the image, although `shift` is 0."""
    boxes = np.tile(np.array([[0.45, 0.45, 0.55, 0.55]], np.float32), (500, 1))
    config = AugmentConfig(flip=False, shift=0, zoom=90)
    draws = Augmentation(config, HEIGHT, WIDTH, fill=FILL).draw(
        500, np.random.default_rng(0), boxes
    )
    moved = move_boxes(boxes, draws, (HEIGHT, WIDTH))
    assert (moved[:, :2].min(axis=0) < 0.1).all()
    assert (moved[:, 2:].max(axis=0) > 0.9).all()
    inside = draws["zoom"] > 1
    reach = (draws["zoom"] - 1)[inside, None] * np.array([HEIGHT, WIDTH]) / 2
    assert (np.abs(draws["shift"][inside]) <= reach).all(), "an enlarged image shows no border"


def test_an_object_too_large_to_be_rotated_is_reduced() -> None:
    boxes = np.array([[0, 0.3, 1, 0.7]] * 50, np.float32)  # as wide as the image
    config = AugmentConfig(flip=False, shift=0, rotate=90)
    draws = Augmentation(config, WIDTH, HEIGHT, fill=FILL).draw(50, np.random.default_rng(0), boxes)
    assert draws["zoom"].max() <= 1
    boxes = np.array([[0.3, 0, 0.7, 1]] * 50, np.float32)  # as high as the image, which is low
    draws = Augmentation(config, HEIGHT, WIDTH, fill=FILL).draw(50, np.random.default_rng(0), boxes)
    assert draws["zoom"].max() <= 1
    moved = move_boxes(boxes, draws, (HEIGHT, WIDTH))
    assert moved.min() > -1 / HEIGHT
    assert moved.max() < 1 + 1 / HEIGHT


@pytest.mark.parametrize("cutout", [10, 40, 80, 100])
def test_a_hole_hides_a_third_of_the_object_at_most(cutout: int) -> None:
    boxes = draw_boxes(200, seed=3)
    pixels = paint(boxes)
    config = AugmentConfig(flip=True, shift=10, cutout=cutout)
    _, changed, moved = change(config, pixels, boxes)
    before, after = painted(pixels).sum(axis=(1, 2)), painted(changed).sum(axis=(1, 2))
    hidden = 1 - after / before
    assert hidden.max() <= 1 / 3 + 0.01
    if cutout < 80:
        assert (hidden > 0).mean() > 0.1, "but it hides something"
        assert (changed == FILL).all(axis=-1).any(axis=(1, 2)).mean() > 0.8
    assert (moved[:, 2:] > moved[:, :2]).all()


def test_every_box_has_an_area() -> None:
    """Also with draws that were made for other boxes, or without boxes."""
    boxes = np.array(
        [[0, 0, 0.05, 0.05], [0.95, 0.95, 1, 1], [0.5, 0.5, 0.5, 0.5], [0.2, 0, 0.3, 1e-6]],
        np.float32,
    )
    boxes = np.repeat(boxes, 200, axis=0)
    augmentation = Augmentation(AugmentConfig(shift=50, zoom=90, rotate=180), 16, 16, fill=FILL)
    for drawn_for in (None, boxes):
        draws = augmentation.draw(len(boxes), np.random.default_rng(0), drawn_for)
        pixels = np.zeros((len(boxes), 16, 16, 3), np.float32)
        *_, moved = augmentation.apply(pixels, np.eye(len(boxes)), draws, boxes=boxes)
        moved = np.asarray(moved)
        assert np.isfinite(moved).all()
        assert 0 <= moved.min() < moved.max() <= 1
        assert (moved[:, 2:] - moved[:, :2] > 5e-4).all()


def test_equal_seeds_draw_the_same() -> None:
    boxes = draw_boxes(64)
    config = AugmentConfig(**KNOBS, cutout=20, brightness=10, noise=3.0)
    augmentation = Augmentation(config, 72, 96, fill=FILL)
    first, same, other = (
        augmentation.draw(64, np.random.default_rng(seed), boxes) for seed in (5, 5, 6)
    )
    assert {key: (value.dtype.name, value.shape[1:]) for key, value in first.items()} == {
        "flip": ("int32", ()),
        "shift": ("int32", (2,)),
        "angle": ("float32", ()),
        "zoom": ("float32", ()),
        "brightness": ("float32", ()),
        "noise": ("int32", (3,)),
        "cutout": ("int32", (4,)),
    }
    for key in first:
        np.testing.assert_array_equal(first[key], same[key])
        assert not np.array_equal(first[key], other[key]), key


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_boxes_cannot_be_mixed_up(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"augment.{name} must be 0 with task = localize.* 0.2$"):
        Config().replace({"task": "localize", f"augment.{name}": 0.2})
    Config().replace({"task": "localize"})
    Config().replace({f"augment.{name}": 0.2})
    augmentation = Augmentation(AugmentConfig(**{name: 0.2}), 8, 8, fill=FILL)
    with pytest.raises(ConfigError, match=rf"augment.{name} must be 0 with boxes. Received: 0.2"):
        augmentation.draw(4, np.random.default_rng(0), draw_boxes(9)[:4])


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_boxes_follow_the_changes_of_a_policy(policy: str, ellipses: Array) -> None:
    boxes = draw_boxes()
    config = AugmentConfig(flip=False, shift=0, policy=policy, policy_magnitude=20)
    augmentation, _ = augmentation_of(config)
    draws = augmentation.draw(COUNT, np.random.default_rng(4), boxes)
    geometry = {name: draws[name] for name in ("shear", "angle", "zoom", "shift")}
    changed, _, moved = augmentation.apply(ellipses, np.eye(COUNT), geometry, boxes=boxes)
    error = np.abs(bounds(painted(changed)) - in_pixels(moved)).max(axis=1)
    assert np.median(error) < 1.0 and error.max() < 3.0
    assert (np.abs(in_pixels(moved - boxes)).max(axis=1) > 1).mean() > 0.2


def test_an_erased_rectangle_hides_a_third_of_the_object_at_most() -> None:
    boxes = draw_boxes(200, seed=3)
    pixels = paint(boxes)
    _, changed, _ = change(AugmentConfig(flip=False, shift=0, erase=1.0), pixels, boxes)
    before, after = painted(pixels).sum(axis=(1, 2)), painted(changed).sum(axis=(1, 2))
    assert 1 - (after / before).min() <= 1 / 3 + 0.01
    assert (after < before).mean() > 0.3


_IN_JAX = """
import sys
import jax
import numpy as np
from sharpeye.core.config import AugmentConfig
from sharpeye.learn.nets.augmentation import Augmentation
inputs = np.load(sys.argv[2])
pixels, boxes, targets = (inputs[name] for name in ("pixels", "boxes", "targets"))
augmentation = Augmentation(AugmentConfig(**eval(sys.argv[1])), *pixels.shape[1:3], fill=127.0)
draws = augmentation.draw(len(pixels), np.random.default_rng(3), boxes)
pixels, targets, boxes = jax.jit(augmentation.apply)(pixels, targets, draws, boxes=boxes)
np.savez(sys.argv[3], pixels=pixels, boxes=boxes)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize("rotate", [pytest.param(0, marks=pytest.mark.slow), 20])
def test_jax_moves_the_same_boxes(rotate: int, tmp_path: Path) -> None:
    knobs: dict[str, Any] = {"shift": 25, "cutout": 20}
    knobs |= {"rotate": rotate, "zoom": 30} if rotate else {}
    boxes = draw_boxes(20)
    pixels, targets = paint(boxes), np.eye(20, dtype=np.float32)
    np.savez(tmp_path / "inputs.npz", pixels=pixels, boxes=boxes, targets=targets)
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
    _, expected, moved = change(AugmentConfig(**knobs), pixels, boxes, seed=3)
    np.testing.assert_allclose(result["boxes"], moved, atol=1e-6)
    assert result["boxes"].dtype == np.float32
    assert (np.abs(result["pixels"] - expected) > 0.01).mean() < 1e-3
    assert np.abs(result["pixels"] - pixels).mean() > 1
