"""The annotations of a folder of images: listed, read, changed, as LabelImg lays them out.

    DIR/1.jpg, DIR/1.xml                        the XML file beside the image
    DIR/JPEGImages/1.jpg, Annotations/1.xml     Pascal VOC's own layout, where both folders are

A change says which version of the file it was made from (its SHA-256). Where the file is another
one by now, the change is merged into it if the two do not collide, and refused if they do:
nobody's boxes are lost. Files are written whole or not at all.
"""

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.storage import FileLock, cache_root, make_folder, write_bytes
from sharpeye.data.file_walk import IMAGE_SUFFIXES
from sharpeye.errors import AnnotationError, DataError, ImageReadError
from sharpeye.images.decode import DecodeLimits, ImageSize, image_size, read_file
from sharpeye.images.voc_xml import MAX_BYTES, parse_voc
from sharpeye.studio.label_merge import merge
from sharpeye.studio.voc_edit import (
    Marked,
    Origin,
    Target,
    Version,
    edited,
    origin_in,
    version_of,
)
from sharpeye.studio.workspace import SET_ASIDE, Workspace

ABSENT = "absent"  # the version of a file that is not there
_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)
_MAX_VERSIONS = 256  # whose objects can still be undone with all their fields


@dataclass(frozen=True, slots=True)
class State:
    """What the page knows of one image.

    Attributes:
        path: relative to the folder.
        size: width and height in pixels, upright.
        etag: the version of the XML file; `absent` if there is none.
        objects: in the file's order.
        verified: whether a person marked the image as done.
        problem: why the XML file cannot be used; empty if it can.
        mine: after a merge, which object of the change each one is; None for those of others.
    """

    path: str
    size: tuple[int, int]
    etag: str
    objects: tuple[Marked, ...] = ()
    verified: bool = False
    problem: str = ""
    mine: tuple[int | None, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "path": self.path,
            "width": self.size[0],
            "height": self.size[1],
            "etag": self.etag,
            "verified": self.verified,
            "problem": self.problem,
            "objects": [
                {
                    "name": each.name,
                    "box": each.edges,
                    "difficult": each.difficult,
                    "truncated": each.truncated,
                    "pose": each.pose,
                    "was": each.was,
                }
                for each in self.objects
            ],
        }
        return found if self.mine is None else {**found, "mine": self.mine}


class StaleError(Exception):
    """The file is another one by now, and the two changes collide; `theirs` is what it says."""

    def __init__(self, theirs: State) -> None:
        self.theirs = theirs
        super().__init__(f"{theirs.path} was changed by another tab or program")


@dataclass(frozen=True, slots=True)
class Change:
    """What an image's annotation shall say.

    Attributes:
        objects, verified: all of it, not only what is new.
        since: the version it was made from.
        base, base_verified: what that version said; without it nothing is merged.
        replace: whether a file that cannot be used is set aside for this one.
    """

    objects: Sequence[Marked]
    verified: bool
    since: str
    base: Sequence[Marked] | None = None
    base_verified: bool = False
    replace: bool = False


class Labels:
    """The annotations of one workspace. Used by several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        name = hashlib.sha256(os.fsencode(workspace.root)).hexdigest()[:24]
        self._file_lock = cache_root() / "studio" / f"label-{name}.lock"
        self._versions: OrderedDict[str, Version] = OrderedDict()

    def read(self, relative: str) -> State:
        """What is known of an image.

        Raises:
            UsageError: no path of this folder.
            DataError: there is no such image, or it cannot be read.
        """
        path = self.workspace.image(relative)
        with self._lock:
            return self._read(relative, path, _size(path, relative))[0]

    def write(self, relative: str, change: Change) -> State:
        """Make a change; returns what the file says then.

        Raises:
            StaleError: somebody else made a change that collides with it.
            AnnotationError: the file belongs to another image or cannot be used.
            UsageError, DataError: see `read`.
            EnvironmentFault: it cannot be written; it is as it was then.
        """
        path = self.workspace.image(relative)
        size = _size(path, relative)
        make_folder(self._file_lock.parent)
        with self._lock, FileLock(self._file_lock):
            now, version = self._read(relative, path, size)
            file = self._file(relative)
            if now.problem:
                self._set_aside(now, file, change)
            objects, verified = change.objects, change.verified
            mine = None
            if now.etag != change.since and not now.problem:
                objects, verified, mine = _merged(now, change)
            if version is None and not objects and not verified:
                return now  # an empty file would say that somebody has looked
            target = Target(
                path.parent.name, path.name, os.path.relpath(path, file.parent), size.upright
            )
            root = None if version is None else version.root
            data = edited(
                root, [(one, self._origin(one)) for one in objects], target, verified=verified
            )
            if len(data) > MAX_BYTES:
                raise AnnotationError(relative, f"more than {MAX_BYTES // 2**20} MiB of boxes")
            make_folder(file.parent)
            write_bytes(file, data)
            done = self._state(relative, size, data)[0]
        return State(done.path, done.size, done.etag, done.objects, done.verified, "", mine)

    def _file(self, relative: str) -> Path:
        """The annotation's place, which must not be reached through a link that leads out."""
        file = annotation_file(self.workspace.root, relative)
        return self.workspace.resolve(self.workspace.relative(file))

    def _set_aside(self, now: State, file: Path, change: Change) -> None:
        """Set a file aside that cannot be used, if that was asked for."""
        if not change.replace or now.etag != change.since:
            raise AnnotationError(now.path, now.problem)
        if _owner(file, self.workspace.image(now.path)) is not None:
            raise AnnotationError(now.path, now.problem)  # it is another image's work
        aside = self.workspace.root / SET_ASIDE / self.workspace.relative(file)
        make_folder(aside.parent)
        write_bytes(aside.with_name(f"{aside.stem}-{now.etag[:8]}.xml"), file.read_bytes())

    def _read(self, relative: str, path: Path, size: ImageSize) -> tuple[State, Version | None]:
        file = self._file(relative)
        if not file.exists():
            return State(relative, size.upright, ABSENT), None
        try:
            data = read_file(file, file.name, _LIMITS)
        except ImageReadError as error:
            return State(relative, size.upright, "unreadable", problem=error.reason), None
        owner = _owner(file, path)
        if owner is not None:
            problem = f"{file.name} belongs to {owner}; rename one of the two pictures"
            return State(relative, size.upright, _etag(data), problem=problem), None
        return self._state(relative, size, data)

    def _state(self, relative: str, size: ImageSize, data: bytes) -> tuple[State, Version | None]:
        etag = _etag(data)
        try:
            version = version_of(data, etag, size, relative)
        except AnnotationError as error:
            return State(relative, size.upright, etag, problem=error.reason), None
        self._versions[etag] = version
        self._versions.move_to_end(etag)
        while len(self._versions) > _MAX_VERSIONS:
            self._versions.popitem(last=False)
        state = State(relative, size.upright, etag, version.objects, version.verified)
        return state, version

    def _origin(self, marked: Marked) -> Origin | None:
        """The element that an object comes from, also after it was deleted and brought back."""
        etag, _, number = marked.was.rpartition(":")
        version = self._versions.get(etag)
        if version is None or not (number.isascii() and number.isdecimal()):
            return None
        return origin_in(version, int(number)) if int(number) < len(version.objects) else None


def _merged(now: State, change: Change) -> tuple[list[Marked], bool, tuple[int | None, ...]]:
    """My change and theirs in one.

    Raises:
        StaleError: they collide.
    """
    both = None if change.base is None else merge(change.base, change.objects, now.objects)
    if both is None:
        raise StaleError(now)
    mine = change.verified != change.base_verified
    verified = change.verified if mine else now.verified
    return [each.marked for each in both], verified, tuple(each.mine for each in both)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _size(path: Path, relative: str) -> ImageSize:
    return image_size(read_file(path, relative), relative)


# --- which file is whose -------------------------------------------------------------------------


def annotation_file(root: Path, relative: str) -> Path:
    """Where an image's annotation lies, or would lie."""
    folder, slash, name = relative.rpartition("/")
    stem = name.rpartition(".")[0] or name
    parts = folder.split("/")
    if "JPEGImages" in parts[:3]:
        at = parts.index("JPEGImages")
        there = [*parts[:at], "Annotations"]
        if root.joinpath(*there).is_dir():
            folder, slash = "/".join([*there, *parts[at + 1 :]]), "/"
    file = Path(f"{root}/{folder}{slash}{stem}.xml")
    if not file.exists():
        upper = file.with_suffix(".XML")
        return upper if upper.exists() else file
    return file


def _owner(file: Path, image: Path) -> str | None:
    """Of 1.jpg and 1.png, the one that has 1.xml, if that is not this image."""
    try:
        named = parse_voc(read_file(file, file.name, _LIMITS), file.name).filename
    except DataError:
        return None
    if named == image.name:
        return None
    stem = image.name.rpartition(".")[0]
    with contextlib.suppress(OSError), os.scandir(image.parent) as entries:
        for entry in entries:
            twin, dot, suffix = entry.name.rpartition(".")
            is_image = f"{dot}{suffix}".casefold() in IMAGE_SUFFIXES
            if twin == stem and is_image and entry.name != image.name:
                return named or entry.name
    return None
