"""Edit a Pascal VOC file without losing what SharpEye does not know.

An object that nobody touched keeps its text, fractions and all. Of an object that was moved or
renamed, only that is rewritten, so fields of other tools stay: `<actions>`, `<part>`,
`<occluded>`.

Boxes are always written in pixels of the upright image, with its size, which `labelled_frame` in
`data/pascal_voc.py` reads without ambiguity, whatever EXIF says. A file of a tool that ignores
EXIF is converted to the upright image by its first edit.
"""

import copy
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sharpeye.core.types import Box
from sharpeye.data.pascal_voc import labelled_frame, turn_upright
from sharpeye.errors import AnnotationError
from sharpeye.images.decode import ImageSize
from sharpeye.images.voc_xml import (
    Annotation,
    VocObject,
    parse_voc_tree,
    relative_box,
    voc_object,
    write_voc,
)

# xmin, ymin, xmax, ymax between pixels of the upright image, from 0.
PixelEdges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object as the page shows it.

    Attributes:
        name: its class.
        edges: its box; None if no part of it lies in the image.
        origin_id: `VERSION:NUMBER` of the object in the file that it comes from; "" for a new one.
    """

    name: str
    edges: PixelEdges | None
    difficult: bool = False
    truncated: bool = False
    pose: str = "Unspecified"
    origin_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AnnotationVersion:
    """One version of a file.

    Attributes:
        etag: SHA-256 of its bytes.
        root: its element `annotation`. Not to be changed.
        objects: in the file's order.
        verified: whether a person marked the image as done.
        upright: whether the file counts pixels in the upright image.
    """

    etag: str
    root: ET.Element
    objects: tuple[LabelledObject, ...]
    verified: bool
    upright: bool


def parse_version(data: bytes, etag: str, size: ImageSize, *, name: str) -> AnnotationVersion:
    """Parse a file's annotation of an image.

    Raises:
        AnnotationError: it cannot be read, or is of an image of another size.
    """
    annotation, root = parse_voc_tree(data, name)
    frame, orientation = labelled_frame(annotation, size, name)
    objects = tuple(
        replace(_labelled_object(item, frame, orientation, size=size), origin_id=f"{etag}:{number}")
        for number, item in enumerate(annotation.objects)
    )
    upright = orientation == 1 and _has_upright_size(annotation, size)
    return AnnotationVersion(etag, root, objects, annotation.verified, upright)


def _has_upright_size(annotation: Annotation, size: ImageSize) -> bool:
    return (annotation.width, annotation.height) in (size.upright, (None, None))


def _labelled_object(
    item: VocObject, frame: tuple[int, int], orientation: int, *, size: ImageSize
) -> LabelledObject:
    try:
        edges = _pixel_edges(turn_upright(relative_box(item, frame), orientation), size.upright)
    except AnnotationError:
        edges = None
    return LabelledObject(item.name, edges, item.difficult, item.truncated, item.pose)


def _pixel_edges(box: Box, size: tuple[int, int]) -> PixelEdges:
    # Fractions of the image are inexact; thousandths of a pixel are finer than anybody draws.
    xmin, ymin, xmax, ymax = (
        round(fraction * side, 3) for fraction, side in zip(box, (*size, *size), strict=True)
    )
    return xmin, ymin, xmax, ymax


@dataclass(frozen=True, slots=True)
class OriginalObject:
    """An object of a file before the edit: its element, its content, and its frame."""

    element: ET.Element
    content: LabelledObject
    upright: bool


def original_object(version: AnnotationVersion, number: int) -> OriginalObject:
    """The object of that number in a version."""
    element = version.root.findall("object")[number]
    return OriginalObject(element, version.objects[number], version.upright)


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """The image that an annotation describes.

    Attributes:
        folder, filename: its folder's name and its own.
        path: relative to the annotation's folder, so it stays true when both are moved.
        size: width and height in pixels, upright.
    """

    folder: str
    filename: str
    path: str
    size: tuple[int, int]


def edit_annotation(
    old: ET.Element | None,
    objects: Sequence[tuple[LabelledObject, OriginalObject | None]],
    image: AnnotatedImage,
    *,
    verified: bool,
) -> bytes:
    """The new bytes of an annotation.

    Args:
        old: the element `annotation` of the current file; None if there is none.
        objects: all objects of the new file, each with its original, if it has one.

    Raises:
        AnnotationError: a new object has no box.
    """
    new = _new_annotation(objects, image, verified)
    elements = [
        element if original is None else _edited_element(original, content, element)
        for (content, original), element in zip(objects, new.findall("object"), strict=True)
    ]
    root = new if old is None else copy.deepcopy(old)
    if old is not None:
        _add_missing(root, new)
    position = next((n for n, child in enumerate(root) if child.tag == "object"), len(root))
    for element in root.findall("object"):
        root.remove(element)
    for element in reversed(elements):
        root.insert(position, element)
    root.attrib.pop("verified", None)
    if verified:
        root.set("verified", "yes")
    ET.indent(root, "\t")
    xml: bytes = ET.tostring(root, encoding="utf-8")
    return xml + b"\n"


def _new_annotation(
    objects: Sequence[tuple[LabelledObject, OriginalObject | None]],
    image: AnnotatedImage,
    verified: bool,
) -> ET.Element:
    """The annotation as if there had been no file before."""
    width, height = image.size
    items = []
    for content, original in objects:
        if content.edges is None and original is None:
            raise AnnotationError(image.filename, f"a new object {content.name!r} has no box")
        # An object outside of the image keeps its element: this box is not used.
        xmin, ymin, xmax, ymax = content.edges or (0, 0, width, height)
        item = voc_object(
            content.name,
            (xmin / width, ymin / height, xmax / width, ymax / height),
            image.size,
            difficult=content.difficult,
            truncated=content.truncated,
        )
        items.append(replace(item, pose=content.pose))
    data = write_voc(
        image.folder, image.filename, image.size, objects=items, path=image.path, verified=verified
    )
    return parse_voc_tree(data, image.filename)[1]


def _add_missing(root: ET.Element, new: ET.Element) -> None:
    """Add what an old file lacks, and set the size of the upright image."""
    children = [child for child in new if child.tag not in ("object", "size")]
    for number, child in enumerate(children):
        if root.find(child.tag) is None and child.tag != "path":
            root.insert(number, copy.deepcopy(child))
    size, new_size = root.find("size"), new.find("size")
    if new_size is None:
        return
    if size is None:
        root.append(new_size)
        return
    for tag in ("width", "height", "depth"):
        if tag != "depth" or size.find(tag) is None:
            _set_text(size, tag, new_size.findtext(tag) or "")


def _edited_element(
    original: OriginalObject, content: LabelledObject, new: ET.Element
) -> ET.Element:
    """The original element, with what has changed taken from the new one."""
    element, before = copy.deepcopy(original.element), original.content
    if content.name != before.name:
        _set_text(element, "name", new.findtext("name") or "")
    if content.pose != before.pose:
        _set_text(element, "pose", new.findtext("pose") or "")
    for flag in ("truncated", "difficult"):
        if getattr(content, flag) != getattr(before, flag):
            _set_text(element, flag, new.findtext(flag) or "0")
    moved = content.edges is not None and (content.edges != before.edges or not original.upright)
    box, new_box = element.find("bndbox"), new.find("bndbox")
    if moved and box is not None and new_box is not None:
        for tag in ("xmin", "ymin", "xmax", "ymax"):
            _set_text(box, tag, new_box.findtext(tag) or "")
    return element


def _set_text(parent: ET.Element, tag: str, text: str) -> None:
    element = parent.find(tag)
    if element is None:
        element = ET.SubElement(parent, tag)
    element.text = text
