"""Names by which tools mark versions of one image, and names that only look so."""

import random
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
        [
            "IMG_0001",
            "Kopie von IMG_0001",
            "Copia de IMG_0001",
            "IMG_0001 - 副本",
            "IMG_0001 のコピー",
        ],
        ["rose", "flip_rose", "aug_rose", "90_rose", "rose_256x256", "rose-rot-90", "rose.flip"],
        ["rose12", "rose12 (2)", "rose12(1)"],
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


TRANSFORMS = (
    "RandomBrightnessContrast GaussNoise GaussianBlur Affine CLAHE ShiftScaleRotate VerticalFlip "
    "ElasticTransform GridDistortion HueSaturationValue RandomSizedCrop ToGray Fliplr "
    "FancyPCA RandomToneCurve_Contrast UnsharpMask Defocus LongestMaxSize TrivialAugmentWide "
    "RandomAdjustSharpness RandomRain ISONoise MotionBlur Perspective CoarseDropout RGBShift "
    "AdditiveGaussianNoise "
    "equalized salt_pepper motion_blur center_crop shear_x rotate_left lr ud 180 90deg flop "
    "inverted affine rot90 clahe grid_distortion 90 random_erasing rot90cw translate_x_0.2 lowlight"
)


@pytest.mark.parametrize("transform", TRANSFORMS.split())
@pytest.mark.parametrize("base", ["IMG_{:04}", "rose{}", "photo_{}"])
def test_a_transform_after_the_name_of_an_image_marks_its_version(
    transform: str, base: str
) -> None:
    bases = [base.format(3 * n + 11) for n in range(10)]
    names = [f"a/{name}" for stem in bases for name in (stem, f"{stem}_{transform}")]
    assert groups(names) == [{f"a/{stem}", f"a/{stem}_{transform}"} for stem in bases]


@pytest.mark.parametrize("folder", ["augmented", "flipped", "output", "Rotated", "horizontal_flip"])
@pytest.mark.parametrize("ending", ["", "_flipped"])
def test_versions_in_an_output_folder_have_the_names_of_their_originals(
    folder: str, ending: str
) -> None:
    names = [f"a/{d}" for n in range(9) for d in (f"rose{n}", f"{folder}/rose{n}{ending}")]
    assert groups(names) == [{f"a/rose{n}", f"a/{folder}/rose{n}{ending}"} for n in range(9)]


@pytest.mark.parametrize("folder", ["garden", "2021", "left", "new"])
def test_other_folders_are_not_of_versions(folder: str) -> None:
    assert groups([f"a/{d}{n}" for n in range(9) for d in ("", f"{folder}/")]) == []


@pytest.mark.parametrize(
    "moment",
    [
        ("20210101_12000{m}_001", "20210101_12000{m}_002", "20210101_12000{m}_003"),
        ("20210101_12000{m}", "20210101_12000{m}(0)", "20210101_12000{m}(1)"),
        ("IMG_20210101_12000{m}_1", "IMG_20210101_12000{m}_2"),
        (
            "00000IMG_00000_BURST2021010112010{m}001_COVER",
            "00001IMG_00001_BURST2021010112010{m}001",
        ),
        (
            "00000XTR_00000_BURST2021010112010{m}123_COVER",
            "00001XTR_00001_BURST2021010112010{m}123",
        ),
        ("DSC_PRC_2021_BURST2021010112000{m}_1", "DSC_PRC_2021_BURST2021010112000{m}_2"),
        ("DSCPDC_0000_BURST2019041411554{m}371_COVER", "DSCPDC_0001_BURST2019041411554{m}371"),
        tuple(
            "PXL_20210101_12000{m}123" + ending
            for ending in ("", ".MP", ".PORTRAIT", ".RAW-01.MP.COVER", "~2", ".NIGHT")
        ),
        ("IMG_20210101_12000{m}", "MVIMG_20210101_12000{m}"),
        ("IMG_20210101_12000{m}_BURST001_COVER", "IMG_20210101_12000{m}_BURST002"),
    ],
)
def test_a_burst_is_one_group(moment: tuple[str, ...]) -> None:
    expected = [{name.format(m=m) for name in moment} for m in range(8)]
    assert groups([name for of_moment in expected for name in sorted(of_moment)]) == expected


@pytest.mark.parametrize(
    "form",
    [
        *("frame_{:03}", "2021_01_{:02}", "IMG_20210101_1234{:02}", "DSC{:05}", "rose_{}", "{}_x"),
        *("photo ~{}", "20210101_12{:02}00", "20210101_120000_{}", "IMG_20210101_120000 ({})"),
        *("WhatsApp Image 2021-01-01 at 12.00.00 ({})", "PXL_20210101_1234{:05}", "download_{}"),
        *("C100P61ThinF_IMG_20150918_144104_cell_{}", "n01440764_{}", "ISIC_{:07}", "rose 1 ({})"),
        *("2023-05-04 color {}", "patient001_scan_{}", "MVIMG_20210101_1200{:02}"),
    ],
)
def test_series_are_not_joined(form: str) -> None:
    assert groups([f"a/{form.format(n)}" for n in range(1, 60)]) == []


@pytest.mark.parametrize("form", ["rose{}", "rose_{}", "rose ({})"])
def test_a_series_beside_its_name_is_not_joined(form: str) -> None:
    assert groups(["rose", *(form.format(n) for n in range(1, 200))]) == []


def keras_copies(form: str, sources: int, copies: int, limit: int = 10**4) -> list[set[str]]:
    numbers = random.Random(3)
    return [
        {form.format(n, numbers.randrange(limit)) for _ in range(copies)} for n in range(sources)
    ]


@pytest.mark.parametrize("limit", [10**4, 10**7])
@pytest.mark.parametrize(
    ("form", "sources", "copies"),
    [
        *(("aug_Y{}_0_{}", 30, 6), ("cat.{}_0_{}", 10, 5), ("IMG_010{}_0_{}", 10, 5)),
        *(("{}_0_{}", 20, 4), ("rose{}_0_{}", 2, 20), ("rose{}_0_{}", 3, 3)),
        *(("aug_{}_{}", 10, 30), ("aug_{}_{}", 2, 20), ("aug_{}_{}", 10, 5), ("_{}_{}", 9, 40)),
    ],
)
def test_keras_copies_are_grouped_by_source(
    form: str, sources: int, copies: int, limit: int
) -> None:
    expected = keras_copies(f"a/{form}", sources, copies, limit)
    names = [name for group in expected for name in sorted(group)]
    assert groups(names) == expected


def test_keras_copies_belong_to_the_original_beside_them() -> None:
    copies = keras_copies("a/aug_rose{}_0_{}", 8, 5)
    names = [name for group in copies for name in sorted(group)]
    expected = [group | {f"a/rose{n}"} for n, group in enumerate(copies)]
    found = groups([*names, *(f"a/rose{n}" for n in range(8))])
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


@pytest.mark.parametrize(
    "names",
    [
        [f"tile_{512 * r}_{512 * c}" for r in range(8) for c in range(8)],
        [f"tile_{r}_{512 * c}" for r in range(8) for c in range(8)],
        [f"slide{s}_0_{512 * c}" for s in range(8) for c in range(8)],
        [f"vid_{v}_{f}" for v in range(10) for f in range(0, 3000, 300)],
        [f"cam_{c}_{n}" for c in range(3) for n in range(9000 + 30 * c, 9030 + 30 * c)],
        [f"cam{c}_0_{n}" for c in range(3) for n in range(9000 + 30 * c, 9030 + 30 * c)],
        [f"rose_0_{n * 7919 % 9973}" for n in range(1, 40)],
        [f"{name}_0_{n * 7919 % 9973}" for name in ("rose", "tulip") for n in range(1, 40)],
        [f"p_2020_{month}{day:02}" for month in range(1, 13) for day in range(1, 28, 3)],
    ],
)
def test_numbers_that_are_not_random_are_no_keras_copies(names: list[str]) -> None:
    assert groups(names) == []
