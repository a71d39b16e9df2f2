"""People may be shown a JPEG that was decoded at a part of its size, a model never."""

import io

import numpy as np
import pytest
from PIL import Image

from image_files import (
    decoded_pixels,
    encoded,
)
from sharpeye.images.decode import (
    decode,
    decode_with_size,
)


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A smooth 4000 x 3000 JPEG."""
    small = np.random.default_rng(5).integers(0, 256, (9, 12, 3), np.uint8)
    large = Image.fromarray(small).resize((4000, 3000), Image.Resampling.BICUBIC)
    return encoded(large, "JPEG", quality=90)


def test_a_model_gets_every_pixel_of_a_large_jpeg(photo: bytes) -> None:
    """Whoever asks the model in another language has no draft mode."""
    with Image.open(io.BytesIO(photo)) as image:
        assert (decoded_pixels(photo) == np.asarray(image)).all()


def test_for_people_a_large_jpeg_is_decoded_smaller_but_large_enough(photo: bytes) -> None:
    small = decode_with_size(photo, "x", display_size=(224, 224))[0]
    assert 2 * 224 <= small.width < 2000
    gap = np.abs(np.asarray(small.resize((224, 168))).astype(int) - resized(photo, (224, 168)))
    assert gap.mean() < 1.0 and np.percentile(gap, 99) <= 6


def resized(data: bytes, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(decode(data, "x").resize(size))


def test_a_turned_jpeg_stays_twice_as_large_as_it_is_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (1600, 400)), "JPEG", exif=exif)  # upright: 400 x 1600
    image = decode_with_size(data, "x", display_size=(40, 160))[0]
    assert image.width < 400
    assert image.height >= 2 * 160 and image.width >= 2 * 40


def test_small_and_lossless_images_are_never_shrunk() -> None:
    jpeg, png = (encoded(np.zeros((300, 400), np.uint8), kind) for kind in ("JPEG", "PNG"))
    assert decode_with_size(jpeg, "x", display_size=(224, 224))[0].size == (400, 300)
    assert decode_with_size(png, "x", display_size=(40, 40))[0].size == (400, 300)
