"""Mirrored and slightly turned copies are found, other images are not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from sharpeye.data.near_duplicates import find_near_duplicates
from sharpeye.data.thumbnail import ThumbnailArray, make_thumbnail
from sharpeye.data.turned_copies import find_turned_copies


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A cloud of coloured shapes, without symmetry."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 130, (size[1], size[0], 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, w, h = rng.integers((0, 0, 12, 12), (*size, 60, 60))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.ellipse((int(x), int(y), int(x + w), int(y + h)), fill=colour)
    return image


def thumbnails(images: list[Image.Image]) -> ThumbnailArray:
    return np.concatenate([make_thumbnail(image, image.size) for image in images])


IMAGES = [photo(seed) for seed in range(40)]
COPIES = {
    "mirrored": ImageOps.mirror,
    "turned by 8": lambda image: image.rotate(8, Image.Resampling.BICUBIC),
    "turned by -12, grey corners": lambda image: image.rotate(-12, fillcolor=(110, 110, 110)),
    "mirrored and brighter": lambda image: ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(
        1.25
    ),
    "mirrored and turned": lambda image: ImageOps.mirror(image).rotate(9),
}


@pytest.mark.parametrize(
    ("kind", "min_share"), list(zip(COPIES, (1, 0.9, 0.6, 0.9, 0.8), strict=True))
)
def test_copies_are_found_and_nothing_else(kind: str, min_share: float) -> None:
    count = len(IMAGES)
    both = thumbnails([*IMAGES, *map(COPIES[kind], IMAGES)])
    pairs = find_turned_copies(both, np.zeros(len(both), np.int64))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found <= {(index, index + count) for index in range(count)}
    assert len(found) >= min_share * count
    assert np.all(pairs.edges >= 0.96)


def test_only_images_of_one_class_are_compared() -> None:
    both = thumbnails([*IMAGES, *map(ImageOps.mirror, IMAGES)])
    assert len(find_turned_copies(both, np.arange(len(both)))) == 0


def test_what_is_connected_already_is_left_out() -> None:
    both = thumbnails([*IMAGES, *(image.resize((120, 90)) for image in IMAGES)])
    known = find_near_duplicates(both)
    assert len(known) == len(IMAGES)
    assert len(find_turned_copies(both, np.zeros(len(both), np.int64), known)) == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_flat_or_tiny_images_are_no_copies(count: int) -> None:
    flat = thumbnails(
        [Image.new("RGB", (100, 100), (50, 60, 70))] * count + [photo(1, (30, 20))] * 2
    )
    assert len(find_turned_copies(flat, np.zeros(len(flat), np.int64))) == 0
