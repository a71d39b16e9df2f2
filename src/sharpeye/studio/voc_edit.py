"""Changes a Pascal VOC file and keeps what it does not know.

An object that nobody touched keeps its text, fractions and all; of one that was moved or renamed
only that is rewritten, so that fields of other tools stay: `<actions>`, `<part>`, `<occluded>`.

What is written is always in the upright image, with its size: `frame_of` in
`data/pascal_voc.py` reads that without doubt, whatever EXIF says. A file of a tool that ignores
EXIF is turned as a whole with the first change.
"""

import copy
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sharpeye.core.types import Box
from sharpeye.data.pascal_voc import frame_of, turned
from sharpeye.errors import AnnotationError
from sharpeye.images.decode import ImageSize
from sharpeye.images.voc_xml import Annotation, VocObject, box_of, object_of, parse_tree, write_voc

# Edges between pixels of the upright image, from 0: xmin, ymin, xmax, ymax.
Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Marked:
    """One object as the page shows it.

    Attributes:
        name: its class.
        edges: where it is; None if nothing of it lies in the image.
        was: which object of which version of the file it comes from; "" for a new one.
    """

    name: str
    edges: Edges | None
    difficult: bool = False
    truncated: bool = False
    pose: str = "Unspecified"
    was: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a file.

    Attributes:
        etag: SHA-256 of its bytes.
        root: its element `annotation`. Not to be changed.
        objects: in the file's order.
        verified: whether a person marked the image as done.
        upright: whether the file counts pixels in the upright image.
    """

    etag: str
    root: ET.Element
    objects: tuple[Marked, ...]
    verified: bool
    upright: bool


def version_of(data: bytes, etag: str, size: ImageSize, name: str) -> Version:
    """What a file says of an image.

    Raises:
        AnnotationError: it cannot be read, or is of an image of another size.
    """
    annotation, root = parse_tree(data, name)
    frame, orientation = frame_of(annotation, size, name)
    objects = tuple(
        replace(_marked(item, frame, orientation, size), was=f"{etag}:{number}")
        for number, item in enumerate(annotation.objects)
    )
    upright = orientation == 1 and _is_of(annotation, size)
    return Version(etag, root, objects, annotation.verified, upright)


def _is_of(annotation: Annotation, size: ImageSize) -> bool:
    return (annotation.width, annotation.height) in (size.upright, (None, None))


def _marked(item: VocObject, frame: tuple[int, int], orientation: int, size: ImageSize) -> Marked:
    try:
        box: Box | None = turned(box_of(item, frame), orientation)
    except AnnotationError:
        box = None
    edges = None if box is None else _edges(box, size.upright)
    return Marked(item.name, edges, item.difficult, item.truncated, item.pose)


def _edges(box: Box, size: tuple[int, int]) -> Edges:
    # Shares of the image are inexact; thousandths of a pixel are beyond what anybody drew.
    xmin, ymin, xmax, ymax = (
        round(share * side, 3) for share, side in zip(box, (*size, *size), strict=True)
    )
    return xmin, ymin, xmax, ymax


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object comes from: its element, what that said, and in which frame."""

    element: ET.Element
    marked: Marked
    upright: bool


def origin_in(version: Version, number: int) -> Origin:
    """The object of that number in a version."""
    element = version.root.findall("object")[number]
    return Origin(element, version.objects[number], version.upright)


@dataclass(frozen=True, slots=True)
class Target:
    """The image that an annotation is of.

    Attributes:
        folder, filename: its folder's name and its own.
        path: from the annotation's folder, so that it stays true when all is moved.
        size: width and height in pixels, upright.
    """

    folder: str
    filename: str
    path: str
    size: tuple[int, int]


def edited(
    old: ET.Element | None,
    objects: Sequence[tuple[Marked, Origin | None]],
    target: Target,
    *,
    verified: bool,
) -> bytes:
    """The new bytes of an annotation.

    Args:
        old: the element `annotation` of the file as it is; None if there is none.
        objects: all that it shall have, each with what it was.

    Raises:
        AnnotationError: a new object has no box.
    """
    fresh = _fresh(objects, target, verified)
    elements = [
        element if origin is None else _changed(origin, marked, element)
        for (marked, origin), element in zip(objects, fresh.findall("object"), strict=True)
    ]
    root = fresh if old is None else copy.deepcopy(old)
    if old is not None:
        _complete(root, fresh)
    at = next((n for n, each in enumerate(root) if each.tag == "object"), len(root))
    for element in root.findall("object"):
        root.remove(element)
    for element in reversed(elements):
        root.insert(at, element)
    root.attrib.pop("verified", None)
    if verified:
        root.set("verified", "yes")
    ET.indent(root, "\t")
    xml: bytes = ET.tostring(root, encoding="utf-8")
    return xml + b"\n"


def _fresh(
    objects: Sequence[tuple[Marked, Origin | None]], target: Target, verified: bool
) -> ET.Element:
    """The annotation as if there had been none; of a kept object only its place counts."""
    width, height = target.size
    items = []
    for marked, origin in objects:
        if marked.edges is None and origin is None:
            raise AnnotationError(target.filename, f"a new object {marked.name!r} has no box")
        xmin, ymin, xmax, ymax = marked.edges or (0, 0, width, height)
        box = (xmin / width, ymin / height, xmax / width, ymax / height)
        item = object_of(
            marked.name,
            box,
            target.size,
            difficult=marked.difficult,
            truncated=marked.truncated,
        )
        items.append(replace(item, pose=marked.pose))
    data = write_voc(
        target.folder, target.filename, target.size, items, path=target.path, verified=verified
    )
    return parse_tree(data, target.filename)[1]


def _complete(root: ET.Element, fresh: ET.Element) -> None:
    """Give an old file what it lacks, and the size of the upright image."""
    for number, part in enumerate(each for each in fresh if each.tag not in ("object", "size")):
        if root.find(part.tag) is None and part.tag != "path":
            root.insert(number, copy.deepcopy(part))
    size, ours = root.find("size"), fresh.find("size")
    if ours is None:
        return
    if size is None:
        root.append(ours)
        return
    for tag in ("width", "height", "depth"):
        if tag != "depth" or size.find(tag) is None:
            _set(size, tag, ours.findtext(tag) or "")


def _changed(origin: Origin, marked: Marked, fresh: ET.Element) -> ET.Element:
    """The old element with what is different now."""
    element, was = copy.deepcopy(origin.element), origin.marked
    if marked.name != was.name:
        _set(element, "name", fresh.findtext("name") or "")
    if marked.pose != was.pose:
        _set(element, "pose", fresh.findtext("pose") or "")
    for flag in ("truncated", "difficult"):
        if getattr(marked, flag) != getattr(was, flag):
            _set(element, flag, fresh.findtext(flag) or "0")
    moved = marked.edges is not None and (marked.edges != was.edges or not origin.upright)
    box, ours = element.find("bndbox"), fresh.find("bndbox")
    if moved and box is not None and ours is not None:
        for tag in ("xmin", "ymin", "xmax", "ymax"):
            _set(box, tag, ours.findtext(tag) or "")
    return element


def _set(parent: ET.Element, tag: str, text: str) -> None:
    element = parent.find(tag)
    if element is None:
        element = ET.SubElement(parent, tag)
    element.text = text
