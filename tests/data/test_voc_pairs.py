"""Images and annotations in sibling folders, as tools export them; all writers' annotations."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.types import SampleSet
from sharpeye.data.pascal_voc import scan_voc

SIZE = (96, 72)


def write(root: Path, image: str, annotation: str, label: str = "cat", xml: str = "") -> None:
    for name in (image, annotation):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save(root / image)
    body = xml or "<bndbox><xmin>11</xmin><ymin>13</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
    (root / annotation).write_text(
        f"<annotation><filename>x.png</filename><object><name>{label}</name>{body}</object>"
        "</annotation>"
    )


def reasons(samples: SampleSet) -> dict[str, str]:
    return {item.path: item.reason for item in samples.rejected}


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        *(("images", "Annotations"), ("Images", "annotations"), ("JPEGImages", "labels")),
        *(("img", "xml"), ("data/images", "data/annots"), ("images", "annotations/xmls")),
        *(("photos", "all labels"), ("a", "only_xml_here"), ("jpegimages", "annotations")),
    ],
)
def test_sibling_folders_are_paired_by_name(tmp_path: Path, images: str, annotations: str) -> None:
    for number, label in enumerate(("cat", "dog", "cat")):
        write(tmp_path, f"{images}/{number}.png", f"{annotations}/{number}.xml", label)
    samples = scan_voc(tmp_path)
    assert [(s.path, s.label) for s in samples] == [
        (f"{images}/{number}.png", label) for number, label in enumerate(("cat", "dog", "cat"))
    ]
    assert all(s.box == pytest.approx((10 / 96, 12 / 72, 50 / 96, 60 / 72)) for s in samples)
    assert samples.rejected == () and samples.ignored == {} and not samples.given_splits


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("{}/images/1.png", "{}/annotations/1.xml"),
        ("images/{}/1.png", "annotations/{}/1.xml"),
        ("{}_images/1.png", "{}_annotations/1.xml"),
        ("{}/images/1.png", "{}/1.xml"),
        ("{}/1.png", "Annotations/{}/1.xml"),
    ],
)
def test_splits_and_roles_in_any_order(tmp_path: Path, image: str, annotation: str) -> None:
    for split, label in (("train", "cat"), ("test", "dog")):
        write(tmp_path, image.format(split), annotation.format(split), label)
    samples = scan_voc(tmp_path)
    assert {(s.label, s.split) for s in samples} == {("cat", "train"), ("dog", "test")}
    assert samples.given_splits and samples.rejected == ()


def test_classes_in_folders_within_images(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write(tmp_path, f"images/{label}/1.png", f"annotations/{label}/1.xml", "thing")
    samples = scan_voc(tmp_path, label_from="folder")
    assert samples.class_names == ("cat", "dog")


def test_ambiguous_names_are_named_and_not_paired(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "all/1.xml")
    write(tmp_path, "b/1.png", "b/spare/none.xml")
    write(tmp_path, "c/2.png", "all/2.xml", "cat")
    write(tmp_path, "c/3.png", "all/3.xml", "dog")
    write(tmp_path, "c/3.png", "more/3.xml", "dog")
    write(tmp_path, "c/4.png", "all/4.xml", "dog")
    samples = scan_voc(tmp_path)
    assert [s.path for s in samples] == ["c/2.png", "c/4.png"]
    why = reasons(samples)
    assert (
        why["a/1.png"]
        == why["b/1.png"]
        == ("all/1.xml could be the annotation of 2 images of its name: a/1.png, b/1.png")
    )
    assert why["c/3.png"] == "it has 2 annotations of its name: all/3.xml, more/3.xml"


def test_an_annotation_beside_other_images_is_none_of_theirs(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "cat/1.xml")
    write(tmp_path, "cat/2.png", "cat/lost.xml")
    write(tmp_path, "dog/lost.png", "dog/x.xml", "dog")
    write(tmp_path, "dog/3.png", "dog/3.xml", "dog")
    samples = scan_voc(tmp_path)
    assert [s.path for s in samples] == ["cat/1.png", "dog/3.png"]
    assert "has no annotation" in reasons(samples)["dog/lost.png"]


def test_the_image_s_full_name_before_xml(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "1.png.xml")
    write(tmp_path, "2.png", "2.xml", "dog")
    assert scan_voc(tmp_path).class_names == ("cat", "dog")


def bndbox(*corners: object) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    return (
        "<bndbox>"
        + "".join(f"<{t}>{v}</{t}>" for t, v in zip(tags, corners, strict=True))
        + ("</bndbox>")
    )


@pytest.mark.parametrize(
    ("stem", "xml", "box"),
    [
        ("A_001.mp4#t=0", bndbox(20.5, 60.5, 70.5, 20.5), (19.5, 19.5, 70.5, 60.5)),  # VoTT
        (
            "cvat",
            "<occluded>0</occluded>"
            + bndbox("0.0", "0.0", "40.5", "30.25")
            + "<attributes><attribute><name>rotation</name><value>0.0</value></attribute>"
            "</attributes>",
            (0, 0, 40.5, 30.25),
        ),
        (
            "a.v2i",  # Roboflow
            "<bndbox><xmin>13</xmin><xmax>48</xmax><ymin>22</ymin><ymax>49</ymax></bndbox>",
            (12, 21, 48, 49),
        ),
        ("past the edge", bndbox(-3, 5, 99, 80), (0, 4, 96, 72)),
        ("zero", bndbox(0, 0, 10, 10), (0, 0, 10, 10)),
        ("spaces", bndbox(" 5 ", "\n6\n", "1e1", "+20"), (4, 5, 10, 20)),
        (
            "parts",
            bndbox(5, 6, 50, 60) + f"<part><name>head</name>{bndbox(6, 7, 9, 9)}</part>",
            (4, 5, 50, 60),
        ),
    ],
)
def test_boxes_of_other_tools(tmp_path: Path, stem: str, xml: str, box: tuple[float, ...]) -> None:
    for label in ("cat", "dog"):
        write(tmp_path, f"images/{label} {stem}.png", f"xml/{label} {stem}.xml", label, xml)
    samples = scan_voc(tmp_path)
    assert samples.class_names == ("cat", "dog") and samples.rejected == ()
    relative = [v / (96, 72)[i % 2] for i, v in enumerate(box)]
    assert all(sample.box == pytest.approx(relative) for sample in samples)


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height><depth/></size>",
        "<size><width>96</width><height>72</height><depth></depth></size>",
        "<size><width>96.0</width><height>72.0</height><depth>Unspecified</depth></size>",
    ],
)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "UTF-8", "utf8", "latin-1", "ISO-8859-1", "cp1252", "us-ascii", "UTF-16"]
)
def test_sizes_and_encodings_of_other_tools(tmp_path: Path, size: str, encoding: str) -> None:
    for label in ("cat", "dog"):
        write(tmp_path, f"{label}.png", f"{label}.xml", label)
        text = (tmp_path / f"{label}.xml").read_text().replace("<object>", f"{size}<object>")
        text = f"<?xml version='1.0' encoding='{encoding}'?>\n" + text
        (tmp_path / f"{label}.xml").write_bytes(text.encode(encoding))
    samples = scan_voc(tmp_path)
    assert samples.class_names == ("cat", "dog") and samples.rejected == ()
