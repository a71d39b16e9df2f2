"""`sharpeye augment`: painted objects are found again where the new annotations say."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner import one_line, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.data.split import assign_splits
from sharpeye.data.split_rules import ContentRule, SplitFractions
from sharpeye.images.boxes import iou
from sharpeye.images.voc_xml import VocObject, parse_voc, write_voc
from sharpeye.jobs.augment_ops import FIXED_AUGMENTATIONS, RandomAugmentation
from wide_images import png

Captured = pytest.CaptureFixture[str]
Corners = tuple[int, int, int, int]

SIZE = (90, 70)
RED, GREEN, GROUND = (230, 20, 20), (20, 200, 20), (40, 40, 60)
ENDINGS = ("", "_nohash_y", "_nohash_x", "_nohash_y_x")
ENDINGS += ("_nohash_noised", "_nohash_y_noised", "_nohash_x_noised", "_nohash_y_x_noised")


def paint(corners: Corners = (10, 15, 40, 33), second: Corners | None = None) -> Image.Image:
    """A red object on dark ground, perhaps a green one too. Edges between pixels."""
    image = Image.new("RGB", SIZE, GROUND)
    image.paste(RED, corners)
    if second:
        image.paste(GREEN, second)
    return image


def painted_box(path: Path, channel: int) -> Corners:
    """The bounds of what is painted in one channel's colour. Edges between pixels."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    others = np.delete(pixels, channel, axis=-1).max(axis=-1)
    mask = pixels[..., channel] - others > 70
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def annotate(image: Path, *objects: tuple[str, Corners], size: tuple[int, int] = SIZE) -> Path:
    items = [
        VocObject(name, x + 1, y + 1, right, bottom) for name, (x, y, right, bottom) in objects
    ]
    xml = image.with_suffix(".xml")
    xml.write_bytes(write_voc(image.parent.name, image.name, size, objects=items))
    return xml


def annotated_boxes(photo: Path) -> list[Corners]:
    """The boxes of an image's annotation, which must be valid. Edges between pixels."""
    read = parse_voc(photo.with_suffix(".xml").read_bytes(), photo.name)
    with Image.open(photo) as image:
        assert (read.width, read.height) == image.size
    assert read.filename == photo.name
    for item in read.objects:
        assert 1 <= item.xmin <= item.xmax <= (read.width or 0)
        assert 1 <= item.ymin <= item.ymax <= (read.height or 0)
    return [(int(o.xmin) - 1, int(o.ymin) - 1, int(o.xmax), int(o.ymax)) for o in read.objects]


def is_close(first: Corners, second: Corners, pixels: float) -> bool:
    return bool(np.abs(np.subtract(first, second)).max() <= pixels)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """`photos/` with three images of two classes in two folders, one with two objects."""
    photos = tmp_path / "photos"
    (photos / "a" / "deep").mkdir(parents=True)
    (photos / "b").mkdir()
    cases: list[tuple[str, Corners, Corners | None]] = [
        ("a/plain.png", (10, 15, 40, 33), None),
        ("a/deep/photo.jpg", (0, 0, 25, 20), None),
        ("b/two.PNG", (50, 40, 90, 70), (3, 5, 20, 30)),
    ]
    for name, first, second in cases:
        quality = {"quality": 98, "subsampling": 0} if name.endswith("jpg") else {}
        paint(first, second).save(photos / name, **quality)
        annotate(photos / name, (name[0], first), *([("green", second)] if second else []))
    return photos


def run_augment(*arguments: str | Path) -> int:
    return run(["augment", *map(str, arguments)])


def test_each_image_becomes_eight_with_right_boxes(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    before, out = tree(labelled), tmp_path / "out"
    assert run_augment(labelled, out) == 0
    out_text, err = capsys.readouterr()
    assert out_text.splitlines() == [
        f"24 images with their annotations of 3 in {out}, 24 of them new",
        f"next: sharpeye train {out} --task localize",
    ]
    assert err == ""
    assert tree(labelled) == before
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    stems = (("a/plain", ".png"), ("a/deep/photo", ".jpg"), ("b/two", ".PNG"))
    assert names == {
        f"{stem}{ending}{suffix}"
        for stem, image_suffix in stems
        for ending in ENDINGS
        for suffix in (image_suffix, ".xml")
    }
    for stem, suffix in stems:
        for ending in ENDINGS:
            image = out / f"{stem}{ending}{suffix}"
            boxes = annotated_boxes(image)
            if "noised" in ending:  # Noise hides the colours: compare with the image without it.
                plain = ending.replace("_noised", "").removesuffix("_nohash")
                assert boxes == annotated_boxes(out / f"{stem}{plain}{suffix}")
                continue
            for channel, box in enumerate(boxes):
                assert is_close(painted_box(image, channel), box, 0 if suffix != ".jpg" else 1), (
                    image
                )
        assert (out / f"{stem}{suffix}").read_bytes() == (labelled / f"{stem}{suffix}").read_bytes()


def test_the_pixels_are_flipped_and_noisy_as_the_names_say(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_augment(labelled, out, "--quiet") == 0

    def pixels(ending: str) -> np.ndarray[Any, Any]:
        with Image.open(out / "a" / f"plain{ending}.png") as image:
            return np.asarray(image).astype(float)

    original = pixels("")
    np.testing.assert_array_equal(pixels("_nohash_y"), original[:, ::-1])
    np.testing.assert_array_equal(pixels("_nohash_x"), original[::-1])
    np.testing.assert_array_equal(pixels("_nohash_y_x"), original[::-1, ::-1])
    for ending in ENDINGS[:4]:
        ending_noised = (ending or "_nohash") + "_noised"
        added = pixels(ending_noised) - pixels(ending)
        unclipped = pixels(ending) + 2 * original.std() < 254
        assert added.min() >= 0, "it only becomes brighter"
        assert added[unclipped].max() == pytest.approx(2 * original.std(), rel=0.02)
        assert added[unclipped].mean() == pytest.approx(original.std(), rel=0.05)
    first = pixels("_nohash_y_noised") - pixels("_nohash_y")
    second = pixels("_nohash_noised") - original
    assert not np.array_equal(first[:, ::-1], second), "each copy has other noise"


def test_what_is_written_can_be_read_as_a_data_set_and_stays_together(
    labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number in range(20):
        image = labelled / "b" / f"more{number}.png"
        paint((5 + number, 10, 50, 40)).save(image)
        annotate(image, ("b" if number % 2 else "a", (5 + number, 10, 50, 40)))
    assert run_augment(labelled, out) == 0
    samples = scan_voc(out)
    assert (len(samples), samples.class_names, samples.rejected) == (23 * 8, ("a", "b"), ())
    shares = SplitFractions(0.2, 0.2)
    splits_by_name: dict[str, set[str]] = {}
    for sample in assign_splits(add_digests(samples, 1), shares, ContentRule(0, shares)):
        stem = sample.path.rpartition(".")[0].split("_nohash_")[0]
        splits_by_name.setdefault(stem, set()).add(str(sample.split))
    assert len(splits_by_name) == 23
    assert {len(splits) for splits in splits_by_name.values()} == {1}
    assert set().union(*splits_by_name.values()) == {"train", "validation", "test"}


def test_a_second_run_changes_nothing_and_mends_what_is_missing(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert run_augment(labelled, out) == 0
    before = tree(out)
    for path in out.rglob("*"):
        os.utime(path, (1e9, 1e9))
    capsys.readouterr()
    assert run_augment(labelled, out) == 0
    assert "24 images with their annotations of 3" in capsys.readouterr().out
    assert tree(out) == before
    assert {path.stat().st_mtime for path in out.rglob("*")} == {1e9}
    (out / "a" / "plain_nohash_y.png").unlink()
    (out / "a" / "plain_nohash_x_noised.xml").unlink()
    capsys.readouterr()
    assert run_augment(labelled, out) == 0
    assert ", 1 of them new" in capsys.readouterr().out
    assert tree(out) == before
    # Elsewhere, and after other images: the same files.
    paint((1, 1, 30, 30)).save(labelled / "a" / "0.png")
    annotate(labelled / "a" / "0.png", ("a", (1, 1, 30, 30)))
    assert run_augment(labelled, tmp_path / "other") == 0
    again = tree(tmp_path / "other")
    assert {name: again[name] for name in before} == before
    assert temporaries(tmp_path) == []


def test_augmented_copies_are_not_augmented_again(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run_augment(labelled, tmp_path / "once") == 0
    assert run_augment(labelled, tmp_path / "once", "--random", "2") == 0
    paint().save(tmp_path / "once" / "a" / "rose_nohash_2.png")  # a name of the user's own
    annotate(tmp_path / "once" / "a" / "rose_nohash_2.png", ("a", (10, 15, 40, 33)))
    capsys.readouterr()
    assert run_augment(tmp_path / "once", tmp_path / "twice") == 0
    out_text = capsys.readouterr().out
    assert "32 images with their annotations of 4" in out_text
    assert "left out: 27 images" in out_text
    assert (tmp_path / "twice" / "a" / "rose_nohash_2_nohash_y.png").is_file()


@pytest.mark.parametrize(
    ("source", "target"),
    [("photos", "photos"), ("photos", "photos/new"), ("photos", "."), ("link", "photos/new")],
)
def test_folders_in_each_other_are_refused(
    source: str, target: str, labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "link").symlink_to(labelled, target_is_directory=True)
    before = tree(tmp_path)
    assert run_augment(tmp_path / source, tmp_path / target) == 2
    assert "DIR and OUT must not lie in each other" in one_line(capsys.readouterr().err)
    assert tree(tmp_path) == before


def test_a_link_back_into_the_source_is_refused(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b"):
        (out / name).symlink_to(labelled / name, target_is_directory=True)
    before = tree(labelled)
    assert run_augment(labelled, out) == 2
    assert "is a link into" in one_line(capsys.readouterr().err)
    assert tree(labelled) == before


def test_files_of_other_content_are_left_as_they_are(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    mine = out / "a" / "plain_nohash_y.png"
    mine.write_bytes(b"mine")
    assert run_augment(labelled, out) == 3
    out_text, err = capsys.readouterr()
    assert mine.read_bytes() == b"mine"
    assert "16 images with their annotations of 2" in out_text
    first, last = err.splitlines()
    assert first.startswith(f"a/plain.png: {mine} is there already and is another one")
    assert last == "error: 1 file could not be used; the others are done"


def test_bad_images_and_annotations_are_named_and_the_others_done(
    labelled: Path, tmp_path: Path, capsys: Captured
) -> None:
    for name in ("none", "damaged", "outside", "size"):
        paint().save(labelled / "a" / f"{name}.png")
    (labelled / "a" / "damaged.xml").write_text("<annotation>")
    annotate(labelled / "a" / "size.png", ("a", (1, 1, 5, 5)), size=(30, 30))
    outside = annotate(labelled / "a" / "outside.png", ("a", (1, 1, 5, 5)))
    text = outside.read_text().replace("<xmin>2<", "<xmin>900<").replace("<xmax>5<", "<xmax>950<")
    outside.write_text(text)
    (labelled / "a" / "no.jpg").write_bytes(b"<!DOCTYPE html>")
    annotate(labelled / "a" / "no.jpg", ("a", (1, 1, 5, 5)))
    (labelled / "b" / "alone.xml").write_bytes((labelled / "b" / "two.xml").read_bytes())
    out = tmp_path / "out"
    assert run_augment(labelled, out) == 3
    out_text, err = capsys.readouterr()
    assert "24 images with their annotations of 3" in out_text
    reasons = dict(line.split(": ", 1) for line in err.splitlines())
    assert "could not be used" in reasons.pop("error")
    assert "not XML" in reasons.pop("a/damaged.png")
    assert "has no annotation" in reasons.pop("a/none.png")
    assert "has no area" in reasons.pop("a/outside.png")
    assert "30 x 30" in reasons.pop("a/size.png")
    assert "a saved web page" in reasons.pop("a/no.jpg")
    assert "without an image" in reasons.pop("b/alone.xml")
    assert reasons == {}
    assert len([path for path in out.rglob("*") if path.is_file()]) == 48


def test_an_image_with_a_name_too_long_for_its_copies_is_named(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "set").mkdir()
    for name in ("1.png", "x" * 251 + ".png"):
        paint().save(tmp_path / "set" / name)
    assert run_augment(tmp_path / "set", tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert ".png: its name is 18 bytes too long for its copies' names" in error
    assert len([*(tmp_path / "out").iterdir()]) == 8


def test_nothing_to_do_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    assert run_augment(tmp_path / "empty", tmp_path / "out") == 3
    assert "no image in" in one_line(capsys.readouterr().err)
    assert run_augment(tmp_path / "absent", tmp_path / "out") == 3
    assert "no such folder" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_plain_class_folders_become_more_images(
    photo_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert run_augment(photo_folder, out) == 0
    out_text = capsys.readouterr().out
    assert out_text.splitlines()[-1] == f"next: sharpeye train {out}"
    before, after = scan_folder(photo_folder), scan_folder(out)
    assert len(after) == 8 * len(before)
    assert (after.class_names, after.rejected) == (before.class_names, ())
    assert list(out.rglob("*.xml")) == []
    for path in out.rglob("*_nohash_y.*"):
        with Image.open(path) as image:
            assert image.format == ("JPEG" if path.suffix in (".jpg", ".jpeg") else "PNG")


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("upright", [False, True])
def test_photos_are_written_upright_and_boxes_in_their_frame(
    orientation: int, upright: bool, tmp_path: Path
) -> None:
    """Drawn in the stored image or in the upright one: the box is where the object is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    image, exif = paint(), Image.Exif()
    exif[0x0112] = orientation
    image.save(photos / "1.jpg", exif=exif, quality=95, subsampling=0)
    turned = image.transpose(
        {
            3: Image.Transpose.ROTATE_180,
            6: Image.Transpose.ROTATE_270,
            8: Image.Transpose.ROTATE_90,
        }[orientation]
    )
    turned.save(tmp_path / "turned.png")
    if upright or orientation == 3:  # of equal sizes, the upright photo is meant
        annotate(photos / "1.jpg", ("a", painted_box(tmp_path / "turned.png", 0)), size=turned.size)
    else:
        annotate(photos / "1.jpg", ("a", (10, 15, 40, 33)))
    assert run_augment(photos, tmp_path / "out") == 0
    for ending in ENDINGS:
        photo = tmp_path / "out" / f"1{ending}.jpg"
        with Image.open(photo) as opened:
            assert opened.size == turned.size
            assert opened.getexif().get(0x0112, 1) == 1
        assert is_close(painted_box(photo, 0), annotated_boxes(photo)[0], 1)


def test_other_entries_of_an_annotation_are_kept(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    paint().save(photos / "rose_1.png")
    items = [
        VocObject(
            "röse & co", 40, 33, 11, 16, difficult=True, pose="Left"
        ),  # its corners are exchanged below
        VocObject("leaf", 1, 1, 4, 4, truncated=True),
        VocObject("gone", 900, 1, 950, 4),
    ]
    (photos / "rose_1.xml").write_bytes(write_voc("x", "y.jpg", SIZE, objects=items[:2]))
    text = (photos / "rose_1.xml").read_text()
    text = text.replace("<xmin>11<", "<xmin>40<", 1).replace("<xmax>40<", "<xmax>11<", 1)
    (photos / "rose_1.xml").write_text(text)
    assert run_augment(photos, tmp_path / "out") == 0
    read = parse_voc((tmp_path / "out" / "rose_1_nohash_y.xml").read_bytes(), "")
    rose, leaf = read.objects
    assert (rose.name, rose.pose, rose.difficult, rose.truncated) == (
        "röse & co",
        "Left",
        True,
        False,
    )
    assert (leaf.name, leaf.difficult, leaf.truncated) == ("leaf", False, True)
    assert (leaf.xmin, leaf.ymin, leaf.xmax, leaf.ymax) == (87, 1, 90, 4)
    assert (rose.xmin, rose.xmax) == (51, 80)


def test_the_folders_of_pascal_voc_are_kept(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for name in ("JPEGImages", "Annotations"):
        (kit / name).mkdir(parents=True)
    paint().save(kit / "JPEGImages" / "1.jpg")
    annotate(kit / "JPEGImages" / "1.jpg", ("a", (10, 15, 40, 33))).rename(
        kit / "Annotations" / "1.xml"
    )
    assert run_augment(kit, tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "JPEGImages").iterdir())) == 8
    assert len(list((tmp_path / "out" / "Annotations").iterdir())) == 8
    assert len(scan_voc(tmp_path / "out", min_classes=1)) == 8


# --- random augmentations ------------------------------------------------------------------------


def test_random_augmentations_differ_and_their_boxes_are_right(
    labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_augment(labelled, out, "--random", "12") == 0
    images = sorted(path for path in out.rglob("*") if path.suffix in (".png", ".jpg", ".PNG"))
    assert len(images) == 36
    assert (out / "a" / "plain_nohash_r12.png").is_file()
    assert len({path.read_bytes() for path in images}) == 36
    overlaps = []
    for photo in images:
        with Image.open(photo) as image:
            assert image.size == SIZE
        for channel, box in enumerate(annotated_boxes(photo)):
            overlaps.append(float(iou(np.array(box), np.array(painted_box(photo, channel)))))
    # A turned box is the one around the ellipse: too tight for rectangles, such as these.
    assert min(overlaps) > 0.6
    assert np.mean(overlaps) > 0.8
    before = tree(out)
    assert run_augment(labelled, out, "--random", "12") == 0
    assert tree(out) == before
    assert run_augment(labelled, tmp_path / "other", "--random", "12", "--seed", "1") == 0
    assert not set(tree(tmp_path / "other").values()) & {
        value for name, value in before.items() if name.endswith((".png", ".jpg", ".PNG"))
    }


def test_random_augmentations_move_ellipses_exactly_and_lose_no_object() -> None:
    """Images with one ellipse or two, anywhere: their boxes are exact."""
    random, width, height = np.random.default_rng(0), 160, 120
    y, x = np.mgrid[:height, :width] + 0.5
    errors = []
    for number in range(300):
        pixels = np.full((height, width, 3), GROUND, np.uint8)
        boxes = []
        for channel in range(1 + number % 2):
            # The second one in the lower right, apart from the first.
            low, space = np.array([(0, 0), (80, 60)][channel]), np.array([80, 60])
            sides = random.integers(20, space)
            first = random.integers(low, low + space - sides, endpoint=True)
            centre, half = first + sides / 2, sides / 2
            mask = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 < 1
            pixels[mask] = (RED, GREEN)[channel]
            boxes.append((*first, *(first + sides)))
        shares = np.array(boxes) / [width, height, width, height]
        copy = RandomAugmentation(1).apply(Image.fromarray(pixels), shares, random)
        assert copy.pixels.shape == pixels.shape
        assert copy.boxes.min() >= 0 and copy.boxes.max() <= 1
        for channel, box in enumerate(copy.boxes * [width, height, width, height]):
            levels = copy.pixels.astype(int)
            mask = levels[..., channel] - np.delete(levels, channel, axis=-1).max(axis=-1) > 60
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            bounds = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            errors.append(np.abs(np.subtract(bounds, box)).max())
            if len(boxes) == 1:
                assert not copy.truncated[channel]
    assert np.max(errors) < 2.5
    assert np.mean(errors) < 1


def test_the_names_of_the_eight_fixed_augmentations() -> None:
    assert [f"_nohash_{a.name}" if a.name else "" for a in FIXED_AUGMENTATIONS] == [
        *("", "_nohash_y", "_nohash_x", "_nohash_y_x"),
        *("_nohash_noised", "_nohash_y_noised", "_nohash_x_noised", "_nohash_y_x_noised"),
    ]


def test_copies_of_a_12_bit_image_have_8_bits_in_its_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**12, (20, 30)).astype(np.uint16)
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.png").write_bytes(png(values))
    assert run(["augment", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    expected = np.dstack([values >> 4] * 3)
    for file in (tmp_path / "out" / "a").iterdir():
        with Image.open(file) as image:
            assert image.mode in ("L", "RGB")
            assert np.asarray(image).max() > 100
    with Image.open(tmp_path / "out" / "a" / "x.png") as image:
        assert (np.asarray(image.convert("RGB")) == expected).all()
