"""A folder of images, with or without Pascal VOC annotations, to a folder of changed ones.

Every file is a function of the image's bytes, the kind of change and a seed, and is written only
where nothing is: a second run finds its files and changes nothing.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.core import storage
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Box, Rejected
from sharpeye.data.file_walk import printable
from sharpeye.data.image_folder import require_folder
from sharpeye.data.pascal_voc import frame_of, read_annotation, require_own, turned
from sharpeye.data.voc_layouts import VocImage, VocListing, find_annotated_images
from sharpeye.errors import AnnotationError, DataError, ImageReadError, UsageError
from sharpeye.images.decode import decode, image_size, read_file
from sharpeye.images.formats import JPEG, PNG, sniff
from sharpeye.images.voc_xml import VocObject, box_of, object_of, write_voc
from sharpeye.jobs.augment_ops import EIGHT, Changed, FixedChange, RandomChange

Tell = Callable[[str, int, int], None]

# What stands between an image's name and the change: a split keeps such images together.
_MARK = "_nohash_"
_OURS = re.compile(rf"{_MARK}(r\d+|{'|'.join(each.ending for each in EIGHT[1:])})$")
_SUFFIXES = {JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"), PNG: (".png", ".apng")}


@dataclass(frozen=True)
class Augmented:
    """What came of a folder.

    Attributes:
        sources: images that were changed.
        images: how many there are of them now.
        written: how many of these were not there before.
        skipped: images that this command made in an earlier run, which are never changed again.
        annotated: whether each has a Pascal VOC file.
        failed: files of which nothing, or not all, could be made.
    """

    sources: int
    images: int
    written: int
    skipped: int
    annotated: bool
    failed: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """One image; its annotation's (name, file), and what other images share that."""

    image: VocImage
    annotation: tuple[str, Path] | None
    sharing: list[VocImage]


def augment_folder(
    source: Path,
    target: Path,
    *,
    random: int = 0,
    seed: int = 0,
    tell: Tell = lambda *_: None,
) -> Augmented:
    """Write changed images of `source` into `target`, in the same folders.

    Args:
        random: this many random changes of each image; 0: the eight fixed ones.
        seed: another one gives other noise and other random changes.
        tell: is told ("augment", images done, of how many).

    Raises:
        DataError: no such folder, or no image in it of which anything could be made.
        UsageError: one of the folders lies in the other.
        EnvironmentFault: a file cannot be written.
    """
    require_folder(source)
    _require_apart(source, target)
    found = find_annotated_images(source)
    tasks, skipped, annotated = _tasks(found)
    writer = _Writer(source, target, [*map(RandomChange, range(1, random + 1))] or EIGHT, seed)
    failed, counts = [*found.rejected], Counter[str]()
    for done, (_, outcome) in enumerate(parallel_map(writer.work, tasks), start=1):
        if isinstance(outcome, Rejected):
            failed.append(outcome)
        else:
            counts.update(sources=1, written=outcome)
        tell("augment", done, len(tasks))
    if not counts["sources"]:
        reason = f"; {failed[0].path}: {failed[0].reason}" if failed else ""
        raise DataError(f"no picture in {source} that could be augmented{reason}")
    return Augmented(
        sources=counts["sources"],
        images=counts["sources"] * len(writer.changes),
        written=counts["written"],
        skipped=skipped,
        annotated=annotated,
        failed=tuple(failed),
    )


def _require_apart(source: Path, target: Path) -> None:
    one, other = source.resolve(), target.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise UsageError(
            "DIR and OUT must not lie in each other: nothing is ever written among the pictures "
            f"that it is made of. Received: {source} and {target}"
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; choose a folder that does not exist yet")


def _tasks(found: VocListing) -> tuple[list[_Task], int, bool]:
    """What is to be done, how many images are left out, and whether there are annotations."""
    own = [image for image in found.images if not _OURS.search(image.key)]
    sharing: dict[str, list[VocImage]] = {}
    for image in own:
        sharing.setdefault(image.key, []).append(image)
    annotated = any(key in found.annotations for key in sharing)
    if annotated:
        for key, (relative, _) in found.annotations.items():
            if key not in sharing and not _OURS.search(key):
                found.reject(relative, "an annotation without a picture of the same name")
    tasks = []
    for image in own:
        if annotated and image.key not in found.annotations:
            found.reject(image.relative, "has no annotation (an XML file of the same name)")
        else:
            xml = found.annotations[image.key] if annotated else None
            tasks.append(_Task(image, xml, sharing[image.key]))
    return tasks, len(found.images) - len(own), annotated


class _Writer:
    """Makes all files of one image; used by several threads."""

    def __init__(
        self, source: Path, target: Path, changes: Sequence[FixedChange | RandomChange], seed: int
    ) -> None:
        self._source, self._target = source.resolve(), target
        self.changes, self._seed = changes, seed

    def work(self, task: _Task) -> int | Rejected:
        """How many images were written that were not there, or why not all are there now."""
        name = printable(task.image.relative)
        try:
            return self._make(task, name)
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

    def _make(self, task: _Task, name: str) -> int:
        data = read_file(task.image.path, name)
        objects = _objects(task, data, name) if task.annotation else []
        image = decode(data, name)
        boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
        sniffed = sniff(data[:32])
        kind = JPEG if sniffed == JPEG else PNG
        as_it_is = sniffed == kind and image_size(data, name).orientation == 1
        folder, stem, suffix = self._place(task, kind, name)
        written = 0
        for change in self.changes:
            made = change.apply(image, boxes, self._random(data, change.ending))
            unchanged = not change.ending and as_it_is
            encoded = data if unchanged else _encode(made.pixels, kind)
            new_stem = f"{stem}{_MARK}{change.ending}" if change.ending else stem
            written += _write(folder / f"{new_stem}{suffix}", encoded)
            if task.annotation:
                xml = self._annotation(folder, new_stem + suffix, image.size, objects, made)
                _write(self._beside(Path(task.annotation[0])) / f"{new_stem}.xml", xml)
        return written

    def _place(self, task: _Task, kind: str, name: str) -> tuple[Path, str, str]:
        """The folder of the files, the start of their names, and their suffix."""
        relative = Path(task.image.relative)
        suffix = relative.suffix if relative.suffix.casefold() in _SUFFIXES[kind] else None
        if suffix is None and len(task.sharing) > 1:
            raise ImageReadError(name, "it would be written as another picture's name; rename it")
        stem = relative.stem if relative.suffix else relative.name
        return self._beside(relative), stem, suffix or _SUFFIXES[kind][0]

    def _beside(self, relative: Path) -> Path:
        folder = storage.make_folder(self._target / relative.parent)
        if self._source in (folder.resolve(), *folder.resolve().parents):
            raise UsageError(f"{folder} is a link into {self._source}; nothing is written there")
        return folder

    def _random(self, data: bytes, ending: str) -> np.random.Generator:
        key = f"{self._seed}:{ending}:".encode() + hashlib.sha256(data).digest()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "little"))

    def _annotation(
        self,
        folder: Path,
        filename: str,
        size: tuple[int, int],
        objects: Sequence[tuple[VocObject, Box]],
        made: Changed,
    ) -> bytes:
        moved = [
            replace(
                object_of(item.name, (box[0], box[1], box[2], box[3]), size),
                difficult=item.difficult,
                truncated=item.truncated or bool(cut),
                pose=item.pose,
            )
            for (item, _), box, cut in zip(objects, made.boxes.tolist(), made.cut, strict=True)
        ]
        return write_voc(folder.resolve().name, filename, size, moved, database="SharpEye")


def _objects(task: _Task, data: bytes, name: str) -> list[tuple[VocObject, Box]]:
    """All objects of an image that have an area in it, with their boxes in the upright image."""
    relative, file = task.annotation or ("", Path())
    annotation = read_annotation(relative, file)
    require_own(task.image, task.sharing, annotation)
    frame, orientation = frame_of(annotation, image_size(data, name), name)
    found, faults = [], []
    for item in annotation.objects:
        try:
            found.append((item, turned(box_of(item, frame, printable(relative)), orientation)))
        except AnnotationError as error:
            faults.append(error)
    if not found:
        raise faults[0]
    return found


def _encode(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    """A file's bytes: the same for the same pixels."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == JPEG:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> bool:
    """Write a file where nothing is; False if it is there already.

    Raises:
        FileExistsError: something else is there.
    """
    if not path.exists():
        storage.write_bytes(path, data)
        return True
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        raise FileExistsError(None, None, printable(str(path)))
    return False
