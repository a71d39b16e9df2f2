"""A folder with Pascal VOC annotations to a SampleSet with boxes.

Where images and annotations may lie, says `voc_folders.py`. An annotation belongs to the image
of its own name; what it says of the image's name and path is never opened.
"""

import logging
from collections import defaultdict
from pathlib import Path

from sharpeye.core.types import Box, Sample, SampleSet
from sharpeye.data.image_folder import natural_key, printable, require_folder
from sharpeye.data.label_prefix import label_problem, prefix_of, too_few
from sharpeye.data.voc_folders import VocImage, VocListing, find_annotated_images
from sharpeye.errors import AnnotationError, ImageReadError
from sharpeye.images.decode import DecodeLimits, ImageSize, image_size, read_file
from sharpeye.images.voc_xml import MAX_BYTES, Annotation, VocObject, box_of, parse_voc

log = logging.getLogger(__name__)

_XML_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)


def scan_voc(
    root: Path,
    *,
    label_from: str = "xml",
    box_choice: str = "largest",
    follow_links: bool = False,
    least_classes: int = 2,
) -> SampleSet:
    """List the images of a folder that have an annotation, each with its object's box.

    Args:
        label_from: `xml`: the object's name, `folder`: the folder's, `prefix`: what the file's
            name has before its first _.
        box_choice: of several objects; `largest`, or `single-only` to leave such images out.
        least_classes: 2 to train; 1 where a model's answers for one class are of use.

    Returns:
        a SampleSet whose samples have no digest yet. Images without a usable annotation are
        rejected, and so are annotations without an image.

    Raises:
        DataError: no such folder, or too few classes in it.
    """
    require_folder(root)
    found = find_annotated_images(root, follow_links=follow_links)
    samples, several = _match(found, label_from, box_choice)
    if several:
        log.info("%d pictures show several objects; the largest of each is taken", several)
    labels = tuple(sorted({sample.label for sample in samples}, key=natural_key))
    if len(labels) < least_classes:
        wanted = "to learn boxes, 1.jpg needs a Pascal VOC file 1.xml beside it, as LabelImg writes"
        raise too_few(root, labels, found.rejected, wanted)
    return SampleSet(
        root, tuple(samples), labels, tuple(found.rejected), dict(found.ignored), found.given
    )


def _match(found: VocListing, label_from: str, box_choice: str) -> tuple[list[Sample], int]:
    """The samples, and how many of them show several objects."""
    sharing: dict[str, list[VocImage]] = defaultdict(list)
    for image in found.images:
        sharing[image.key].append(image)
    for key, (relative, _) in found.annotations.items():
        if key not in sharing:
            found.reject(relative, "an annotation without a picture of the same name")
    samples, several = [], 0
    for image in found.images:
        if image.key not in found.annotations:
            found.reject(image.relative, "has no annotation (an XML file of the same name)")
            continue
        try:
            annotation = read_annotation(*found.annotations[image.key])
            require_own(image, sharing[image.key], annotation)
            samples.append(_sample(image, annotation, label_from, box_choice))
            several += len(annotation.objects) > 1
        except AnnotationError as error:
            found.reject(image.relative, f"its annotation cannot be used: {error.reason}")
        except ImageReadError as error:
            found.reject(image.relative, error.reason)
    return samples, several


def _sample(image: VocImage, annotation: Annotation, label_from: str, box_choice: str) -> Sample:
    name = printable(image.relative)
    size = image_size(read_file(image.path, name), name)
    chosen, box = _chosen(annotation, size, box_choice, name)
    label = _label(image, chosen, label_from)
    return Sample(name, image.path, label, image.part, box=box, size=size.upright)


def read_annotation(relative: str, path: Path) -> Annotation:
    """Read an annotation that has at least one object.

    Raises:
        AnnotationError: it cannot be used.
    """
    name = printable(relative)
    try:
        data = read_file(path, name, _XML_LIMITS)
    except ImageReadError as error:
        raise AnnotationError(name, error.reason) from None
    annotation = parse_voc(data, name)
    if not annotation.objects:
        raise AnnotationError(name, "there is no object in it")
    return annotation


def require_own(image: VocImage, sharing: list[VocImage], annotation: Annotation) -> None:
    """Of 1.jpg and 1.png only that one has 1.xml which the annotation names."""
    if len(sharing) == 1:
        return
    own = [each for each in sharing if each.path.name == annotation.filename]
    if own != [image]:
        raise AnnotationError(
            image.relative, f"it could be that of {len(sharing)} pictures of the same name"
        )


def _chosen(
    annotation: Annotation, size: ImageSize, box_choice: str, name: str
) -> tuple[VocObject, Box]:
    """The object that counts, and its box in the upright image."""
    count = len(annotation.objects)
    if count > 1 and box_choice == "single-only":
        raise AnnotationError(name, f"{count} objects where only one is wanted")
    frame, orientation = frame_of(annotation, size, name)
    boxes: list[tuple[VocObject, Box]] = []
    faults: list[AnnotationError] = []
    for item in annotation.objects:
        try:
            boxes.append((item, box_of(item, frame, name)))
        except AnnotationError as error:
            faults.append(error)
    if not boxes:
        raise faults[0]
    chosen, box = max(boxes, key=lambda pair: _area(pair[1]))
    return chosen, turned(box, orientation)


def _area(box: Box) -> float:
    """Rounded, so that of boxes of one size the first one is the largest."""
    return round((box[2] - box[0]) * (box[3] - box[1]), 12)


def frame_of(annotation: Annotation, size: ImageSize, name: str) -> tuple[tuple[int, int], int]:
    """The size that the box is drawn in, and the EXIF orientation that it still has to undergo.

    Tools that ignore EXIF label the image as it is stored; if that has the upright size too,
    the two cannot be told apart and the upright one is meant.
    """
    given = (annotation.width, annotation.height)
    if None in given or given == size.upright:
        return size.upright, 1
    if given == size.stored:
        return size.stored, size.orientation
    raise AnnotationError(
        name,
        f"it is of a picture of {given[0]} x {given[1]} pixels, and this one has "
        f"{size.upright[0]} x {size.upright[1]}",
    )


def turned(box: Box, orientation: int) -> Box:
    """A box in a stored image as one in the upright image, both as shares 0..1.

    Args:
        orientation: EXIF's, 1..8.
    """
    xmin, ymin, xmax, ymax = box
    if orientation in (5, 6, 7, 8):  # rows become columns
        xmin, ymin, xmax, ymax = ymin, xmin, ymax, xmax
    if orientation in (2, 3, 6, 7):  # left becomes right
        xmin, xmax = 1 - xmax, 1 - xmin
    if orientation in (3, 4, 7, 8):  # up becomes down
        ymin, ymax = 1 - ymax, 1 - ymin
    return xmin, ymin, xmax, ymax


def _label(image: VocImage, chosen: VocObject, label_from: str) -> str:
    if label_from == "xml":
        label, reason = chosen.name, "its object has no name"
    elif label_from == "prefix":
        label, reason = prefix_of(image.relative), "its name has no class before a _"
    else:
        folder, slash, _ = image.inner.partition("/")
        label, reason = (printable(folder) if slash else ""), "it lies in no class's folder"
    fault = label_problem(label) if label else reason
    if fault and label_from == "xml":
        raise AnnotationError(image.relative, fault)
    if fault:
        raise ImageReadError(printable(image.relative), fault)
    return label
