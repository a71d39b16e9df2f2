"""Write augmented copies of a folder of images, with or without Pascal VOC annotations.

Every file is a function of the image's bytes, the augmentation and a seed, and an existing file is
never replaced: a second run finds its files and changes nothing.
"""

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from sharpeye.core import storage
from sharpeye.core.arrays import Pixels
from sharpeye.core.parallel import parallel_map
from sharpeye.core.paths import MAX_NAME_BYTES
from sharpeye.core.progress import StageProgress
from sharpeye.core.types import Box, Rejected
from sharpeye.data.file_walk import printable
from sharpeye.data.image_folder import require_folder
from sharpeye.data.pascal_voc import labelled_frame, read_annotation, require_owner, turn_upright
from sharpeye.data.voc_layouts import VocImage, VocListing, find_annotated_images
from sharpeye.errors import AnnotationError, DataError, ImageReadError, UsageError
from sharpeye.images.bit_depth import is_wide_file
from sharpeye.images.decode import decode_with_size, image_size, read_file
from sharpeye.images.formats import JPEG, PNG, sniff
from sharpeye.images.voc_xml import VocObject, relative_box, voc_object, write_voc
from sharpeye.jobs.augment_ops import (
    FIXED_AUGMENTATIONS,
    AugmentedImage,
    FixedAugmentation,
    RandomAugmentation,
)

# Separates the image's name from the augmentation's: a split keeps such images together.
_MARK = "_nohash_"
_AUGMENTED_STEM = re.compile(rf"{_MARK}(r\d+|{'|'.join(a.name for a in FIXED_AUGMENTATIONS[1:])})$")
_SUFFIXES = {JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"), PNG: (".png", ".apng")}


@dataclass(frozen=True)
class AugmentResult:
    """What `augment_folder` wrote.

    Attributes:
        sources: number of images that were augmented.
        images: number of their copies; `written` of them are new.
        skipped: number of copies from an earlier run, which are not augmented again.
        annotated: whether each copy has a Pascal VOC file.
        failed: images and annotations that failed, for some or all copies.
    """

    sources: int
    images: int
    written: int
    skipped: int
    annotated: bool
    failed: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """An image, its annotation's relative path and file, and all images that could own that."""

    image: VocImage
    annotation: tuple[str, Path] | None
    same_name: list[VocImage]


def augment_folder(
    source: Path,
    target: Path,
    *,
    random: int = 0,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> AugmentResult:
    """Write augmented copies of the images in `source` into the same sub-folders of `target`.

    Args:
        random: number of random augmentations of each image; 0 for the eight fixed ones.
        seed: of the noise and the random augmentations.
        progress: called with ("augment", done, total).

    Raises:
        DataError: no such folder, or no image in it that can be augmented.
        UsageError: one of the folders lies in the other.
        EnvironmentFault: a file cannot be written.
    """
    require_folder(source)
    _require_apart(source, target)
    listing = find_annotated_images(source)
    images, skipped, annotated = _select_images(listing)
    augmentations = [*map(RandomAugmentation, range(1, random + 1))] or FIXED_AUGMENTATIONS
    writer = _CopyWriter(source.resolve(), target, augmentations, seed)
    failed, counts = [*listing.rejected], Counter[str]()
    for done, (_, result) in enumerate(parallel_map(writer.write_copies, images), start=1):
        if isinstance(result, Rejected):
            failed.append(result)
        else:
            counts.update(sources=1, written=result)
        if progress:
            progress("augment", done, len(images))
    if not counts["sources"]:
        reason = f"; {failed[0].path}: {failed[0].reason}" if failed else ""
        raise DataError(f"no image in {source} that could be augmented{reason}")
    return AugmentResult(
        sources=counts["sources"],
        images=counts["sources"] * len(augmentations),
        written=counts["written"],
        skipped=skipped,
        annotated=annotated,
        failed=tuple(failed),
    )


def _require_apart(source: Path, target: Path) -> None:
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UsageError(
            "DIR and OUT must not lie in each other: nothing is ever written among the images "
            f"that it is made of. Received: {source} and {target}"
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; choose a folder that does not exist yet")


def _select_images(listing: VocListing) -> tuple[list[_Source], int, bool]:
    """The images to augment, the number of skipped images, and whether there are annotations."""
    images = [image for image in listing.images if not _AUGMENTED_STEM.search(image.key)]
    same_name: dict[str, list[VocImage]] = {}
    for image in images:
        same_name.setdefault(image.key, []).append(image)
    annotated = any(key in listing.annotations for key in same_name)
    if annotated:
        for key, (relative, _) in listing.annotations.items():
            if key not in same_name and not _AUGMENTED_STEM.search(key):
                listing.reject(relative, "an annotation without an image of the same name")
    sources = []
    for image in images:
        if annotated and image.key not in listing.annotations:
            listing.reject(image.relative, "has no annotation (an XML file of the same name)")
        else:
            annotation = listing.annotations[image.key] if annotated else None
            sources.append(_Source(image, annotation, same_name[image.key]))
    return sources, len(listing.images) - len(images), annotated


@dataclass(frozen=True)
class _CopyWriter:
    """Writes the augmented copies of an image; used by several threads."""

    source: Path
    target: Path
    augmentations: Sequence[FixedAugmentation | RandomAugmentation]
    seed: int

    def write_copies(self, source: _Source) -> int | Rejected:
        """The number of new copies, or why not all copies exist now."""
        name = printable(source.image.relative)
        try:
            return self._write_copies(source, name)
        except AnnotationError as error:
            return Rejected(name, f"its annotation cannot be used: {error.reason}")
        except ImageReadError as error:
            return Rejected(name, error.reason)
        except FileExistsError as error:
            return Rejected(
                name,
                f"{error.filename} is there already and is another one (of another seed, or "
                "yours); it was left as it is: choose a new folder",
            )

    def _write_copies(self, source: _Source, name: str) -> int:
        data = read_file(source.image.path, name)
        objects = _read_objects(source, data, name) if source.annotation else []
        # Copies have 8 bits, in the image's own range: they depend on no other image.
        image, _ = decode_with_size(data, name, bit_depth=None)
        boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
        sniffed = sniff(data[:32])
        file_format = JPEG if sniffed == JPEG else PNG
        is_upright = image_size(data, name).orientation == 1
        reusable = sniffed == file_format and is_upright and not is_wide_file(data)
        folder, stem, suffix = self._file_name(source, file_format, name)
        written = 0
        for augmentation in self.augmentations:
            copy = augmentation.apply(image, boxes, self._rng(data, augmentation.name))
            unchanged = not augmentation.name and reusable
            encoded = data if unchanged else _encode(copy.pixels, file_format)
            new_stem = f"{stem}{_MARK}{augmentation.name}" if augmentation.name else stem
            written += _write(folder / f"{new_stem}{suffix}", encoded)
            if source.annotation:
                xml = _annotation(folder, new_stem + suffix, image.size, objects=objects, copy=copy)
                xml_folder = self._target_folder(Path(source.annotation[0]))
                _write(xml_folder / f"{new_stem}.xml", xml)
        return written

    def _file_name(self, source: _Source, file_format: str, name: str) -> tuple[Path, str, str]:
        """The folder of the copies, the start of their names, and their suffix."""
        relative, suffixes = Path(source.image.relative), _SUFFIXES[file_format]
        suffix = relative.suffix if relative.suffix.casefold() in suffixes else None
        if suffix is None and len(source.same_name) > 1:
            raise ImageReadError(name, "it would be written as another image's name; rename it")
        stem = relative.stem if relative.suffix else relative.name
        suffix = suffix or suffixes[0]
        longest = max((augmentation.name for augmentation in self.augmentations), key=len)
        excess = len(os.fsencode(f"{stem}{_MARK}{longest}{suffix}")) - MAX_NAME_BYTES
        if excess > 0:  # A name that was cut might be another image's.
            raise ImageReadError(name, f"its name is {excess} bytes too long for its copies' names")
        return self._target_folder(relative), stem, suffix

    def _target_folder(self, relative: Path) -> Path:
        folder = storage.make_folder(self.target / relative.parent)
        if folder.resolve().is_relative_to(self.source):
            raise UsageError(f"{folder} is a link into {self.source}; nothing is written there")
        return folder

    def _rng(self, data: bytes, augmentation: str) -> np.random.Generator:
        key = f"{self.seed}:{augmentation}:".encode() + hashlib.sha256(data).digest()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "little"))


def _annotation(
    folder: Path,
    filename: str,
    size: tuple[int, int],
    *,
    objects: Sequence[tuple[VocObject, Box]],
    copy: AugmentedImage,
) -> bytes:
    boxes = zip(objects, copy.boxes.tolist(), copy.truncated.tolist(), strict=True)
    moved = [
        replace(
            voc_object(item.name, (box[0], box[1], box[2], box[3]), size),
            difficult=item.difficult,
            truncated=item.truncated or truncated,
            pose=item.pose,
        )
        for (item, _), box, truncated in boxes
    ]
    return write_voc(folder.resolve().name, filename, size, objects=moved, database="SharpEye")


def _read_objects(source: _Source, data: bytes, name: str) -> list[tuple[VocObject, Box]]:
    """The objects of an image that have an area in it, with their boxes in the upright image."""
    relative, file = source.annotation or ("", Path())
    annotation = read_annotation(relative, file)
    require_owner(source.image, source.same_name, annotation)
    frame, orientation = labelled_frame(annotation, image_size(data, name), name)
    objects, errors = [], []
    for item in annotation.objects:
        try:
            box = relative_box(item, frame, printable(relative))
            objects.append((item, turn_upright(box, orientation)))
        except AnnotationError as error:
            errors.append(error)
    if not objects:
        raise errors[0]
    return objects


def _encode(pixels: Pixels, file_format: str) -> bytes:
    """The bytes of a file, which depend only on the pixels."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if file_format == JPEG:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> bool:
    """Write a file; False if it exists already. Raises FileExistsError if its content differs."""
    if not path.exists():
        storage.write_bytes(path, data)
        return True
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        raise FileExistsError(None, None, printable(str(path)))
    return False
