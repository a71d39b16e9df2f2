"""Copies of drawn scenes are found, other scenes are not; no all-pairs comparison."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from sharpeye.data.near_duplicates import candidate_pairs, duplicate_groups, find_near_duplicates
from sharpeye.data.thumbnail import DISPLAY_SIZE, THUMBNAIL, ThumbnailArray, make_thumbnail
from sharpeye.data.thumbnail_comparison import ImagePairs
from sharpeye.images.decode import decode_with_size


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Soft clouds with a few hard shapes, unlike for every seed."""
    random = np.random.default_rng(seed)
    low = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = Image.fromarray(low).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        width, height = random.integers(20, 90, 2)
        colour = tuple(int(v) for v in random.integers(0, 256, 3))
        draw.ellipse((x, y, x + width, y + height), fill=colour)
    return image


def thumbnail_of(image: Image.Image, quality: int = 90) -> ThumbnailArray:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return make_thumbnail(*decode_with_size(buffer.getvalue(), "test", display_size=DISPLAY_SIZE))


def thumbnails_of(images: list[Image.Image], quality: int = 90) -> ThumbnailArray:
    return np.concatenate([thumbnail_of(image, quality) for image in images])


def cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    dx, dy = round(width * share), round(height * share)
    return image.crop((dx, dy, width - dx, height - dy))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda image: scaled(image, 0.5),
    "double": lambda image: scaled(image, 2.0),
    "cropped": lambda image: cropped(image, 0.02),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_changed_copy_is_found_and_nothing_else(change: str) -> None:
    images = [scene(seed) for seed in range(40)]
    thumbnails = thumbnails_of([*images, *map(CHANGES[change], images)])
    pairs = find_near_duplicates(thumbnails)
    result_pairs = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = {(i, i + 40) for i in range(40)}
    assert result_pairs <= planted
    assert len(result_pairs) >= 38


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_recompressed_copies_are_found(quality: int) -> None:
    images = [scene(seed) for seed in range(20)]
    pairs = find_near_duplicates(
        np.concatenate([thumbnails_of(images, 95), thumbnails_of(images, quality)])
    )
    assert pairs.first.tolist() == list(range(20))
    assert pairs.second.tolist() == list(range(20, 40))


def test_the_same_drawing_in_another_colour_is_another_image() -> None:
    red, blue = (Image.new("RGB", (120, 120), "white") for _ in range(2))
    ImageDraw.Draw(red).ellipse((20, 20, 100, 90), fill=(200, 80, 80))
    ImageDraw.Draw(blue).ellipse((20, 20, 100, 90), fill=(84, 120, 200))
    assert len(find_near_duplicates(thumbnails_of([red, blue]))) == 0


def test_flat_images_are_no_copies_of_each_other() -> None:
    flat = [Image.new("RGB", (80, 60), (level,) * 3) for level in (10, 128, 128, 250)]
    assert len(find_near_duplicates(thumbnails_of(flat))) == 0


def test_another_aspect_ratio_is_another_image() -> None:
    image = scene(3)
    assert len(find_near_duplicates(thumbnails_of([image, image.resize((240, 120))]))) == 0


def test_a_pair_is_found_among_any_other_images() -> None:
    pair = [scene(1), scaled(scene(1), 0.5)]
    alone = find_near_duplicates(thumbnails_of(pair))
    among = find_near_duplicates(thumbnails_of([*(scene(seed) for seed in range(50, 90)), *pair]))
    assert (among.first.tolist(), among.second.tolist()) == ([40], [41])
    assert alone.edges.tolist() == pytest.approx(among.edges.tolist(), abs=1e-5)


def test_not_all_pairs_are_compared_though_all_images_are_similar() -> None:
    base = scene(7).filter(ImageFilter.GaussianBlur(3))
    thumbnails = np.repeat(thumbnail_of(base), 400)
    random = np.random.default_rng(0)
    noise = random.integers(-3, 4, thumbnails["thumb"].shape)
    thumbnails["thumb"] = np.clip(thumbnails["thumb"] + noise, 0, 255).astype(np.uint8)
    first, _ = candidate_pairs(thumbnails)
    assert len(first) < 400 * 399 / 2
    groups = duplicate_groups(find_near_duplicates(thumbnails))
    assert [len(rows) for rows in groups] == [400]


def test_pairs_connect_groups() -> None:
    empty = np.zeros(3, np.float32)
    pairs = ImagePairs(np.array([0, 2, 5]), np.array([2, 4, 6]), *[empty] * 4)
    assert duplicate_groups(pairs) == [[0, 2, 4], [5, 6]]


def test_no_images_and_one_image_have_no_pairs() -> None:
    assert len(find_near_duplicates(np.zeros(0, THUMBNAIL))) == 0
    assert len(find_near_duplicates(thumbnail_of(scene(0)))) == 0


def test_within_a_group_pairs_of_different_categories_are_all_compared() -> None:
    thumbnails = np.repeat(thumbnail_of(scene(7)), 60)
    thumbnails["thumb"][:, 0, 0] = np.arange(60)
    candidates = set(zip(*(rows.tolist() for rows in candidate_pairs(thumbnails)), strict=True))
    connecting = find_near_duplicates(thumbnails)
    assert len(connecting) < len(candidates)
    assert duplicate_groups(connecting) == [list(range(60))]
    categories = np.arange(60) % 2
    pairs = find_near_duplicates(thumbnails, categories)
    across = {(a, b) for a, b in candidates if a % 2 != b % 2}
    result_pairs = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert across <= result_pairs
