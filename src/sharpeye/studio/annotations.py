"""Read and edit the annotations of a folder of images.

An edit names the version of the file that it is based on, by its SHA-256. If the file has changed
since, the edit is merged into it, or refused if the two conflict, so that no boxes are lost. Files
are written completely or not at all.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharpeye.core.regular_files import read_regular_file
from sharpeye.core.storage import FileLock, cache_root, make_folder, write_bytes
from sharpeye.errors import AnnotationError, ImageReadError
from sharpeye.images.decode import ImageSize, image_size, read_file
from sharpeye.images.voc_xml import MAX_BYTES
from sharpeye.studio.annotation_list import annotation_file, other_owner, read_annotation_file
from sharpeye.studio.label_merge import merge
from sharpeye.studio.voc_edit import (
    AnnotationVersion,
    LabelledObject,
    OriginalObject,
    edit_annotation,
    parse_version,
)
from sharpeye.studio.workspace import SET_ASIDE, Workspace

ABSENT = "absent"  # The version of a file that does not exist.
_MAX_COPIED_BYTES = 2**28  # of an unusable file
_MAX_VERSIONS = 256  # Deleted objects of these can be brought back with all their fields.


@dataclass(frozen=True, slots=True)
class AnnotationState:
    """The page's data of one image.

    Attributes:
        path: relative to the folder.
        size: width and height in pixels, upright.
        etag: the version of the XML file; `absent` if there is none.
        problem: why the XML file cannot be used; empty if it can.
        mine: after a merge, the index of each object in the edit; None for objects of others.
    """

    path: str
    size: tuple[int, int]
    etag: str
    objects: tuple[LabelledObject, ...] = ()
    verified: bool = False
    problem: str = ""
    mine: tuple[int | None, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The state as the page's JSON."""
        state: dict[str, Any] = {
            "path": self.path,
            "width": self.size[0],
            "height": self.size[1],
            "etag": self.etag,
            "verified": self.verified,
            "problem": self.problem,
            "objects": [
                {
                    "name": item.name,
                    "box": item.edges,
                    "difficult": item.difficult,
                    "truncated": item.truncated,
                    "pose": item.pose,
                    "was": item.origin_id,
                }
                for item in self.objects
            ],
        }
        return state if self.mine is None else {**state, "mine": self.mine}


class EditConflict(Exception):
    """The file has changed since, and the two edits conflict; `theirs` is its current state."""

    def __init__(self, theirs: AnnotationState) -> None:
        self.theirs = theirs
        super().__init__(f"{theirs.path} was changed by another tab or program")


@dataclass(frozen=True, slots=True)
class AnnotationEdit:
    """The requested annotation of an image: its whole content, not only changes.

    Attributes:
        since: the version that it is based on.
        base, base_verified: the content of that version; without it the edit is not merged.
        replace_unusable: whether to keep a copy of an unusable file and replace it.
    """

    objects: Sequence[LabelledObject]
    verified: bool
    since: str
    base: Sequence[LabelledObject] | None = None
    base_verified: bool = False
    replace_unusable: bool = False


class Annotations:
    """The annotations of one workspace. Safe from several threads and processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        name = hashlib.sha256(os.fsencode(workspace.root)).hexdigest()[:24]
        self._lock_file = cache_root() / "studio" / f"label-{name}.lock"
        self._versions: OrderedDict[str, AnnotationVersion] = OrderedDict()

    def read(self, relative: str) -> AnnotationState:
        """The annotation of a readable image; for errors see `Workspace.image`."""
        path = self.workspace.image(relative)
        with self._lock:
            return self._read(relative, path, _image_size(path, relative))[0]

    def write(self, relative: str, edit: AnnotationEdit) -> AnnotationState:
        """Apply an edit; returns the file's new state.

        Raises:
            EditConflict: another person's edit conflicts with it.
            AnnotationError: the file belongs to another image or cannot be used.
            EnvironmentFault: it cannot be written; then the file is unchanged.
        """
        path = self.workspace.image(relative)
        size = _image_size(path, relative)
        make_folder(self._lock_file.parent)
        with self._lock, FileLock(self._lock_file):
            now, version = self._read(relative, path, size)
            file = self._file(relative)
            if now.problem:
                self._copy_unusable(now, file, edit)
            objects, verified, mine = edit.objects, edit.verified, None
            if now.etag != edit.since and not now.problem:
                objects, verified, mine = _merge_edit(now, edit)
            if version is None and not objects and not verified:
                return now  # An empty file would mean that somebody has checked the image.
            data = edit_annotation(
                None if version is None else version.root,
                [(item, self._original(item)) for item in objects],
                size.upright,
                image=path,
                file=file,
                verified=verified,
            )
            if len(data) > MAX_BYTES:
                raise AnnotationError(relative, f"more than {MAX_BYTES // 2**20} MiB of boxes")
            make_folder(file.parent)
            write_bytes(file, data)
            written = self._parse(relative, size, data)[0]
        return replace(written, problem="", mine=mine)

    def _file(self, relative: str) -> Path:
        """The annotation's path, which must not leave the folder by a link."""
        file = annotation_file(self.workspace.root, relative)
        return self.workspace.resolve(self.workspace.relative(file))

    def _copy_unusable(self, now: AnnotationState, file: Path, edit: AnnotationEdit) -> None:
        """Copy an unusable file to the folder for such files, if requested."""
        allowed = edit.replace_unusable and now.etag == edit.since
        if not allowed or other_owner(file, self.workspace.image(now.path)) is not None:
            raise AnnotationError(now.path, now.problem)
        try:
            data = read_regular_file(file, _MAX_COPIED_BYTES)
        except (OSError, ValueError):
            raise AnnotationError(now.path, now.problem) from None
        target = self.workspace.root / SET_ASIDE / self.workspace.relative(file)
        make_folder(target.parent)
        write_bytes(target.with_name(f"{target.stem}-{now.etag[:8]}.xml"), data)

    def _read(
        self, relative: str, path: Path, size: ImageSize
    ) -> tuple[AnnotationState, AnnotationVersion | None]:
        file = self._file(relative)
        if not file.exists():
            return AnnotationState(relative, size.upright, ABSENT), None
        try:
            data = read_annotation_file(file)
        except ImageReadError as error:
            return AnnotationState(relative, size.upright, "unreadable", problem=error.reason), None
        owner = other_owner(file, path)
        if owner is not None:
            problem = f"{file.name} belongs to {owner}; rename one of the two pictures"
            return AnnotationState(relative, size.upright, _etag(data), problem=problem), None
        return self._parse(relative, size, data)

    def _parse(
        self, relative: str, size: ImageSize, data: bytes
    ) -> tuple[AnnotationState, AnnotationVersion | None]:
        etag = _etag(data)
        try:
            version = parse_version(data, etag, size, name=relative)
        except AnnotationError as error:
            return AnnotationState(relative, size.upright, etag, problem=error.reason), None
        self._versions[etag] = version
        self._versions.move_to_end(etag)
        while len(self._versions) > _MAX_VERSIONS:
            self._versions.popitem(last=False)
        state = AnnotationState(relative, size.upright, etag, version.objects, version.verified)
        return state, version

    def _original(self, item: LabelledObject) -> OriginalObject | None:
        """The original of an edit's object, even if it was deleted meanwhile."""
        etag, _, number = item.origin_id.rpartition(":")
        version = self._versions.get(etag)
        if version is None or not (number.isascii() and number.isdecimal()):
            return None
        return version.original(int(number)) if int(number) < len(version.objects) else None


def _merge_edit(
    now: AnnotationState, edit: AnnotationEdit
) -> tuple[list[LabelledObject], bool, tuple[int | None, ...]]:
    """The objects, `verified` and the indices of the edit's objects after a merge."""
    merged = None if edit.base is None else merge(edit.base, edit.objects, now.objects)
    if merged is None:
        raise EditConflict(now)
    verified = now.verified if edit.verified == edit.base_verified else edit.verified
    return [item.content for item in merged], verified, tuple(item.mine for item in merged)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _image_size(path: Path, relative: str) -> ImageSize:
    return image_size(read_file(path, relative), relative)
