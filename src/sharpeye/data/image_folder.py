"""A folder of images to a SampleSet: one sub-folder a class, or given `train/ test/` parts.

    photos/rose/1.jpg                    the class is the first folder below the root;
    photos/rose/garden/2.jpg             deeper folders belong to it
    photos/train/rose/1.jpg              parts as given, if every top folder is a part's name:
    photos/{val,valid,validation}/...    train, val | valid | validation, test
    photos/test/...

A folder of array files (CIFAR, MNIST) is read by `array_files.py` instead.

What a file is, is judged by its content: the walk opens only files whose suffix is no image's,
to find images among them, and leaves the rest to the decoder.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.types import Rejected, Sample, SampleSet, Split
from sharpeye.data.array_files import scan_array_files
from sharpeye.errors import DataError
from sharpeye.images.formats import BMP, sniff

_PART_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
_MAX_DEPTH = 64

# Suffixes that promise an image: such a file is either read, or named in the quarantine.
IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff"),
        ("heic", "heif", "avif", "jxl", "jp2", "psd", "svg", "eps", "ico", "tga", "pdf"),
        ("raw", "cr2", "nef", "arw", "dng"),
    )
    for name in names
)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which `img2` comes before `img10`; ties are broken by case."""
    pieces = re.split(r"(\d+)", text)
    folded = [
        (0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p.casefold())
        for p in pieces
        if p
    ]
    return [*folded, (2, 0, text)]


def printable(name: str) -> str:
    """A file name that can be written as UTF-8: undecodable bytes become backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass
class _Walk:
    root: Path
    follow_links: bool
    files: list[tuple[str, Path]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def folder(self, path: Path, relative: str, depth: int = 0) -> None:
        try:
            status = path.stat()
            entries = sorted(os.scandir(path), key=lambda entry: natural_key(entry.name))
        except OSError as error:
            self.reject(relative, f"the folder cannot be opened: {error.strerror}")
            return
        identity = (status.st_dev, status.st_ino)
        if identity in self.visited:
            self.reject(relative, "a symbolic link to a folder that was already read")
            return
        if depth > _MAX_DEPTH:
            self.reject(relative, f"nested deeper than {_MAX_DEPTH} folders")
            return
        self.visited.add(identity)
        for entry in entries:
            self.entry(entry, f"{relative}/{entry.name}" if relative else entry.name, depth)

    def entry(self, entry: os.DirEntry[str], relative: str, depth: int) -> None:
        if is_hidden(entry.name):
            return
        path = Path(entry.path)
        try:
            if entry.is_symlink() and not self.follow_links and not self.stays_inside(path):
                self.reject(relative, "a symbolic link that leads out of the folder")
                return
            mode = entry.stat().st_mode
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "a loop"
            self.reject(relative, f"a file that cannot be reached: {reason}")
            return
        if stat.S_ISDIR(mode):
            self.folder(path, relative, depth + 1)
        elif stat.S_ISREG(mode):
            self.files.append((relative, path))
        else:
            self.reject(relative, "not a regular file (a pipe, socket or device)")

    def stays_inside(self, path: Path) -> bool:
        return path.resolve(strict=True).is_relative_to(self.root)

    def reject(self, relative: str, reason: str) -> None:
        self.rejected.append(Rejected(printable(relative), reason))


def is_hidden(name: str) -> bool:
    """Names that no person puts there: hidden files, `Thumbs.db`, `__MACOSX`."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def walk_files(
    root: Path, *, follow_links: bool = False
) -> tuple[list[tuple[str, Path]], list[Rejected]]:
    """Every regular file below `root` in natural order, as (relative path, path), and what was
    left out. Hidden names are skipped, links out of the root are not followed.
    """
    walk = _Walk(root.resolve(), follow_links)
    walk.folder(root.resolve(), "")
    return walk.files, walk.rejected


def scan_folder(root: Path, *, follow_links: bool = False, least_classes: int = 2) -> SampleSet:
    """List the images of a folder by class: files, or rows of array files.

    Args:
        least_classes: 2 to train; 1 where a model's answers for one class are of use.

    Returns:
        a SampleSet whose samples have no digest yet.

    Raises:
        DataError: no such folder, no image in it, too few classes, or a damaged array file.
    """
    require_folder(root)
    found = scan_array_files(root, follow_links=follow_links)
    if found is None:
        found = _scan_images(root, follow_links)
    if len(found.class_names) < least_classes:
        raise _too_few_classes(root, found)
    return found


def _scan_images(root: Path, follow_links: bool) -> SampleSet:
    files, rejected = walk_files(root, follow_links=follow_links)
    top = {relative.split("/", 1)[0] for relative, _ in files if "/" in relative}
    given = given_splits(top)
    ignored: Counter[str] = Counter()
    samples = list(_samples(files, given, rejected, ignored))
    return SampleSet(
        root=root,
        samples=tuple(samples),
        class_names=tuple(sorted({s.label for s in samples}, key=natural_key)),
        rejected=tuple(rejected),
        ignored=dict(ignored),
        given_splits=bool(given),
    )


def require_folder(root: Path) -> None:
    """Raise DataError unless `root` is a folder."""
    if not root.exists():
        raise DataError(
            f"no such folder: {root}; give a folder that holds one sub-folder of pictures a class"
        )
    if not root.is_dir():
        raise DataError(
            f"{root} is a file; give a folder that holds one sub-folder of pictures a class"
        )


def given_splits(top: set[str]) -> dict[str, Split]:
    """The part of each top folder, if all of them are called like parts; else nothing."""
    parts = {name: _PART_NAMES[name.casefold()] for name in top if name.casefold() in _PART_NAMES}
    return parts if len(parts) == len(top) and "train" in parts.values() and len(top) > 1 else {}


def _samples(
    files: list[tuple[str, Path]],
    given: dict[str, Split],
    rejected: list[Rejected],
    ignored: Counter[str],
) -> Iterator[Sample]:
    class_depth = 1 if given else 0
    for relative, path in files:
        suffix = path.suffix.casefold()
        if suffix and suffix not in IMAGE_SUFFIXES and not looks_like_image(path):
            ignored[suffix] += 1
            continue
        pieces = relative.split("/")
        if len(pieces) < class_depth + 2:
            where = "the part's folder" if given else "the folder"
            rejected.append(Rejected(printable(relative), f"lies in {where}, not in a class's"))
            continue
        label = printable(pieces[class_depth])
        if any(ord(c) < 32 for c in label):
            raise DataError(
                f"the class folder {label!r} has a control character in its name; rename it"
            )
        part = given.get(pieces[0])
        yield Sample(path=printable(relative), file=path, label=label, split=part)


def looks_like_image(path: Path) -> bool:
    """Whether a file, whatever it is called, starts as an image does."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(32)) not in (None, BMP)  # "BM" alone is too weak a sign
    except OSError:
        return False


def _too_few_classes(root: Path, found: SampleSet) -> DataError:
    if found.class_names:
        return DataError(
            f"only one class in {root}: {found.class_names[0]}, with {len(found)} files; "
            "a classifier needs two or more, one sub-folder each"
        )
    if found.ignored.get(".xml"):
        return DataError(
            f"no pictures in a class's folder in {root}, but {found.ignored['.xml']} XML files; if "
            "they are Pascal VOC annotations: --task localize learns their classes and boxes, "
            "--label-from xml the classes alone"
        )
    aside = ""
    if found.rejected:
        first = found.rejected[0]
        aside = f" ({len(found.rejected)} files left out, such as {first.path}: {first.reason})"
    return DataError(
        f"no pictures in {root}{aside}; "
        "put them into one sub-folder a class, such as photos/rose/1.jpg"
    )
