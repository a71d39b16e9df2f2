"""Names by which tools mark versions of one image, and names that only look so."""

import uuid

import pytest

from sharpeye.data.augmentation_names import source_names

UUIDS = [str(uuid.UUID(int=n * 7919)) for n in range(1, 5)]
HASHES = [f"{n * 104729:032x}" for n in range(1, 5)]


def groups(names: list[str]) -> list[set[str]]:
    """The groups of names that share a source, or of which one is the source of another."""
    keys = [sources | {name} for name, sources in zip(names, source_names(names), strict=True)]
    found: list[tuple[set[str], set[str]]] = []
    for name, own in zip(names, keys, strict=True):
        joined = [group for group in found if group[1] & own]
        found = [group for group in found if not group[1] & own]
        found.append(({name}.union(*(g[0] for g in joined)), own.union(*(g[1] for g in joined))))
    return [members for members, _ in found if len(members) > 1]


@pytest.mark.parametrize(
    "versions",
    [
        ["1", "1_nohash_r1", "1_nohash_flip"],
        ["cat/IMG_7", *(f"cat/IMG_7_jpg.rf.{h}" for h in HASHES)],
        [f"a b.c_png.rf.{h}" for h in HASHES],
        [f"cat/cat_original_7.jpg_{u}" for u in UUIDS],
        ["cat/7", *(f"cat/output/cat_original_7.jpg_{u}" for u in UUIDS)],
        ["7", "7_x", "7_y_x_noised"],
        ["rose", "rose_flip", "rose_rot90", "rose_rotated_15", "rose_bright", "rose_flip_rot_-15"],
        ["IMG_0001_hflip", "IMG_0001_aug_1", "IMG_0001_aug2", "IMG_0001-blurred"],
        ["IMG_0001", "flipped_IMG_0001", "aug_3_IMG_0001", "rot90_IMG_0001"],
        ["IMG_0001", "IMG_0001_horizontal_flip", "IMG_0001_flip_lr", "IMG_0001_gaussian_noise"],
        ["photos/rose", "photos/augmented/rose_zoom_1.5", "photos/augmented/rose_brightness_0.8"],
        ["a", "a - Copy", "a - Copy (2)", "Copy of a", "a copy", "a copy 2", "a - Kopie"],
        ["IMG_0001", "IMG_0001 (1)", "IMG_0001(2)", "IMG_0001-edited", "IMG_E0001", "IMG_0001~2"],
        ["IMG_20200101_123456_BURST001_COVER", "IMG_20200101_123456_BURST002"],
        [f"1_jpg.rf.{HASHES[0]}", f"1_jpg.rf.{HASHES[1]}_hflip", "1"],
    ],
)
def test_versions_of_one_image_are_one_group(versions: list[str]) -> None:
    others = [name.replace("1", "2").replace("7", "8") for name in versions if "rf." in name]
    names = [*versions, *(o for o in others if o not in versions), "IMG_0999", "tulip", "cat/99"]
    assert groups(names)[0] >= set(versions) and len(groups(versions)) == 1
    assert not any({"IMG_0999", "tulip", "cat/99"} & group for group in groups(names))


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{n:04}" for n in range(1, 300)],
        [f"rose_{n}" for n in range(50)],
        [f"rose ({n})" for n in range(1, 50)],
        ["images", *(f"images ({n})" for n in range(1, 30)), "download", "download (1)"],
        [f"rose_dark_{n}" for n in range(30)],
        [f"rose_aug_{n}" for n in range(30)],
        [f"mirror_{n}" for n in range(30)],
        [f"bathroom_mirror_{n}" for n in range(30)],
        [f"aug_{n}" for n in range(30)],
        [f"IMG_20200101_{n}" for n in range(123400, 123430)],
        [f"cam_{c}_{n:06}" for c in range(4) for n in range(30)],
        [f"a_{c}_{n}" for c in range(4) for n in range(30)],
        [f"aug_0_{n * 7919 % 10007}" for n in range(1, 40)],  # one image each, or all of one?
        ["cat/1", "dog/2_flip", "dog/1"],
        [f"frame{n}_gray" for n in range(100, 140)],
    ],
)
def test_other_images_are_not_joined(names: list[str]) -> None:
    assert groups(names) == []


def test_copies_that_keras_saves_are_grouped_by_their_index() -> None:
    numbers = iter(n * 7919 % 9973 for n in range(1, 100))
    names = [f"cat/aug_{index}_{next(numbers)}" for index in range(10) for _ in range(5)]
    assert sorted(map(len, groups(names))) == [5] * 10
    assert all(len({name.split("_")[1] for name in group}) == 1 for group in groups(names))


def test_a_rule_that_joins_most_of_a_folder_has_misread_it() -> None:
    assert groups([f"plot001_crop_{n}" for n in range(40)]) == []
    two_sources = [f"plot00{p}_crop_{n}" for p in (1, 2) for n in range(15)]
    assert sorted(map(len, groups(two_sources))) == [15, 15]
