"""Scan a folder with Pascal VOC annotations: a SampleSet with boxes.

An annotation belongs to the image of the same file name; its own fields for the image's name and
path are never opened.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sharpeye.core.types import Box, Sample, SampleSet
from sharpeye.data.file_prefixes import PrefixRule, choose_prefix_rule
from sharpeye.data.file_walk import printable
from sharpeye.data.image_folder import label_problem, make_sample_set, require_folder
from sharpeye.data.layout_advice import require_classes
from sharpeye.data.voc_advice import voc_advice
from sharpeye.data.voc_layouts import VocImage, VocListing, find_annotated_images
from sharpeye.errors import AnnotationError, ImageReadError
from sharpeye.images.decode import ImageSize, image_size, read_file
from sharpeye.images.decode_limits import DecodeLimits
from sharpeye.images.voc_xml import MAX_BYTES, Annotation, VocObject, parse_voc, relative_box

log = logging.getLogger(__name__)

_XML_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)


def scan_voc(
    root: Path,
    *,
    label_from: str = "xml",
    box_choice: str = "largest",
    follow_links: bool = False,
    splits: Sequence[str] = (),
    min_classes: int = 2,
) -> SampleSet:
    """List the images of a folder that have an annotation, each with its object's box.

    Images without a usable annotation are rejected, and so are annotations without an image.
    Errors are those of `scan_folder`.

    Args:
        label_from: `xml`: the object's name, `folder`: the folder's, `prefix`: the beginning
            of the file's name, see `file_prefixes.py`.
        splits: `data.splits`, see `split_folders.py`.
        box_choice: for several objects: `largest`, or `single-only` to leave the image out.
    """
    require_folder(root)
    listing = find_annotated_images(root, follow_links=follow_links, splits=splits)
    samples, several = _match(listing, label_from, box_choice)
    if several:
        log.info("%d images show several objects; the largest of each is taken", several)
    dataset = make_sample_set(
        root, samples, listing.rejected, ignored=listing.ignored, given_splits=listing.given_splits
    )
    if len(dataset.class_names) < min_classes:
        require_classes(dataset, min_classes, voc_advice(dataset))
    return dataset


def _match(listing: VocListing, label_from: str, box_choice: str) -> tuple[list[Sample], int]:
    """The samples, and how many of them show several objects."""
    images_by_key: dict[str, list[VocImage]] = defaultdict(list)
    for image in listing.images:
        images_by_key[image.key].append(image)
    for key, (relative, _) in listing.annotations.items():
        if key not in images_by_key:
            listing.reject(relative, "an annotation without an image of the same name")
    samples, several = [], 0
    prefix_of = choose_prefix_rule(image.relative for image in listing.images)
    for image in listing.images:
        if image.key not in listing.annotations:
            reason = image.problem or "has no annotation (an XML file of the same name)"
            listing.reject(image.relative, reason)
            continue
        try:
            annotation = read_annotation(*listing.annotations[image.key])
            require_owner(image, images_by_key[image.key], annotation)
            name = printable(image.relative)
            size = image_size(read_file(image.path, name), name)
            item, box = _choose_object(annotation, size, box_choice, name=name)
            label = _label(image, item, label_from, prefix_of=prefix_of)
            samples.append(Sample(name, image.path, label, image.split, box=box, size=size.upright))
            several += len(annotation.objects) > 1
        except AnnotationError as error:
            listing.reject(image.relative, f"its annotation cannot be used: {error.reason}")
        except ImageReadError as error:
            listing.reject(image.relative, error.reason)
    return samples, several


def read_annotation(relative: str, path: Path) -> Annotation:
    """Read an annotation that has at least one object, or raise AnnotationError."""
    name = printable(relative)
    try:
        data = read_file(path, name, _XML_LIMITS)
    except ImageReadError as error:
        raise AnnotationError(name, error.reason) from None
    annotation = parse_voc(data, name)
    if not annotation.objects:
        raise AnnotationError(name, "there is no object in it")
    return annotation


def require_owner(image: VocImage, candidates: Sequence[VocImage], annotation: Annotation) -> None:
    """Raise AnnotationError unless an annotation belongs to this one of several candidates.

    With 1.jpg and 1.png, 1.xml belongs to the file that it names.
    """
    named = [other for other in candidates if other.path.name == annotation.filename]
    if len(candidates) > 1 and named != [image]:
        raise AnnotationError(
            image.relative, f"it could be that of {len(candidates)} images of the same name"
        )


def _choose_object(
    annotation: Annotation, size: ImageSize, box_choice: str, *, name: str
) -> tuple[VocObject, Box]:
    """The object to use, and its box in the upright image."""
    count = len(annotation.objects)
    if count > 1 and box_choice == "single-only":
        raise AnnotationError(name, f"{count} objects where only one is wanted")
    frame, orientation = labelled_frame(annotation, size, name)
    boxes: list[tuple[VocObject, Box]] = []
    errors: list[AnnotationError] = []
    for item in annotation.objects:
        try:
            boxes.append((item, relative_box(item, frame, name)))
        except AnnotationError as error:
            errors.append(error)
    if not boxes:
        raise errors[0]
    # Rounded, so that among boxes of equal size the first one counts as the largest.
    areas = [round((right - left) * (bottom - top), 12) for _, (left, top, right, bottom) in boxes]
    chosen, box = boxes[areas.index(max(areas))]
    return chosen, turn_upright(box, orientation)


def labelled_frame(
    annotation: Annotation, size: ImageSize, name: str
) -> tuple[tuple[int, int], int]:
    """The size of the labelled image, and the EXIF orientation still to be applied.

    Tools that ignore EXIF label the image as it is stored. If both have the same size, the upright
    image is assumed.

    Raises:
        AnnotationError: the annotation's size is not that of this image.
    """
    labelled = (annotation.width, annotation.height)
    if None in labelled or labelled == size.upright:
        return size.upright, 1
    if labelled == size.stored:
        return size.stored, size.orientation
    raise AnnotationError(
        name,
        f"it is of an image of {labelled[0]} x {labelled[1]} pixels, and this one has "
        f"{size.upright[0]} x {size.upright[1]}",
    )


def turn_upright(box: Box, orientation: int) -> Box:
    """A box in a stored image of this EXIF orientation as one in the upright image."""
    xmin, ymin, xmax, ymax = box
    if orientation in (5, 6, 7, 8):  # rows become columns
        xmin, ymin, xmax, ymax = ymin, xmin, ymax, xmax
    if orientation in (2, 3, 6, 7):  # left becomes right
        xmin, xmax = 1 - xmax, 1 - xmin
    if orientation in (3, 4, 7, 8):  # up becomes down
        ymin, ymax = 1 - ymax, 1 - ymin
    return xmin, ymin, xmax, ymax


def _label(image: VocImage, chosen: VocObject, label_from: str, *, prefix_of: PrefixRule) -> str:
    if label_from == "xml":
        label, missing = chosen.name, "its object has no name"
    elif label_from == "prefix":
        label, missing = prefix_of(image.relative), "its name has no class before a _"
    else:
        folder, slash, _ = image.inner.partition("/")
        label, missing = (printable(folder) if slash else ""), "it lies in no class's folder"
    problem = label_problem(label) if label else missing
    if problem and label_from == "xml":
        raise AnnotationError(image.relative, problem)
    if problem:
        raise ImageReadError(printable(image.relative), problem)
    return label
