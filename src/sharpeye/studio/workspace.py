"""The studio's folder: the one place where a name from a browser becomes a path.

    DIR/rose/1.jpg, DIR/tulip/...     a folder a class
    DIR/1.jpg, DIR/1.xml              images without classes, or with Pascal VOC files
    DIR/train/rose/...                parts: the class is `train/rose` here
    DIR/JPEGImages, DIR/Annotations   Pascal VOC's own folders: no classes

Paths that travel to the browser and back are relative to DIR, with `/` between their parts.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sharpeye.core.storage import explain_os_error, make_folder
from sharpeye.data.file_walk import IMAGE_SUFFIXES, is_hidden
from sharpeye.errors import DataError, EnvironmentFault, UsageError
from sharpeye.studio.listing import Listing, is_text

SET_ASIDE = ".set-aside"
RUNS = "runs"
_PARTS = frozenset({"train", "val", "valid", "validation", "test"})
_VOC_FOLDERS = frozenset({"JPEGImages", "Annotations", "VOCdevkit"})
_MAX_PATH = 1024  # characters
_MAX_NAME = 100  # characters of a class


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the images of a class.

    Attributes:
        paths: relative to the folder.
        total: how many there are in all.
    """

    paths: list[str]
    total: int


@dataclass(frozen=True, slots=True)
class Moved:
    """An image that changed its place; `Workspace.undo` takes it back.

    Attributes:
        source: where it was, relative to the folder.
        target: where it is.
    """

    source: str
    target: str


class Workspace:
    """A folder of images and a folder of runs.

    Args:
        root: the folder of images; it is created.
        runs: the folder of runs; by default `runs` in the current directory, or beside `root`
            if that would lie among the images.

    Attributes:
        root: resolved.
        runs: resolved; it may not be there yet.
    """

    def __init__(self, root: Path, runs: Path | None = None) -> None:
        self.root = make_folder(root).resolve()
        if not self.root.is_dir():
            raise UsageError(f"{root} is no folder; give a folder of pictures")
        self.runs = (runs or Path(RUNS)).resolve()
        if self.runs.is_relative_to(self.root):
            self.runs = self.root.with_name(f"{self.root.name}-{RUNS}")
        self._listing = Listing(self.root)
        self._lock = threading.Lock()

    # --- names -----------------------------------------------------------------------------------

    def resolve(self, relative: str) -> Path:
        """The path that a name from the browser stands for; nothing need be there.

        Raises:
            UsageError: it is absolute, hidden, or leads out of the folder, by `..` or by a link.
        """
        return self._inside(relative, hidden=False)

    def image(self, relative: str) -> Path:
        """The path of an image's file.

        Raises:
            UsageError: see `resolve`; or it is called like no image.
            DataError: there is no such file.
        """
        path = self.resolve(relative)
        if _suffix(path) not in IMAGE_SUFFIXES:
            raise UsageError(f"{_shown(relative)} is not called like a picture")
        if not path.is_file():
            raise DataError(f"{_shown(relative)} is not there (any more); reload the page")
        return path

    def relative(self, path: Path) -> str:
        """What the browser calls a path of this folder."""
        return path.relative_to(self.root).as_posix()

    def _inside(self, relative: str, *, hidden: bool) -> Path:
        pure = PurePosixPath(relative)
        wrong = (
            not relative
            or len(relative) > _MAX_PATH
            or pure.is_absolute()
            or not is_text(relative)
            or any(part == ".." for part in pure.parts)
            or (not hidden and any(is_hidden(part) for part in pure.parts))
            or not pure.parts
        )
        path = self.root.joinpath(*pure.parts)
        with contextlib.suppress(OSError, RuntimeError):  # names too long; loops of links
            if not wrong and path.resolve().is_relative_to(self.root):
                return path
        raise UsageError(f"a path must stay in {self.root.name}. Received: {_shown(relative)}")

    # --- what is there ---------------------------------------------------------------------------

    def classes(self) -> list[tuple[str, int]]:
        """(class, how many images) in natural order; empty for images without classes."""
        return [(label, self._listing.count(label)) for label in self._labels()]

    def images(self, label: str | None = None, offset: int = 0, count: int = 100) -> Page:
        """Some of the images of a class, in an order that stays.

        Args:
            label: a class; None for all images.
            offset: how many to leave out.
            count: how many to give at most.

        Raises:
            UsageError: `label` is no name of a folder.
            DataError: there is no such class.
        """
        paths = self.all_images(label)
        offset, count = max(offset, 0), max(count, 0)
        return Page(paths[offset : offset + count], len(paths))

    def all_images(self, label: str | None = None) -> list[str]:
        """The paths of all images of a class, or of all; see `images`."""
        if label is None:
            return self._listing.below("", leave_out=self._own_folders())
        if not self.resolve(label).is_dir():
            raise DataError(f"there is no class {_shown(label)} (any more); reload the page")
        return self._listing.below(label)

    def _labels(self) -> list[str]:
        folders = [name for name in self._listing.folders("") if name not in self._own_folders()]
        if _VOC_FOLDERS & {*folders}:
            return []
        if folders and {name.lower() for name in folders} <= _PARTS:
            return [f"{part}/{name}" for part in folders for name in self._listing.folders(part)]
        return folders

    def _own_folders(self) -> set[str]:
        return {self.runs.name} if self.runs.parent == self.root else set()

    # --- changes ---------------------------------------------------------------------------------

    def add_class(self, name: str) -> str:
        """Make a folder for a class.

        Returns:
            its name, without spaces around.

        Raises:
            UsageError: the name cannot be a folder's.
        """
        name = name.strip()
        bad = re.search(r"[/\\:*?\"<>|]", name) or not is_text(name)
        if bad or name.strip(" .") != name or not 0 < len(name) <= _MAX_NAME or is_hidden(name):
            raise UsageError(
                f"a class is called by up to {_MAX_NAME} plain characters, without "
                f'/ \\ : * ? " < > | and no dot at its beginning or end. Received: {_shown(name)}'
            )
        path = self.resolve(name)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{name} is a file's name already; take another one for the class")
        make_folder(path)
        return name

    def move(self, relative: str, label: str) -> Moved:
        """Move an image, with its XML file, into a class. It never overwrites.

        Raises:
            UsageError: a name is none, or the class is not there.
            DataError: the image is not there.
            EnvironmentFault: no permission, disk full.
        """
        path, folder = self.image(relative), self.resolve(label)
        if not folder.is_dir():
            raise UsageError(f"there is no class {_shown(label)}; add it first")
        if path.parent == folder:
            return Moved(relative, relative)
        return self._moved(path, folder)

    def set_aside(self, relative: str) -> Moved:
        """Move an image, with its XML file, to where it is not seen; nothing is deleted.

        Raises:
            see `move`.
        """
        path = self.image(relative)
        inner = Path(relative).parent
        return self._moved(path, make_folder(self.root / SET_ASIDE / inner))

    def undo(self, moved: Moved) -> None:
        """Take a move back.

        Raises:
            UsageError: a name is none.
            DataError: the image is not there any more, or its old place is taken.
        """
        now, before = self._inside(moved.target, hidden=True), self.resolve(moved.source)
        inner = now.relative_to(self.root).parts
        hidden = any(is_hidden(part) for part in inner[inner[0] == SET_ASIDE :])
        if hidden or {_suffix(now), _suffix(before)} - IMAGE_SUFFIXES:
            raise UsageError(f"{_shown(moved.target)} was not moved here")
        if now == before:
            return
        make_folder(before.parent)
        with self._lock:
            for source, target in _with_companions(now, before):
                _move_file(source, target)

    def _moved(self, path: Path, folder: Path) -> Moved:
        with self._lock:
            target = _free(folder / path.name)
            for source, to in _with_companions(path, target):
                _move_file(source, to)
        return Moved(self.relative(path), self.relative(target))


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _with_companions(path: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """(from, to) of an image and of the Pascal VOC file beside it."""
    yield path, target
    annotation = path.with_suffix(".xml")
    if annotation.is_file() and not annotation.is_symlink():
        yield annotation, target.with_suffix(".xml")


def _free(path: Path) -> Path:
    """`path`, or the first of `NAME-2`, `NAME-3`, ... that neither it nor its XML file has."""
    number, found = 1, path
    while os.path.lexists(found) or os.path.lexists(found.with_suffix(".xml")):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _move_file(source: Path, target: Path) -> None:
    """Move a file where nothing is: a link is made first, which never overwrites."""
    try:
        try:
            os.link(source, target, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError from None
            source.rename(target)
            return
        source.unlink()
    except FileExistsError:
        raise DataError(f"{target.name} is taken there by another file") from None
    except FileNotFoundError:
        raise DataError(f"{source.name} is not there any more; reload the page") from None
    except OSError as error:
        fault: EnvironmentFault = explain_os_error(error, target)
        raise fault from error


def _shown(name: str) -> str:
    """A name for a message: one line, not endless."""
    printable = "".join(c if c.isprintable() else "?" for c in name[:80])
    return f"{printable!r}"
