"""Read and write a Pascal VOC annotation: the XML that LabelImg writes beside an image.

    <annotation>                       LabelImg's `verified="yes"`: a person has checked it
        <folder> <filename> <path>     plain text, never opened
        <size> <width> <height> <depth>
        <object>                       one or more
            <name> <pose> <truncated> <difficult>
            <bndbox> <xmin> <ymin> <xmax> <ymax>

Pascal VOC counts pixels from 1 and includes the last one; a `Box` has its edges between pixels.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", development kit 2012.
"""

import codecs
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from sharpeye.core.types import Box
from sharpeye.errors import AnnotationError, one_line

# Far above real annotations: one with 50 objects has 15 kB.
MAX_BYTES = 2**20
_MAX_OBJECTS = 1_000
_MAX_ELEMENTS = 50_000
_MAX_DEPTH = 32
_MAX_PIXEL = 1e7

_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
# Python also has codecs for other purposes; annotations use only these text encodings, by Python's
# own names for them.
_ENCODINGS = {"utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii"}
_ENCODINGS |= {"iso8859-1", "iso8859-2", "iso8859-5", "iso8859-9", "iso8859-15"}
_ENCODINGS |= {"cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp932", "cp949", "koi8-r"}
_ENCODINGS |= {"gbk", "gb2312", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"}
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_NOT_IN_XML = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class VocObject:
    """One object of an annotation.

    Attributes:
        name: its class; empty if the file gives none.
        xmin, ymin, xmax, ymax: pixels as the file has them: from 1, the last one included; not
            ordered, perhaps outside of the image, perhaps fractions.
        truncated: cut off by the image's edge.
    """

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    truncated: bool = False
    pose: str = "Unspecified"


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotation of one image.

    Attributes:
        filename: the image's name in the file, a text that must never be opened.
        width, height: of the labelled image, in pixels; None if not given.
        verified: whether a person marked the image as done.
    """

    filename: str
    width: int | None
    height: int | None
    objects: tuple[VocObject, ...]
    verified: bool = False


def _edges(first: float, last: float, side: int) -> tuple[float, float]:
    """Pixels from 1, the last one included, in any order, to edges between pixels, 0..side."""
    low, high = min(first, last), max(first, last)
    return max(0.0, low - 1), min(float(side), high)


def _pixels(low: float, high: float, side: int) -> tuple[int, int]:
    """Edges between pixels to whole pixels from 1, the last one included: at least one pixel."""
    first = min(max(round(low), 0), side - 1)
    return first + 1, min(max(round(high), first + 1), side)


def relative_box(item: VocObject, size: tuple[int, int], name: str = "") -> Box:
    """The box of an object as shares 0..1 of the image, clipped to it.

    Args:
        size: width and height of the labelled image, in pixels.

    Raises:
        AnnotationError: the box lies outside the image.
    """
    width, height = size
    left, right = _edges(item.xmin, item.xmax, width)
    top, bottom = _edges(item.ymin, item.ymax, height)
    if not (left < right and top < bottom):
        corners = ", ".join(f"{v:g}" for v in (item.xmin, item.ymin, item.xmax, item.ymax))
        raise AnnotationError(
            name, f"the box {corners} has no area in an image of {width} x {height} pixels"
        )
    return left / width, top / height, right / width, bottom / height


def voc_object(
    name: str, box: Box, size: tuple[int, int], *, difficult: bool = False, truncated: bool = False
) -> VocObject:
    """An object in a box, in whole pixels: the inverse of `relative_box`."""
    xmin, xmax = _pixels(box[0] * size[0], box[2] * size[0], size[0])
    ymin, ymax = _pixels(box[1] * size[1], box[3] * size[1], size[1])
    return VocObject(name, xmin, ymin, xmax, ymax, difficult, truncated)


def parse_voc(data: bytes, name: str) -> Annotation:
    """Parse one annotation, without opening other files or expanding entities.

    Raises:
        AnnotationError: not an annotation, damaged, hostile, or over a limit.
    """
    return parse_voc_tree(data, name)[0]


def parse_voc_tree(data: bytes, name: str) -> tuple[Annotation, ET.Element]:
    """Like `parse_voc`; also the root element, whose objects are in the same order."""
    try:
        root = _parse_root(data)
        return _read_annotation(root), root
    except _InvalidAnnotation as error:
        raise AnnotationError(name, str(error)) from None


class _InvalidAnnotation(Exception):
    """The reason why a file cannot be used; `parse_voc` adds the file's name."""


class _BoundedTreeBuilder(ET.TreeBuilder):
    """Stops at the first element that is too many or too deep."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > _MAX_DEPTH:
            raise _InvalidAnnotation(f"elements are nested deeper than {_MAX_DEPTH}")
        if self._count > _MAX_ELEMENTS:
            raise _InvalidAnnotation(f"more than {_MAX_ELEMENTS:,} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)


def _parse_root(data: bytes) -> ET.Element:
    if not data:
        raise _InvalidAnnotation("the file is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise _InvalidAnnotation(f"over the limit of {MAX_BYTES // 2**20} MiB an annotation")
    text = _decode(data)
    if "<!DOCTYPE" in text:
        # The parser below also refuses it, but only after reading to the end.
        raise _InvalidAnnotation("it has a document type (DOCTYPE), through which XML attacks come")
    parser = DefusedXMLParser(target=_BoundedTreeBuilder(), encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed(text.encode("utf-8"))
        root: ET.Element = parser.close()
    except (ET.ParseError, DefusedXmlException, ValueError) as error:
        raise _InvalidAnnotation(f"not XML: {one_line(error, 160)}") from None
    if root.tag != "annotation":
        raise _InvalidAnnotation(
            f"not Pascal VOC: it starts with <{_shorten(root.tag)}> instead of <annotation>"
        )
    return root


def _decode(data: bytes) -> str:
    declared = _DECLARED.match(data[:256])
    encoding = declared[1].decode("ascii").lower() if declared else "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif _codec_name(encoding) not in _ENCODINGS:
        raise _InvalidAnnotation(f"its encoding {encoding} is not read; save it as UTF-8")
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _InvalidAnnotation(
            f"it is not in {encoding}, as it should be: wrong byte at {error.start:,}"
        ) from None


def _codec_name(encoding: str) -> str:
    """Python's name of an encoding, such as `iso8859-1` for `latin-1`; empty if it has none."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return ""


def _read_annotation(root: ET.Element) -> Annotation:
    items = root.findall("object")
    if len(items) > _MAX_OBJECTS:
        raise _InvalidAnnotation(f"{len(items):,} objects are over the limit of {_MAX_OBJECTS:,}")
    size = _single_child(root, "size")
    filename = root.findtext("filename") or ""
    return Annotation(
        filename=filename.strip(),
        width=None if size is None else _side(size, "width"),
        height=None if size is None else _side(size, "height"),
        objects=tuple(map(_read_object, items)),
        verified=root.get("verified", "").strip().casefold() in ("yes", "true", "1"),
    )


def _read_object(item: ET.Element) -> VocObject:
    box = _single_child(item, "bndbox")
    if box is None:
        raise _InvalidAnnotation("an object has no <bndbox>")
    return VocObject(
        name=_text(item, "name"),
        **{tag: _coordinate(box, tag) for tag in ("xmin", "ymin", "xmax", "ymax")},
        difficult=_text(item, "difficult").casefold() in ("1", "true", "yes"),
        truncated=_text(item, "truncated").casefold() in ("1", "true", "yes"),
        pose=_text(item, "pose") or "Unspecified",
    )


def _single_child(parent: ET.Element, tag: str) -> ET.Element | None:
    children = parent.findall(tag)
    if len(children) > 1:
        raise _InvalidAnnotation(f"<{tag}> stands {len(children)} times in <{parent.tag}>")
    return children[0] if children else None


def _text(parent: ET.Element, tag: str) -> str:
    element = _single_child(parent, tag)
    return "" if element is None else (element.text or "").strip()


def _coordinate(box: ET.Element, tag: str) -> float:
    text = _text(box, tag)
    if not text:
        raise _InvalidAnnotation(f"<bndbox> has no <{tag}>")
    return _number(text, tag)


def _side(size: ET.Element, tag: str) -> int | None:
    """Whole pixels; None for 0, which labelling tools write where they do not know."""
    text = _text(size, tag)
    value = _number(text, tag) if text else 0.0
    if value < 0 or value != int(value):
        raise _InvalidAnnotation(f"<{tag}> is no number of pixels: {_shorten(text)}")
    return int(value) or None


def _number(text: str, tag: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not abs(value) <= _MAX_PIXEL:
        raise _InvalidAnnotation(f"<{tag}> is no pixel: {_shorten(text)}")
    return value


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")[1:-1]


def write_voc(
    folder: str,
    filename: str,
    size: tuple[int, int],
    *,
    objects: Sequence[VocObject],
    path: str = "",
    database: str = "Unknown",
    depth: int = 3,
    verified: bool = False,
) -> bytes:
    """An annotation in UTF-8 XML, laid out as LabelImg writes it.

    Boxes become whole pixels within the image, at least one. In names, control characters and lone
    surrogates, which XML forbids, become U+FFFD.

    Args:
        folder, filename: the names of the image's folder and file.
        size: width and height of the image, in pixels.
        path: the image's path; best omitted, as it is wrong as soon as the folder is moved.

    Raises:
        AnnotationError: the image has no size, or a box is not finite.
    """
    width, height = size
    if width < 1 or height < 1:
        raise AnnotationError(filename, f"an image cannot have {width} x {height} pixels")
    root = ET.Element("annotation", {"verified": "yes"} if verified else {})
    _append(root, folder=folder, filename=filename, **({"path": path} if path else {}))
    _append(ET.SubElement(root, "source"), database=database)
    _append(ET.SubElement(root, "size"), width=width, height=height, depth=depth)
    _append(root, segmented=0)
    for item in objects:
        if not all(map(math.isfinite, (item.xmin, item.ymin, item.xmax, item.ymax))):
            raise AnnotationError(filename, f"the box of {_shorten(item.name)} is not finite")
        xmin, xmax = _pixels(*_edges(item.xmin, item.xmax, width), width)
        ymin, ymax = _pixels(*_edges(item.ymin, item.ymax, height), height)
        node = ET.SubElement(root, "object")
        _append(node, name=item.name, pose=item.pose)
        _append(node, truncated=int(item.truncated), difficult=int(item.difficult))
        _append(ET.SubElement(node, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ET.indent(root, "\t")
    xml: bytes = ET.tostring(root, encoding="utf-8")
    return xml + b"\n"


def _append(parent: ET.Element, **children: str | int) -> None:
    for tag, value in children.items():
        ET.SubElement(parent, tag).text = _NOT_IN_XML.sub("\ufffd", str(value))
