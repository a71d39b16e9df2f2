"""Pascal VOC annotations: boxes are converted, files read, refused and written."""

import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring

from sharpeye.errors import AnnotationError, DataError
from sharpeye.images.voc_xml import (
    Annotation,
    VocObject,
    parse_voc,
    relative_box,
    voc_object,
    write_voc,
)

SIZE = (80, 60)

# Python cannot take an audit hook away again: this one only listens while a test wants it.
_opened: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event in ("open", "socket.connect", "socket.getaddrinfo", "import"):
        _opened.append(f"{event} {arguments[0]}")


sys.addaudithook(_hook)


def xml(objects: str = "", size: str = "", root: str = "annotation") -> bytes:
    return f"<{root}><filename>1.jpg</filename>{size}{objects}</{root}>".encode()


def item(
    xmin: str = "3", ymin: str = "4", xmax: str = "30", ymax: str = "40", more: str = ""
) -> str:
    box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>cat</name>{more}<bndbox>{box}</bndbox></object>"


def size_of(width: str, height: str) -> str:
    return f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"


def refusal(data: bytes) -> str:
    """Why `parse_voc` refuses these bytes: one line, within seconds, nothing opened."""
    global _opened
    refused(data)  # codecs are imported once
    start, _opened = time.process_time(), []
    try:
        error = refused(data)
    finally:
        seconds, touched, _opened = time.process_time() - start, _opened, None
    assert seconds < 5  # of hours; the collector of a large test run may take a second
    assert touched == []
    assert isinstance(error, DataError) and error.exit_code == 3
    assert error.path == "photos/1.xml"
    assert str(error) == f"cannot use the annotation photos/1.xml: {error.reason}"
    assert error.reason.isprintable() and 5 < len(error.reason) < 250
    return error.reason


def refused(data: bytes) -> AnnotationError:
    with pytest.raises(AnnotationError) as caught:
        parse_voc(data, "photos/1.xml")
    return caught.value


def read(objects: str) -> VocObject:
    (item,) = parse_voc(xml(objects), "1.xml").objects
    return item


# --- boxes ---------------------------------------------------------------------------------------


def test_pixels_count_from_one_and_the_last_is_included() -> None:
    assert relative_box(VocObject("cat", 1, 1, 80, 60), SIZE) == (0, 0, 1, 1)
    assert relative_box(VocObject("cat", 1, 1, 1, 1), SIZE) == (0, 0, 1 / 80, 1 / 60)
    assert relative_box(VocObject("cat", 41, 31, 80, 60), SIZE) == (0.5, 0.5, 1, 1)


def test_whole_pixels_survive_conversion_there_and_back() -> None:
    source = random.Random(0)
    for _ in range(3000):
        width, height = source.randint(1, 5000), source.randint(1, 5000)
        across = sorted(source.randint(1, width) for _ in range(2))
        down = sorted(source.randint(1, height) for _ in range(2))
        before = VocObject("cat", across[0], down[0], across[1], down[1])
        assert voc_object("cat", relative_box(before, (width, height)), (width, height)) == before


def test_swapped_corners_are_put_in_order() -> None:
    assert relative_box(VocObject("cat", 30, 40, 3, 4), SIZE) == relative_box(
        VocObject("", 3, 4, 30, 40), SIZE
    )


def test_what_lies_outside_is_cut_off() -> None:
    assert relative_box(VocObject("cat", -50, 0, 40, 900), SIZE) == (0, 0, 0.5, 1)
    assert relative_box(VocObject("cat", 41, 31, 1e6, 60.5), SIZE) == (0.5, 0.5, 1, 1)


@pytest.mark.parametrize(
    "corners", [(81, 1, 90, 60), (-9, 1, 0, 60), (1, 61, 80, 70), (1, -9, 80, -2), (0, 0, 0, 0)]
)
def test_a_box_outside_of_the_image_is_refused(corners: tuple[float, ...]) -> None:
    with pytest.raises(AnnotationError) as caught:
        relative_box(VocObject("cat", *corners), SIZE, "1.xml")
    assert caught.value.path == "1.xml"
    assert "has no area in an image of 80 x 60 pixels" in caught.value.reason
    assert f"{corners[0]:g}, {corners[1]:g}" in caught.value.reason


def test_a_box_becomes_one_pixel_at_least_and_stays_in_the_image() -> None:
    source = random.Random(1)
    for _ in range(3000):
        width, height = source.randint(1, 9), source.randint(1, 9)
        box = tuple(source.choice((-0.2, 0, 0.33, 0.5, 0.999, 1, 1.3)) for _ in range(4))
        item = voc_object("cat", box, (width, height))  # type: ignore[arg-type]
        assert 1 <= item.xmin <= item.xmax <= width
        assert 1 <= item.ymin <= item.ymax <= height
        assert {type(item.xmin), type(item.ymax)} == {int}


# --- reading -------------------------------------------------------------------------------------


def test_all_fields_are_read() -> None:
    more = "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult>"
    data = xml(item(more=more) + item("1", "1", "2", "2"), size_of(" 80 ", "60\n"))
    data = data.replace(b"<annotation>", b'<annotation verified="yes">')
    assert parse_voc(data, "1.xml") == Annotation(
        filename="1.jpg",
        width=80,
        height=60,
        objects=(
            VocObject("cat", 3, 4, 30, 40, difficult=False, truncated=True, pose="Left"),
            VocObject("cat", 1, 1, 2, 2),
        ),
        verified=True,
    )


def test_optional_fields() -> None:
    bare = parse_voc(b"<annotation/>", "1.xml")
    assert bare == Annotation("", None, None, ())
    assert parse_voc(xml(size=size_of("0", "0")), "1.xml").width is None
    assert parse_voc(xml(size="<size/>"), "1.xml").height is None
    unnamed = read(item().replace("<name>cat</name>", ""))
    assert (unnamed.name, unnamed.pose, unnamed.difficult) == ("", "Unspecified", False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12.5", 12.5), ("  7\n", 7), ("+3", 3), ("1.2e+02", 120), ("-4", -4), ("007", 7), ("5.", 5)],
)
def test_numbers_as_tools_write_them(text: str, value: float) -> None:
    assert read(item(xmin=text)).xmin == value


NO_PIXELS = ["nan", "inf", "-Infinity", "1e308", "1e99", "1e999999", "9" * 19, "9" * 5000]
NO_PIXELS += ["1_0", "0x10", "١٢", "1,5", "1 2", "ten", "--1", "<b>1</b>"]


@pytest.mark.parametrize("text", NO_PIXELS)
@pytest.mark.parametrize("tag", ["xmin", "ymax"])
def test_what_is_no_number_of_a_pixel_is_refused(text: str, tag: str) -> None:
    reason = refusal(xml(item(**{tag: text})))
    assert tag in reason


@pytest.mark.parametrize("text", ["-5", "nan", "12.5", "1e30", "wide", "9" * 400])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    assert "<width>" in refusal(xml(item(), size_of(text, "60")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "windows-1251"])
def test_encodings(encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f"<?xml version='1.0' encoding='{declared}'?>\n" + xml(item()).decode()
    data = text.replace("cat", "кот").encode(encoding)
    assert parse_voc(data, "1.xml").objects[0].name == "кот"


def laughs(text: str = "lol") -> bytes:
    entities = f'<!ENTITY a0 "{text}">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 20)
    )
    return f"<!DOCTYPE annotation [{entities}]><annotation>&a19;</annotation>".encode()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param(b"", "empty (0 bytes)", id="empty"),
        pytest.param(b" \n", "not XML", id="blank"),
        pytest.param(b"\xff\xd8\xff\xe0JFIF", "not in utf-8", id="jpeg"),
        pytest.param(b"\0" * 5000, "not XML", id="zeros"),
        pytest.param(b"<annotation><object>", "not XML", id="torn"),
        pytest.param(b"<annotation/><annotation/>", "not XML", id="two roots"),
        pytest.param(b"<html><body/></html>", "<html>", id="html"),
        pytest.param(b"<" + b"x" * 9000 + b"/>", "not Pascal VOC", id="long root"),
        pytest.param(b'<annotation xmlns="a"/>', "not Pascal VOC", id="namespace"),
        pytest.param(laughs(), "DOCTYPE", id="billion laughs"),
        pytest.param(laughs().decode().encode("utf-16"), "DOCTYPE", id="wide laughs"),
        pytest.param(
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + xml(item("&b;")),
            "DOCTYPE",
            id="external entity",
        ),
        pytest.param(
            b'<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd">' + xml(item()), "DOCTYPE", id="dtd"
        ),
        pytest.param(xml(item("&b;")), "not XML", id="undefined entity"),
        pytest.param(b"<annotation>" + b"<a>" * 100_000, "nested deeper than 32", id="deep"),
        pytest.param(b"<annotation>" + b"<a/>" * 200_000, "50,000 elements", id="many elements"),
        pytest.param(xml(item() * 1_001), "1,001 objects", id="many objects"),
        pytest.param(xml("<object/>" * 49_000), "49,000 objects", id="empty objects"),
        pytest.param(xml("<object/>" * 1_000_000), "1 MiB", id="a million objects"),
        pytest.param(
            b"<annotation " + b" ".join(b"a%d=''" % n for n in range(90_000)) + b"><a/>",
            "not XML",
            id="many attributes",
        ),
        pytest.param(xml("<name>" + "x" * 2**20 + "</name>"), "1 MiB", id="large"),
        pytest.param(xml("<object><name>a</name></object>"), "no <bndbox>", id="no box"),
        pytest.param(xml("<object><bndbox/></object>"), "no <xmin>", id="empty box"),
        pytest.param(xml(item(more="<name>dog</name>")), "<name> stands 2 times", id="two names"),
        pytest.param(xml(item("1</xmin><xmin>2")), "<xmin> stands 2", id="two edges"),
        pytest.param(
            xml(item() + "<object><bndbox/><bndbox/></object>"), "<bndbox> stands 2", id="two boxes"
        ),
        pytest.param(xml(size=size_of("1", "1") * 2), "<size> stands 2", id="two sizes"),
        pytest.param(b"<?xml version='1.0' encoding='rot13'?><a/>", "rot13", id="no encoding"),
        pytest.param(
            b"<?xml version='1.0' encoding='unicode_escape'?><a/>", "unicode_escape", id="escapes"
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='../../etc/x'?><annotation/>", "not XML", id="path"
        ),
        pytest.param("<annotation>\xe9</annotation>".encode("latin-1"), "utf-8", id="latin"),
        pytest.param(b"<annotation>\x01\x1b[31m</annotation>", "not XML", id="control"),
    ],
)
def test_hostile_files_are_refused_at_once(data: bytes, word: str) -> None:
    assert word in refusal(data)


def test_mutated_files_end_in_an_annotationor_a_refusal() -> None:
    source = random.Random(3)
    seed = write_voc(
        "photos", "1.jpg", SIZE, objects=[VocObject("cat", 3, 4, 30, 40)], verified=True
    )
    ends = {True: 0, False: 0}
    for _ in range(1500):
        data = bytearray(seed)
        for _ in range(source.randint(1, 3)):
            place = source.randrange(len(data))
            if source.random() < 0.7:
                data[place] = source.choice(b"0123456789 aZ-.e\n")
            else:
                data[place : place + source.randint(0, 9)] = source.choice((b"", b"<", b"\xff"))
        try:
            parse_voc(bytes(data), "1.xml")
            ends[True] += 1
        except AnnotationError as error:
            assert "\n" not in error.reason
            ends[False] += 1
    assert min(ends.values()) > 100


# --- writing -------------------------------------------------------------------------------------


def test_the_file_is_laid_out_as_labelimg_does() -> None:
    objects = [VocObject("cat", 3, 4, 30, 40, difficult=True), VocObject("dog", 5, 6, 7, 8)]
    data = write_voc("photos", "1.jpg", SIZE, objects=objects, path="/a/1.jpg", verified=True)
    root = fromstring(data)
    assert root.attrib == {"verified": "yes"}
    assert [element.tag for element in root] == [
        *("folder", "filename", "path", "source", "size", "segmented", "object", "object")
    ]
    assert [element.tag for element in root.find("size")] == ["width", "height", "depth"]
    assert [element.tag for element in root.find("object")] == [
        *("name", "pose", "truncated", "difficult", "bndbox")
    ]
    box = {element.tag: element.text for element in root.find("object/bndbox")}
    assert list(box.items()) == [("xmin", "3"), ("ymin", "4"), ("xmax", "30"), ("ymax", "40")]
    assert root.findtext("source/database") == "Unknown"
    assert b"\n\t<folder>photos</folder>\n" in data
    assert b"<path>" not in write_voc("photos", "1.jpg", SIZE, objects=[])
    assert b"verified" not in write_voc("photos", "1.jpg", SIZE, objects=[])


def test_what_is_written_is_read_again() -> None:
    objects = (
        VocObject("cat", 1, 1, 80, 60, difficult=True, pose="Left"),
        VocObject('<b>&amp; "Кот" ]]> \'', 7, 8, 7, 8, truncated=True),
    )
    for verified in (True, False):
        data = write_voc("a&b", "猫 <1>.jpg", SIZE, objects=objects, verified=verified)
        annotation = parse_voc(data, "1.xml")
        assert annotation == Annotation("猫 <1>.jpg", 80, 60, objects, verified)


def test_boxes_are_written_whole_ordered_and_inside() -> None:
    objects = [VocObject("a", 30.4, 40.6, 2.6, 4), VocObject("b", -9, -9, 900, 900)]
    objects += [VocObject("c", 200, 200, 300, 300), VocObject("d", -5, -5, -2, -1)]
    written = parse_voc(write_voc("p", "1.jpg", SIZE, objects=objects), "1.xml").objects
    corners = [(item.xmin, item.ymin, item.xmax, item.ymax) for item in written]
    assert corners == [(3, 4, 30, 41), (1, 1, 80, 60), (80, 60, 80, 60), (1, 1, 1, 1)]


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    bad = "a\x00b\x1b[31m\n\ud800\ufffe"
    data = write_voc(bad, bad, SIZE, objects=[VocObject(bad, 1, 1, 2, 2, pose=bad)], path=bad)
    annotation = parse_voc(data, "1.xml")
    assert (
        annotation.filename == annotation.objects[0].name == "a\ufffdb\ufffd[31m\ufffd\ufffd\ufffd"
    )


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(AnnotationError, match="0 x 60 pixels"):
        write_voc("p", "1.jpg", (0, 60), objects=[])
    for value in (float("nan"), float("inf")):
        with pytest.raises(AnnotationError, match="box of cat is not finite"):
            write_voc("p", "1.jpg", SIZE, objects=[VocObject("cat", value, 1, 2, 2)])


def test_the_sample_shapes_are_read(tmp_path: Path) -> None:
    import numpy as np

    from sharpeye.collect.shapes import box_of_mask, draw_shape, voc_annotation

    drawing = draw_shape("star", np.random.default_rng(0))
    annotation = parse_voc(voc_annotation("star", "1.jpg", "star", drawing=drawing), "1.xml")
    height, width = drawing.mask.shape
    assert annotation == Annotation(
        "1.jpg", width, height, (VocObject("star", *box_of_mask(drawing.mask)),)
    )
