"""Which annotation file belongs to which image, laid out as LabelImg does it.

DIR/1.jpg, DIR/1.xml                        the XML file beside the image
DIR/JPEGImages/1.jpg, Annotations/1.xml     Pascal VOC's own layout, where both folders exist
"""

import contextlib
import os
from pathlib import Path

from sharpeye.data.file_walk import IMAGE_SUFFIXES
from sharpeye.errors import DataError
from sharpeye.images.decode import DecodeLimits, read_file
from sharpeye.images.voc_xml import MAX_BYTES, parse_voc

_VOC_LEVELS = 3  # `JPEGImages` is looked for in the first folders of a path.
_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)


def read_annotation_file(file: Path) -> bytes:
    """The bytes of an annotation file.

    Raises:
        ImageReadError: it cannot be read, or is over the limit.
    """
    return read_file(file, file.name, _LIMITS)


def annotation_file(root: Path, relative: str) -> Path:
    """The path of an image's annotation, which need not exist."""
    folder, slash, name = relative.rpartition("/")
    stem = name.rpartition(".")[0] or name
    folders = folder.split("/")
    if "JPEGImages" in folders[:_VOC_LEVELS]:
        level = folders.index("JPEGImages")
        annotations = [*folders[:level], "Annotations"]
        if root.joinpath(*annotations).is_dir():
            folder, slash = "/".join([*annotations, *folders[level + 1 :]]), "/"
    file = Path(f"{root}/{folder}{slash}{stem}.xml")
    if not file.exists():
        upper = file.with_suffix(".XML")
        return upper if upper.exists() else file
    return file


def other_owner(file: Path, image: Path) -> str | None:
    """The image that an annotation file belongs to, if it is not this one.

    Of 1.jpg and 1.png, 1.xml belongs to the one that it names.
    """
    try:
        named = parse_voc(read_annotation_file(file), file.name).filename
    except DataError:
        return None
    if named == image.name:
        return None
    stem = image.name.rpartition(".")[0]
    with contextlib.suppress(OSError), os.scandir(image.parent) as entries:
        for entry in entries:
            entry_stem, dot, suffix = entry.name.rpartition(".")
            is_image = f"{dot}{suffix}".casefold() in IMAGE_SUFFIXES
            if entry_stem == stem and is_image and entry.name != image.name:
                return named or entry.name
    return None
