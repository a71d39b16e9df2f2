"""Edit a Pascal VOC file, and keep fields that SharpEye does not know.

An unedited object keeps its text, even fractions of pixels. If an object was moved or renamed, only
its box or name is rewritten, so fields of other tools stay: `<actions>`, `<part>`, `<occluded>`.

Boxes are always written in pixels of the upright image, with its size, which `labelled_frame` in
`data/pascal_voc.py` reads without ambiguity, whatever EXIF says. The first edit converts the file
of a tool that ignores EXIF to the upright image.
"""

import contextlib
import copy
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sharpeye.data.pascal_voc import labelled_frame, turn_upright
from sharpeye.errors import AnnotationError
from sharpeye.images.boxes import from_pixels, to_pixels
from sharpeye.images.decode import ImageSize
from sharpeye.images.voc_xml import VocObject, parse_voc_tree, relative_box, voc_object, write_voc


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object in the page's form.

    Attributes:
        name: its class.
        edges: xmin, ymin, xmax, ymax of its box, between pixels of the upright image, from 0; None
            if it lies outside the image.
        origin_id: `VERSION:NUMBER` of the object in the file that it comes from; "" for a new one.
    """

    name: str
    edges: tuple[float, float, float, float] | None
    difficult: bool = False
    truncated: bool = False
    pose: str = "Unspecified"
    origin_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class OriginalObject:
    """An object of a file before the edit; `upright` as in `AnnotationVersion`."""

    element: ET.Element
    content: LabelledObject
    upright: bool


@dataclass(frozen=True, slots=True)
class AnnotationVersion:
    """One version of a file.

    Attributes:
        root: its element `annotation`, which must not be changed.
        objects: in the file's order.
        upright: whether the file's pixels refer to the upright image.
    """

    root: ET.Element
    objects: tuple[LabelledObject, ...]
    verified: bool
    upright: bool

    def original(self, number: int) -> OriginalObject:
        """The object with that number."""
        element = self.root.findall("object")[number]
        return OriginalObject(element, self.objects[number], self.upright)


def parse_version(data: bytes, etag: str, size: ImageSize, *, name: str) -> AnnotationVersion:
    """Parse a file; AnnotationError if it is not readable, or its image has another size."""
    annotation, root = parse_voc_tree(data, name)
    frame, orientation = labelled_frame(annotation, size, name)
    objects = tuple(
        replace(_labelled_object(item, frame, orientation, size=size), origin_id=f"{etag}:{number}")
        for number, item in enumerate(annotation.objects)
    )
    has_upright_size = (annotation.width, annotation.height) in (size.upright, (None, None))
    upright = orientation == 1 and has_upright_size
    return AnnotationVersion(root, objects, annotation.verified, upright)


def _labelled_object(
    item: VocObject, frame: tuple[int, int], orientation: int, *, size: ImageSize
) -> LabelledObject:
    edges = None
    with contextlib.suppress(AnnotationError):
        box = turn_upright(relative_box(item, frame), orientation)
        # Fractions of the image are inexact; thousandths of a pixel are finer than any drawing.
        xmin, ymin, xmax, ymax = (round(edge, 3) for edge in to_pixels(box, size.upright))
        edges = (xmin, ymin, xmax, ymax)
    return LabelledObject(item.name, edges, item.difficult, item.truncated, item.pose)


def edit_annotation(
    old: ET.Element | None,
    objects: Sequence[tuple[LabelledObject, OriginalObject | None]],
    size: tuple[int, int],
    *,
    image: Path,
    file: Path,
    verified: bool,
) -> bytes:
    """The new bytes of an annotation.

    Args:
        old: the element `annotation` of the current file; None if there is none.
        objects: all objects of the new file, each with its original, if it has one.
        size: width and height of the upright image in pixels.
        image, file: the paths of the image and of its annotation.

    Raises:
        AnnotationError: a new object has no box.
    """
    items = [
        _voc_object(content, size, is_new=original is None, name=image.name)
        for content, original in objects
    ]
    # Relative to the annotation's folder, the path stays valid when both are moved.
    path, folder = os.path.relpath(image, file.parent), image.parent.name
    data = write_voc(folder, image.name, size, objects=items, path=path, verified=verified)
    new = parse_voc_tree(data, image.name)[1]  # The annotation without the old file.
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


def _voc_object(
    content: LabelledObject, size: tuple[int, int], *, is_new: bool, name: str
) -> VocObject:
    if content.edges is None and is_new:
        raise AnnotationError(name, f"a new object {content.name!r} has no box")
    # An object outside of the image keeps its element: this box is ignored.
    box = from_pixels(content.edges or (0, 0, *size), size)
    flags = {"difficult": content.difficult, "truncated": content.truncated}
    return replace(voc_object(content.name, box, size, **flags), pose=content.pose)


def _add_missing(root: ET.Element, new: ET.Element) -> None:
    """Add missing elements to an old file, and set the size of the upright image."""
    children = [child for child in new if child.tag not in ("object", "size")]
    for number, child in enumerate(children):
        if root.find(child.tag) is None and child.tag != "path":
            root.insert(number, copy.deepcopy(child))
    size = root.find("size")
    if size is None:
        size = ET.SubElement(root, "size")
    for tag in ("width", "height", "depth"):
        if tag != "depth" or size.find(tag) is None:
            _set_text(size, tag, new.findtext(f"size/{tag}") or "")


def _edited_element(
    original: OriginalObject, content: LabelledObject, new: ET.Element
) -> ET.Element:
    """The original element, with changes from the new one."""
    element, before = copy.deepcopy(original.element), original.content
    for tag in ("name", "pose", "truncated", "difficult"):
        if getattr(content, tag) != getattr(before, tag):
            _set_text(element, tag, new.findtext(tag) or "")
    moved = content.edges is not None and (content.edges != before.edges or not original.upright)
    box = element.find("bndbox")
    if moved and box is not None:
        for tag in ("xmin", "ymin", "xmax", "ymax"):
            _set_text(box, tag, new.findtext(f"bndbox/{tag}") or "")
    return element


def _set_text(parent: ET.Element, tag: str, text: str) -> None:
    element = parent.find(tag)
    if element is None:
        element = ET.SubElement(parent, tag)
    element.text = text
