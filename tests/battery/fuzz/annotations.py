"""Fuzz the Pascal VOC reader; what it accepts is written and read again."""

import math

from battery.fuzz.checked_target import check_message
from sharpeye.errors import AnnotationError
from sharpeye.images.voc_xml import VocObject, parse_voc, relative_box, write_voc

TOKENS = (
    *(b"<annotation", b"<object>", b"</object>", b"<bndbox>", b"<xmin>", b"</xmin>", b"<ymax>"),
    *(
        b"<size>",
        b"<width>",
        b"<name>",
        b"verified='yes'",
        b"1e7",
        b"-1",
        b"0.5",
        b"nan",
        b"<?xml ",
    ),
    *(b"<!DOCTYPE", b"<!ENTITY", b"<![CDATA[", b"]]>", b"&amp;", b"&#0;", b"&#x10ffff;", b"<!--"),
    *(
        b"encoding='utf-16'",
        b"encoding='cp932'",
        b"encoding='gb18030'",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(b"xmlns='x'", b"<difficult>", b"<filename>", b"encoding='idna'", b"standalone='yes'"),
)
_SIZE = (80, 60)


def seeds() -> list[bytes]:
    objects = [
        VocObject("cat", 3, 4, 30, 40),
        VocObject("Katze \N{CAT FACE}", 1, 1, 80, 60, difficult=True, truncated=True, pose="Left"),
    ]
    text = write_voc("photos", "1.jpg", _SIZE, objects=objects, verified=True)
    return [
        text,
        text.decode().encode("utf-16"),
        b"<?xml version='1.0' encoding='iso-8859-1'?>\n" + text,
        write_voc("photos", "2.jpg", _SIZE, objects=()),
    ]


def one_input(data: bytes) -> None:
    try:
        annotation = parse_voc(data, "x.xml")
        size = (annotation.width or _SIZE[0], annotation.height or _SIZE[1])
        for item in annotation.objects:
            _check_box(item, size)
        text = write_voc("", annotation.filename, size, objects=annotation.objects)
        again = parse_voc(text, "x.xml")
    except AnnotationError as error:
        check_message(error)
        return
    assert len(again.objects) == len(annotation.objects)
    assert (again.width, again.height) == size
    for before, after in zip(annotation.objects, again.objects, strict=True):
        assert (before.difficult, before.truncated) == (after.difficult, after.truncated)
        assert _plain(before.name) == _plain(after.name), (before.name, after.name)


def _check_box(item: VocObject, size: tuple[int, int]) -> None:
    try:
        left, top, right, bottom = relative_box(item, size)
    except AnnotationError as error:
        check_message(error)
        return
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert all(map(math.isfinite, (left, top, right, bottom)))


def _plain(name: str) -> str:
    """A name without what XML cannot hold or does not keep."""
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return " ".join(printable.replace("\N{REPLACEMENT CHARACTER}", "?").split())
