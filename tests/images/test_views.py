"""The views of an image: drawn from its digest alone, within the bounds that were asked for."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from localizer import through_view
from sharpeye.core.types import Box, InputSpec, ResizeMode
from sharpeye.images.boxes import to_input, to_pixels, view_to_input
from sharpeye.images.resize import fit_image, view_window
from sharpeye.images.views import PLAIN, Distortion, View, draw_box_view, draw_view

DIGEST = "ab" * 32
INDICES = range(1, 2001)


def test_views_are_drawn_from_digest_and_index_alone() -> None:
    views = [draw_view(index, DIGEST) for index in range(32)]
    assert views == [draw_view(index, DIGEST) for index in range(32)]
    assert len(set(views)) == 32
    other = [draw_view(index, "cd" * 32) for index in range(32)]
    assert other[:2] == views[:2] and not set(other[2:]) & set(views[2:])
    # Fixed for good: a change of these numbers must come with a new VIEWS_VERSION.
    assert [round(v, 6) for v in draw_view(2, DIGEST).crop] == [
        *(0.075903, 0.023571, 0.985436, 0.985733)
    ]


def test_crops_are_within_the_image_and_as_large_as_said() -> None:
    areas = []
    for index in range(2, 400):
        view = draw_view(index, DIGEST)
        left, top, right, bottom = view.crop
        assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
        assert view.flip == (index % 2 == 1)
        width, height = right - left, bottom - top
        assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9
        areas.append(width * height)
    assert 0.55 < min(areas) < 0.65 and 0.9 < max(areas) <= 1 + 1e-9


# --- distortions ---------------------------------------------------------------------------------


def sides(views: list[View]) -> np.ndarray:
    """float64[N,2]: width and height of each window as shares of the image's."""
    crops = np.array([view.crop for view in views])
    return crops[:, 2:] - crops[:, :2]


def test_a_distortion_draws_from_digest_index_and_its_own_values_alone() -> None:
    distortion = Distortion(True, 10, 20, 30)
    views = [distortion.draw(index, DIGEST) for index in range(32)]
    assert views == [Distortion(True, 10, 20, 30).draw(index, DIGEST) for index in range(32)]
    assert views[0] == PLAIN and len(set(views)) == 32
    others = (Distortion(False, 10, 20, 30), Distortion(True, 11, 20, 30))
    others += (Distortion(True, 10, 21, 30), Distortion(True, 10, 20, 31))
    windows = {view.crop for view in views[1:]}
    for other in others:
        drawn = [other.draw(index, DIGEST) for index in range(32)]
        assert drawn[0] == PLAIN and not windows & {view.crop for view in drawn[1:]}
    other_image = [distortion.draw(index, "cd" * 32) for index in range(32)]
    assert not windows & {view.crop for view in other_image[1:]}
    # Fixed for good: a change of these numbers must come with a new VIEWS_VERSION.
    assert [round(v, 6) for v in (*views[1].crop, views[1].brightness)] == [
        *(0.194388, 0.198317, 0.983976, 0.987905, 1.197313)
    ]


def test_a_distortion_without_values_changes_nothing() -> None:
    assert not Distortion().active
    assert {Distortion().draw(index, DIGEST) for index in range(9)} == {PLAIN}
    for distortion in (
        Distortion(True),
        Distortion(crop=1),
        Distortion(scale=1),
        Distortion(brightness=1),
    ):
        assert distortion.active
        assert {distortion.draw(index, DIGEST) for index in range(32)} != {PLAIN}


@pytest.mark.parametrize(("crop", "scale"), [(0, 30), (25, 0), (50, 100), (200, 400)])
def test_windows_have_the_size_of_the_rule_and_lie_anywhere_inside(crop: int, scale: int) -> None:
    distortion = Distortion(crop=crop, scale=scale)
    views = [distortion.draw(index, DIGEST) for index in INDICES]
    assert {(view.flip, view.brightness) for view in views} == {(False, 1.0)}
    crops, side = np.array([view.crop for view in views]), sides(views)
    assert crops.min() >= 0 and crops.max() <= 1 + 1e-9
    np.testing.assert_allclose(side[:, 0], side[:, 1], atol=1e-9)  # the image's aspect ratio
    # k = margin * U(1, 1 + scale/100): its bounds are nearly reached, and its mean is the middle.
    margin, stretch = 1 + crop / 100, scale / 100
    zoom = 1 / side[:, 0]
    assert zoom.min() >= margin * (1 - 1e-9) and zoom.max() <= margin * (1 + stretch) * (1 + 1e-9)
    assert np.ptp(zoom) >= 0.98 * margin * stretch - 1e-9
    assert abs(zoom.mean() - margin * (1 + stretch / 2)) <= 0.03 * margin * stretch + 1e-9
    # The place is uniform over what is left, and independent in both directions.
    place = crops[:, :2] / (1 - side)
    assert (np.abs(place.mean(axis=0) - 0.5) < 0.03).all()
    assert (place.min(axis=0) < 0.01).all() and (place.max(axis=0) > 0.99).all()
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.1


def test_half_of_the_views_are_mirrored() -> None:
    distortion = Distortion(flip_left_right=True)
    views = [distortion.draw(index, DIGEST) for index in INDICES]
    assert 0.46 < np.mean([view.flip for view in views]) < 0.54
    assert {(view.crop, view.brightness) for view in views} == {(PLAIN.crop, 1.0)}
    # As random over images as over indices.
    digests = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(2000)]
    assert 0.46 < np.mean([distortion.draw(1, digest).flip for digest in digests]) < 0.54


@pytest.mark.parametrize("percent", [1, 30, 100])
def test_brightness_is_uniform_within_its_percentage(percent: int) -> None:
    distortion, share = Distortion(brightness=percent), percent / 100
    views = [distortion.draw(index, DIGEST) for index in INDICES]
    assert {(view.flip, view.crop) for view in views} == {(False, PLAIN.crop)}
    drawn = np.array([view.brightness for view in views])
    assert drawn.min() >= 1 - share - 1e-9 and drawn.max() <= 1 + share + 1e-9
    assert drawn.min() < 1 - 0.98 * share and drawn.max() > 1 + 0.98 * share
    assert abs(drawn.mean() - 1) < 0.04 * share
    assert abs(drawn.std() - share / np.sqrt(3)) < 0.03 * share


@pytest.mark.parametrize("wrong", [{"crop": -1}, {"scale": -1}, {"brightness": -1}])
def test_negative_percentages_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be 0 percent or more\. Received: .*=-1"):
        Distortion(**wrong)  # type: ignore[arg-type]


# --- views that keep an object -------------------------------------------------------------------


def draw_objects(count: int, seed: int = 0) -> list[Box]:
    random = np.random.default_rng(seed)
    sides = random.uniform(0.05, 0.95, (count, 2))
    first = random.uniform(0, 1 - sides)
    everything = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.4, 1.0, 0.6), (0.9, 0.0, 1.0, 0.1)]
    return [*everything, *map(tuple, np.concatenate([first, first + sides], axis=1).tolist())]


def test_box_views_are_drawn_from_index_digest_and_box_alone() -> None:
    box = (0.2, 0.3, 0.5, 0.7)
    views = [draw_box_view(index, DIGEST, box) for index in range(32)]
    assert views == [draw_box_view(index, DIGEST, box) for index in range(32)]
    assert views[:2] == [PLAIN, View(flip=True)]
    assert len(set(views)) == 32
    for others in (
        [draw_box_view(index, "cd" * 32, box) for index in range(32)],
        [draw_box_view(index, DIGEST, (0.2, 0.3, 0.5, 0.71)) for index in range(32)],
        [draw_view(index, DIGEST) for index in range(32)],
    ):
        assert not set(others[2:]) & set(views[2:])
    as_stored = np.array(box, np.float32)
    assert draw_box_view(5, DIGEST, tuple(as_stored.tolist())) == views[5]
    # Fixed for good: a change of these numbers must come with a new VIEWS_VERSION.
    assert [round(v, 6) for v in views[2].crop] == [*(0.157327, 0.016216, 0.944039, 0.931984)]


def test_box_views_hold_the_whole_object_with_a_margin_where_there_is_room() -> None:
    areas, free = [], []
    for number, box in enumerate(draw_objects(300)):
        for index in range(2, 8):
            view = draw_box_view(index, f"{number:064x}", box)
            left, top, right, bottom = view.crop
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            assert view.flip == (index % 2 == 1)
            rooms = [box[0] - left, box[1] - top, right - box[2], bottom - box[3]]
            edges = [box[0], box[1], 1 - box[2], 1 - box[3]]
            for room, edge in zip(rooms, edges, strict=True):
                assert room >= min(0.02, edge) - 1e-9
            width, height = right - left, bottom - top
            assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9
            areas.append(width * height)
            if box[2] - box[0] < 0.5:
                free.append((left, right))
    assert 0.5 - 1e-9 <= min(areas) < 0.52 and max(areas) > 0.99
    spread = np.array(free)
    assert spread[:, 0].max() > 0.3 and spread[:, 1].min() < 0.7


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(61, 47), (200, 333), (640, 200)])
def test_a_painted_box_lies_where_it_is_computed_in_a_view(
    fit: ResizeMode, size: tuple[int, int]
) -> None:
    spec = InputSpec(height=96, width=128, fit=fit, filter="bilinear")
    for number, box in enumerate(draw_objects(30, seed=1)):
        left, top, right, bottom = (
            round(edge * side) for edge, side in zip(box, size * 2, strict=True)
        )
        if min((right - left) / size[0], (bottom - top) / size[1]) < 0.1:
            continue
        image = Image.new("RGB", size, (0, 0, 255))
        image.paste((255, 0, 0), (left, top, right, bottom))
        whole = (left / size[0], top / size[1], right / size[0], bottom / size[1])
        for index in range(6):
            view = draw_box_view(index, f"{number:064x}", whole)
            pixels = fit_image(image, spec, view).astype(int)
            mask = pixels[..., 0] - pixels[..., 2] > 1  # the padding is neither
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            painted = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            computed = to_pixels(view_to_input(whole, view, size, spec=spec), (128, 96))
            np.testing.assert_allclose(computed, painted, atol=1.0)
            if min(size) > 128:  # else a pixel of the image is more than one of the input
                loose = to_input(through_view(whole, view), crop_size(size, view), spec)
                np.testing.assert_allclose(to_pixels(loose, (128, 96)), painted, atol=2.0)


def crop_size(size: tuple[int, int], view: View) -> tuple[int, int]:
    left, top, right, bottom = view_window(size, view)
    return right - left, bottom - top
