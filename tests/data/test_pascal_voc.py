"""Folders with Pascal VOC files: layouts, which object counts, sizes and EXIF, what is left out."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.pascal_voc import scan_voc, turn_upright
from sharpeye.data.sample_image import read_image
from sharpeye.data.scan import scan_dataset
from sharpeye.errors import DataError
from sharpeye.images.boxes import to_pixels
from sharpeye.images.voc_xml import VocObject, write_voc

posix = pytest.mark.skipif(os.name == "nt", reason="names and files that only POSIX has")
SIZE = (40, 24)

# Python cannot take an audit hook away again: this one only listens while a test wants it.
_opened: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str | bytes):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_hook)


def image(file: Path, size: tuple[int, int] = SIZE, kind: str = "PNG") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(file, kind)
    return file


def cat(xmin: float = 3, ymin: float = 4, xmax: float = 20, ymax: float = 16) -> VocObject:
    return VocObject("cat", xmin, ymin, xmax, ymax)


def annotation(
    file: Path, *objects: VocObject, size: tuple[int, int] = SIZE, name: str = "x"
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(write_voc("folder", name, size, objects=objects))
    return file


def pair(stem: Path, label: str = "cat") -> None:
    """`stem`.jpg and `stem`.xml."""
    image(stem.with_name(f"{stem.name}.jpg"))
    annotation(stem.with_name(f"{stem.name}.xml"), VocObject(label, 3, 4, 20, 16))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes in one flat folder, labelled."""
    pair(tmp_path / "photos" / "cat_1")
    pair(tmp_path / "photos" / "dog_1", "dog")
    return tmp_path / "photos"


def paths(samples: SampleSet) -> list[str]:
    return [sample.path for sample in samples]


def reasons(samples: SampleSet) -> dict[str, str]:
    assert all("\n" not in rejected.reason for rejected in samples.rejected)
    return {rejected.path: rejected.reason for rejected in samples.rejected}


def only(samples: SampleSet, path: str) -> Sample:
    (samples,) = [sample for sample in samples if sample.path == path]
    return samples


# --- layouts -------------------------------------------------------------------------------------


def test_images_and_annotations_side_by_side(photos: Path) -> None:
    pair(photos / "deep" / "down" / "b.c_10")
    pair(photos / "deep" / "down" / "b.c_9")
    image(photos / "upper.JPG")
    annotation(photos / "upper.XML", cat())
    (photos / "classes.txt").write_text("cat")
    (photos / "LICENSE").write_text("free")
    samples = scan_voc(photos)
    assert paths(samples) == [
        *("cat_1.jpg", "deep/down/b.c_9.jpg", "deep/down/b.c_10.jpg", "dog_1.jpg", "upper.JPG")
    ]
    assert samples.class_names == ("cat", "dog") and not samples.given_splits
    assert samples.rejected == () and samples.ignored == {".txt": 1, "": 1}
    for sample in samples:
        assert sample.box == (2 / 40, 3 / 24, 20 / 40, 16 / 24)
        assert (sample.split, sample.sha256, sample.size) == (None, "", SIZE)
        assert sample.file.is_file()


@pytest.mark.parametrize("inner", ["", "some/folder"])
def test_splits_are_given_by_the_top_folders(tmp_path: Path, inner: str) -> None:
    for split in ("train", "Val", "test"):
        for label in ("cat", "dog"):
            pair(tmp_path / split / inner / f"{label}_1", label)
    pair(tmp_path / "astray")
    samples = scan_voc(tmp_path)
    assert samples.given_splits and len(samples) == 6
    assert {(s.path.split("/")[0], s.split) for s in samples} == {
        *(("train", "train"), ("Val", "validation"), ("test", "test"))
    }
    assert reasons(samples) == dict.fromkeys(
        ("astray.jpg", "astray.xml"), "lies in no split's folder (test, train, Val)"
    )


def devkit(root: Path, **lists: str) -> Path:
    for number in range(1, 7):
        image(root / "JPEGImages" / f"{number}.jpg")
        label = "cat" if number % 2 else "dog"
        annotation(root / "Annotations" / f"{number}.xml", VocObject(label, 1, 1, 9, 9))
        image(root / "SegmentationClass" / f"{number}.png")
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    return root


@pytest.mark.parametrize("base", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_the_layout_of_pascal_voc_itself(tmp_path: Path, base: str) -> None:
    root = devkit(tmp_path / base, train="1\n2\n", val="3\r\n4\r\n\r\n", test="5", cat_train="9 1")
    pair(root / "JPEGImages" / "stray")  # an XML there is none of its own
    samples = scan_voc(tmp_path)
    assert [(s.file.stem, s.split, s.label) for s in samples] == [
        *(("1", "train", "cat"), ("2", "train", "dog"), ("3", "validation", "cat")),
        *(("4", "validation", "dog"), ("5", "test", "cat")),
    ]
    assert samples.given_splits and samples.samples[0].path == (
        root / "JPEGImages/1.jpg"
    ).relative_to(tmp_path).as_posix().replace("\\", "/")
    reason_by_path = {Path(path).name: reason for path, reason in reasons(samples).items()}
    assert (
        reason_by_path["6.jpg"]
        == reason_by_path["stray.jpg"]
        == "stands in no list of ImageSets/Main"
    )
    assert samples.ignored == {".png": 6, ".txt": 4, ".xml": 1}


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({}, None),
        ({"train": "1\n2\n3\n4"}, None),
        ({"train": "\n", "val": "1\n2"}, None),
        ({"val": "1", "test": "2"}, None),
        ({"trainval": "1\n2\n3\n4"}, None),
        ({"train": "1\n2", "val": "3\n4"}, "ttvv"),
        ({"trainval": "1\n2\n3\n4", "test": "5\n6"}, "ttttee"),
        ({"trainval": "1\n2\n3\n4", "val": "3\n4"}, "ttvv"),
        # What stands in two lists is held out.
        ({"train": "1\n2\n3\n4\n5\n6", "val": "3\n4\n5", "test": "5\n6"}, "ttvvee"),
        ({"train": "1\n2\n../../x\n7", "test": "3\n4"}, "ttee"),
    ],
)
def test_lists_give_splits_if_one_is_for_training_and_another(
    tmp_path: Path, lists: dict[str, str], splits: str | None
) -> None:
    samples = scan_voc(devkit(tmp_path, **lists))
    assert samples.given_splits == (splits is not None)
    if splits is None:
        assert len(samples) == 6 and all(s.split is None for s in samples)
    else:
        names = {"t": "train", "v": "validation", "e": "test"}
        assert [s.split for s in samples] == [names[letter] for letter in splits]


# --- what is left out ----------------------------------------------------------------------------


def test_what_has_no_partner_is_named(photos: Path) -> None:
    image(photos / "alone.jpg")
    annotation(photos / "lost.xml", cat())
    annotation(photos / "sub" / "cat_1.xml", cat())  # the image lies in another folder
    (photos / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    samples = scan_voc(photos)
    assert len(samples) == 2
    assert reasons(samples) == {
        "alone.jpg": "has no annotation (an XML file of the same name)",
        "photo.heic": "has no annotation (an XML file of the same name)",
        "lost.xml": "an annotation without an image of the same name",
        "sub/cat_1.xml": "an annotation without an image of the same name",
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda xml: xml.write_bytes(b""), "the file is empty"),
        (lambda xml: xml.write_bytes(b"<html/>"), "not Pascal VOC"),
        (lambda xml: xml.write_bytes(b"x" * 2**21), "over the limit of 1 MiB a file"),
        (lambda xml: annotation(xml), "there is no object in it"),
        (lambda xml: annotation(xml, VocObject("", 1, 1, 9, 9)), "its object has no name"),
        (lambda xml: annotation(xml, VocObject("x" * 300, 1, 1, 9, 9)), "has 300 characters"),
        (
            lambda xml: annotation(xml, cat(), size=(24, 40)),
            "24 x 40 pixels, and this one has 40 x",
        ),
        (lambda xml: annotation(xml, cat(), size=(80, 48)), "it is of an image of 80 x 48 pixels"),
        (
            lambda xml: xml.write_text(
                "<annotation><object><name>a&#10;b</name><bndbox><xmin>90</xmin><ymin>1</ymin>"
                "<xmax>99</xmax><ymax>5</ymax></bndbox></object></annotation>"
            ),
            "the box 90, 1, 99, 5 has no area in an image of 40 x 24",
        ),
        (
            lambda xml: xml.write_text(
                "<annotation><object><name>a&#10;b</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
                "<xmax>9</xmax><ymax>5</ymax></bndbox></object></annotation>"
            ),
            r"the class 'a\nb' has a control character",
        ),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named_with_its_image(
    photos: Path, change: Callable[[Path], Any], reason: str
) -> None:
    pair(photos / "bad")
    change(photos / "bad.xml")
    samples = scan_voc(photos)
    assert paths(samples) == ["cat_1.jpg", "dog_1.jpg"]
    (reason_by_path,) = samples.rejected
    assert reason_by_path.path == "bad.jpg"
    assert (
        reason_by_path.reason.startswith("its annotation cannot be used: ")
        and reason in reason_by_path.reason
    )


def test_an_image_that_cannot_be_read_is_named_with_the_decoders_reason(photos: Path) -> None:
    pair(photos / "bad")
    (photos / "bad.jpg").write_text("<html>")
    assert "web page" in reasons(scan_voc(photos))["bad.jpg"]
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(50))
    assert reasons(scan_voc(photos))["bad.jpg"].startswith("damaged JPEG")


def test_of_two_images_of_a_name_that_one_counts_which_the_annotation_names(photos: Path) -> None:
    image(photos / "cat_1.png")
    samples = scan_voc(photos, min_classes=1)
    assert paths(samples) == ["dog_1.jpg"]
    assert all(
        "2 images of the same name" in reason_by_path
        for reason_by_path in reasons(samples).values()
    )
    annotation(photos / "cat_1.xml", cat(), name="cat_1.png")
    samples = scan_voc(photos)
    assert paths(samples) == ["cat_1.png", "dog_1.jpg"]
    assert list(reasons(samples)) == ["cat_1.jpg"]


# --- several objects -----------------------------------------------------------------------------


def test_the_largest_object_counts(photos: Path) -> None:
    objects = [
        cat(1, 1, 5, 5),
        VocObject("dog", 38, 20, 9000, 9000),  # only 3 x 5 pixels of it are in the image
        VocObject("eel", 10, 10, 19, 19),
        VocObject("gnu", 21, 1, 30, 10),  # as large: the first one is taken
        VocObject("yak", 500, 500, 900, 900),  # outside
    ]
    file = annotation(photos / "cat_1.xml", *objects, size=(10_000, 10_001))
    data = file.read_bytes().replace(b">10000<", b">40<").replace(b">10001<", b">24<")
    file.write_bytes(data)
    samples = scan_voc(photos)
    sample = only(samples, "cat_1.jpg")
    assert sample.label == "eel" and sample.box == (9 / 40, 9 / 24, 19 / 40, 19 / 24)
    assert samples.rejected == ()


def test_images_of_several_objects_can_be_left_out(photos: Path) -> None:
    annotation(photos / "many.xml", cat(), cat(1, 1, 2, 2))
    image(photos / "many.jpg")
    samples = scan_voc(photos, box_choice="single-only")
    assert len(samples) == 2
    assert "2 objects where only one is wanted" in reasons(samples)["many.jpg"]


# --- where the class comes from ------------------------------------------------------------------


def test_the_class_comes_from_xml_folder_or_name(tmp_path: Path) -> None:
    pair(tmp_path / "rose" / "red_1", "flower")
    pair(tmp_path / "daisy" / "in" / "white_dark_1", "weed")
    pair(tmp_path / "flat_1", "flat")
    assert scan_voc(tmp_path).class_names == ("flat", "flower", "weed")
    samples = scan_voc(tmp_path, label_from="folder")
    assert samples.class_names == ("daisy", "rose")
    assert reasons(samples) == {"flat_1.jpg": "it lies in no class's folder"}
    assert scan_voc(tmp_path, label_from="prefix").class_names == ("flat", "red", "white")


def test_folders_are_classes_within_splits_and_within_jpegimages(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pair(tmp_path / "a" / split / "rose" / "1")
        pair(tmp_path / "a" / split / "daisy" / "1")
    assert scan_voc(tmp_path / "a", label_from="folder").class_names == ("daisy", "rose")
    for label in ("rose", "daisy"):
        image(tmp_path / "b" / "JPEGImages" / label / "1.jpg")
        annotation(tmp_path / "b" / "Annotations" / label / "1.xml", cat())
    samples = scan_voc(tmp_path / "b", label_from="folder")
    assert paths(samples) == ["JPEGImages/daisy/1.jpg", "JPEGImages/rose/1.jpg"]
    assert samples.class_names == ("daisy", "rose")


def test_the_configuration_chooses_the_reader(photos: Path) -> None:
    def labels(**changes: str) -> tuple[str, ...]:
        config = Config().replace({key.replace("__", "."): v for key, v in changes.items()})
        return scan_dataset(config, photos, min_classes=1).class_names

    pair(photos / "rose" / "red_1", "flower")
    assert labels() == ("rose",)
    assert labels(data__label_from="folder") == ("rose",)
    assert labels(data__label_from="prefix") == ("cat", "dog", "red")
    assert labels(data__label_from="xml") == ("cat", "dog", "flower")
    assert labels(task="localize") == ("cat", "dog", "flower")
    assert labels(task="localize", data__label_from="folder") == ("rose",)
    assert labels(task="localize", data__label_from="prefix") == ("cat", "dog", "red")
    annotation(photos / "cat_1.xml", cat(), cat())
    assert labels(task="localize", data__box_choice="single-only") == ("dog", "flower")
    boxes = [s.box for s in scan_dataset(Config().replace({"task": "localize"}), photos)]
    assert None not in boxes


def test_prefixes_need_no_annotation(tmp_path: Path) -> None:
    for name in ("train/cat_1.jpg", "train/deep/dog_1.jpg", "test/cat_x_2.png", "test/dog_2.png"):
        image(tmp_path / name)
    for name in ("train/none.jpg", "train/_1.jpg", "top_1.jpg", "train/a\x1bb_1.jpg"):
        image(tmp_path / name)
    (tmp_path / "train/cat_1.xml").write_text("<")
    config = Config().replace({"data.label_from": "prefix"})
    samples = scan_dataset(config, tmp_path)
    assert {(s.path, s.label, s.split) for s in samples} == {
        ("train/cat_1.jpg", "cat", "train"),
        ("train/deep/dog_1.jpg", "dog", "train"),
        ("test/cat_x_2.png", "cat", "test"),
        ("test/dog_2.png", "dog", "test"),
    }
    assert samples.given_splits and samples.ignored == {".xml": 1}
    reason_by_path = reasons(samples)
    assert reason_by_path["top_1.jpg"] == "lies in no split's folder (test, train)"
    assert reason_by_path["train/none.jpg"] == reason_by_path["train/_1.jpg"]
    assert reason_by_path["train/none.jpg"].startswith("its name has no class before a _")
    assert "control character" in reason_by_path["train/a\x1bb_1.jpg"]
    with pytest.raises(DataError, match=r"only one class .*: cat.*rose_1"):
        for file in tmp_path.rglob("dog*"):
            file.unlink()
        scan_dataset(config, tmp_path)


def test_folders_that_cannot_be_used(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        scan_voc(tmp_path / "none")
    with pytest.raises(DataError, match="is a file"):
        scan_voc(photos / "cat_1.jpg")
    image(tmp_path / "bare" / "1.jpg")
    with pytest.raises(DataError) as caught:
        scan_voc(tmp_path / "bare")
    message = str(caught.value)
    assert "no usable image" in message and "1.jpg: has no annotation" in message
    assert "1.xml beside it, as LabelImg writes" in message and "\n" not in message
    (photos / "dog_1.xml").unlink()
    with pytest.raises(DataError, match=r"only one class in .*: cat"):
        scan_voc(photos)
    assert scan_voc(photos, min_classes=1).class_names == ("cat",)


# --- sizes and EXIF ------------------------------------------------------------------------------

# EXIF's orientation: what Pillow does to an upright image so that the stored one is shown so.
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def box_of_red(image: Image.Image) -> tuple[int, ...]:
    """VOC's corners of the red pixels."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 100)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return int(columns[0]) + 1, int(rows[0]) + 1, int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("given", ["stored", "upright", "nothing"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_lie_where_the_decoder_shows_the_object(
    tmp_path: Path, orientation: int, kind: str, given: str
) -> None:
    """Labelled as stored (by a tool that ignores EXIF) or as shown: the box is the painted one."""
    pixels = np.full((64, 96, 3), 240, np.uint8)
    pixels[8:24, 16:64] = (220, 20, 30)
    upright = Image.fromarray(pixels)
    method = _STORED[orientation]
    stored = upright if method is None else upright.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind != "WEBP" else {"lossless": True}
    stored.save(tmp_path / "1.jpg", kind, exif=exif, **options)
    if given == "stored" and orientation in (2, 3, 4):
        return  # of the same size: nothing tells it from the upright image
    visited, size = (stored, stored.size) if given == "stored" else (upright, upright.size)
    item = VocObject("red", *box_of_red(visited))
    data = write_voc("", "1.jpg", size, objects=[item])
    if given == "nothing":
        data = data.replace(b"<width>96</width>", b"<width>0</width>")
    (tmp_path / "1.xml").write_bytes(data)
    (sample,) = scan_voc(tmp_path, min_classes=1)
    assert sample.box is not None and sample.size == upright.size
    with read_image(sample) as image:
        assert image.size == upright.size
        shown = box_of_red(image)
    assert shown == (17, 9, 64, 24)
    assert to_pixels(sample.box, image.size) == pytest.approx((16, 8, 64, 24))


def test_a_square_image_is_taken_as_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 32)).save(tmp_path / "1.jpg", exif=exif)
    annotation(tmp_path / "1.xml", VocObject("cat", 1, 1, 8, 16), size=(32, 32))
    (sample,) = scan_voc(tmp_path, min_classes=1)
    assert sample.box == (0, 0, 0.25, 0.5)


def test_eight_orientations_are_a_group() -> None:
    box = (0.1, 0.2, 0.4, 0.9)
    samples = {orientation: turn_upright(box, orientation) for orientation in range(1, 9)}
    assert len(set(samples.values())) == 8 and samples[1] == box
    back = {6: 8, 8: 6}
    for orientation, moved in samples.items():
        again = turn_upright(moved, back.get(orientation, orientation))
        assert again == pytest.approx(box)


# --- nothing outside of the folder ---------------------------------------------------------------


@posix
def test_nothing_outside_of_the_folder_is_opened(photos: Path) -> None:
    global _opened
    outside = photos.parent / "outside"
    pair(outside / "secret")
    for number, name in enumerate(("../outside/secret.jpg", str(outside / "secret.jpg"))):
        image(photos / f"evil{number}.jpg")
        data = write_voc("../outside", name, SIZE, objects=[cat()], path=name)
        (photos / f"evil{number}.xml").write_bytes(data)
    entity = f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{outside}/secret.xml">]><annotation>&b;'
    pair(photos / "entity")
    (photos / "entity.xml").write_text(entity + "</annotation>")
    for name in ("link.jpg", "link.xml"):
        (photos / name).symlink_to(outside / f"secret.{name[-3:]}")
    image(photos / "half.jpg")
    (photos / "half.xml").symlink_to(outside / "secret.xml")
    (photos / "sub").symlink_to(outside)
    (photos / "again").symlink_to(photos)
    os.mkfifo(photos / "pipe.xml")
    image(photos / "pipe.jpg")
    start, _opened = time.process_time(), []
    try:
        samples = scan_voc(photos)
    finally:
        seconds, opened, _opened = time.process_time() - start, _opened, None
    assert seconds < 5
    assert paths(samples) == ["cat_1.jpg", "dog_1.jpg", "evil0.jpg", "evil1.jpg"]
    root = photos.resolve()
    assert opened and all(Path(name).is_relative_to(root) for name in opened)
    assert not any(name.endswith(("pipe.xml", "secret.jpg", "secret.xml")) for name in opened)
    reason_by_path = reasons(samples)
    why = "a symbolic link that leads out of the folder"
    assert reason_by_path["link.jpg"] == reason_by_path["half.xml"] == why
    assert reason_by_path["sub"] == f"{why}; --follow-links follows it"
    assert (
        "no annotation" in reason_by_path["half.jpg"]
        and "no annotation" in reason_by_path["pipe.jpg"]
    )
    assert (
        "DOCTYPE" in reason_by_path["entity.jpg"]
        and "not a regular file" in reason_by_path["pipe.xml"]
    )


@posix
def test_names_that_are_no_utf_8_are_matched(photos: Path) -> None:
    stem = os.fsencode(photos) + b"/\xff\xfe"
    try:
        pair(Path(os.fsdecode(stem)))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    samples = scan_voc(photos)
    assert r"\xff\xfe.jpg" in paths(samples) and samples.rejected == ()


def test_nothing_is_written_into_the_folder(photos: Path) -> None:
    def tree() -> list[tuple[str, int]]:
        return sorted((str(p), p.stat().st_mtime_ns) for p in photos.rglob("*"))

    before = tree()
    scan_voc(photos)
    assert tree() == before


@pytest.mark.parametrize(
    ("images", "annotations", "given", "advice"),
    [
        ("ds/images", "ds/Annotations", "ds/images", "give {ds}, which holds Annotations/ as well"),
        ("ds/JPEGImages", "ds/Annotations", "ds/JPEGImages", "give {ds}, which holds Annotations/"),
        ("ds/images", "ds/Annotations", "ds/Annotations", "give {ds}, which holds images/ as well"),
        ("ds/images/train", "ds/xmls/train", "ds/images/train", "give {ds}, which holds xmls/"),
        ("ds/images", "ds/Annotations", "ds", "only one class in {ds}: cat, with 3 images"),
        ("ds/images", "else/Annotations", "ds/images", "needs a Pascal VOC file 1.xml beside it"),
    ],
)
def test_the_folder_that_holds_images_and_annotations_is_named(
    images: str, annotations: str, given: str, advice: str, tmp_path: Path
) -> None:
    for number in range(3):
        image(tmp_path / images / f"{number}.jpg")
        annotation(tmp_path / annotations / f"{number}.xml", cat())
    with pytest.raises(DataError) as caught:
        scan_voc(tmp_path / given)
    message = str(caught.value)
    assert advice.format(ds=tmp_path / "ds") in message
    assert ("needs a Pascal VOC" in message) == ("beside it" in advice)


def test_one_class_among_images_that_were_left_out_is_explained(tmp_path: Path) -> None:
    pair(tmp_path / "1")
    image(tmp_path / "2.jpg")
    with pytest.raises(
        DataError,
        match=r"only one class .* two or more; 1 file left out, such as "
        r"2\.jpg: has no annotation",
    ):
        scan_voc(tmp_path)
