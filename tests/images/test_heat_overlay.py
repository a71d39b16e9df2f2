"""Heat maps: from cells to the image for each way of fitting, and in colours that tell."""

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.types import InputSpec, ResizeMode
from sharpeye.images.heat_overlay import COLOURS, colorize, upsample_heat_map
from sharpeye.images.resize import fit_image, placement

SPEC = InputSpec(32, 32)


def hottest(heat: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> tuple[int, int]:
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(x), int(y)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (97, 31), (32, 32), (20, 300)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_a_hot_cell_lies_where_the_image_was(fit: ResizeMode, size: tuple[int, int]) -> None:
    """A white spot is fitted as images are; the cell that is lit by it is brought back."""
    spec = InputSpec(32, 32, fit, pad_value=0)
    spot = (size[0] // 2 - 4, size[1] // 2 - 4, size[0] // 2 + 4, size[1] // 2 + 4)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), spot)
    cells = fit_image(image, spec)[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
    heat = upsample_heat_map(cells, size, spec, size=size)
    assert heat.shape == size[::-1]
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, 1)
    y, x = np.nonzero(heat > 0.5)
    across, down, _, _ = placement(size, spec)
    # To half a cell of 4 pixels, as the spot may lie across cells.
    assert x.mean() == pytest.approx(size[0] / 2, abs=max(2, 3 / across))
    assert y.mean() == pytest.approx(size[1] / 2, abs=max(2, 3 / down))


def test_what_a_crop_cut_off_was_not_seen() -> None:
    heat = upsample_heat_map(
        np.ones((4, 4)), (300, 100), InputSpec(32, 32, "crop"), size=(300, 100)
    )
    assert (heat[:, 100:200] == 1).all()
    assert not heat[:, :100].any()
    assert not heat[:, 200:].any()


def test_heat_on_the_padding_is_cut_off_and_no_measure() -> None:
    cells = np.zeros((8, 8))
    cells[0], cells[4, 6] = 9, 1  # the image lies in the rows 2 to 6
    heat = upsample_heat_map(cells, (200, 100), SPEC, size=(200, 100))
    assert heat.max() == 1
    assert hottest(heat)[0] == pytest.approx(6.5 / 8 * 200, abs=3)
    assert hottest(heat)[1] == pytest.approx((4.5 - 2) / 4 * 100, abs=3)


def test_a_map_may_be_smaller_than_the_image_that_was_decoded() -> None:
    cells = np.random.default_rng(0).normal(size=(5, 5))
    large = upsample_heat_map(cells, (301, 200), SPEC, size=(602, 400))
    small = upsample_heat_map(cells, (301, 200), SPEC, size=(60, 40))
    shrunk = np.asarray(Image.fromarray(large).resize((60, 40), Image.Resampling.BOX))
    assert np.abs(shrunk - small).max() < 0.1


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (1, 2000), (3, 700)])
def test_any_size_gets_a_map(fit: ResizeMode, size: tuple[int, int]) -> None:
    heat = upsample_heat_map(np.eye(3) + 1, size, InputSpec(32, 32, fit), size=size)
    assert heat.shape == size[::-1]
    assert heat.max() == 1


def test_nothing_positive_is_no_heat() -> None:
    for cells in (np.zeros((3, 3)), np.full((3, 3), -2.0)):
        assert not upsample_heat_map(cells, (40, 30), SPEC, size=(40, 30)).any()


def _lightness(colour: tuple[int, int, int]) -> float:
    """CIE L*, 0..100, of an sRGB colour."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in _share(colour)]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def _share(colour: tuple[int, int, int]) -> list[float]:
    return [v / 255 for v in colour]


def test_hotter_is_lighter_by_even_steps() -> None:
    steps = np.diff([_lightness(colour) for colour in COLOURS])
    assert steps.min() > 6
    assert steps.max() < 20


def test_cold_places_are_the_image_in_grey_and_hot_ones_are_coloured() -> None:
    image = Image.new("RGB", (30, 10), (200, 30, 30))
    heat = np.zeros((10, 30), np.float32)
    heat[:, 20:] = 1
    painted = colorize(image, heat)
    assert painted.getpixel((5, 5)) == (image.convert("L").getpixel((5, 5)),) * 3
    red, green, blue = painted.getpixel((25, 5))
    assert red > 200 and green > 200 and blue < red - 60
    assert image.getpixel((5, 5)) == (200, 30, 30)
