"""The studio's folder of images: only this module converts names from a browser to paths.

    DIR/rose/1.jpg, DIR/tulip/...     one folder per class
    DIR/1.jpg, DIR/1.xml              images without classes, or with Pascal VOC files
    DIR/train/rose/...                given splits: the class is called `train/rose` here
    DIR/JPEGImages, DIR/Annotations   Pascal VOC's own folders: no classes

Paths to and from the browser are relative to DIR, with forward slashes.
"""

import contextlib
import os
import re
import threading
from pathlib import Path, PurePosixPath

from sharpeye.core.paths import resolve_links
from sharpeye.core.storage import make_folder
from sharpeye.data.moves import Move, free_path, move_file
from sharpeye.data.system_names import is_system_name
from sharpeye.errors import DataError, UsageError
from sharpeye.images.formats import SUFFIXES
from sharpeye.studio.folder_listing import FolderListing, is_text

SET_ASIDE = ".set-aside"
RUNS = "runs"
ANNOTATION_SUFFIX = ".xml"  # suffix of the Pascal VOC file, which moves along with its image
MAX_CLASS_NAME_CHARACTERS = 100
_SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test"})
_VOC_FOLDERS = frozenset({"JPEGImages", "Annotations", "VOCdevkit"})
_MAX_PATH_CHARACTERS = 1024


class Workspace:
    """A folder of images and a folder of runs, as resolved paths `root` and `runs`.

    Args:
        root: the folder of images; it is created.
        runs: the folder of runs, which may not exist; by default `runs` in the current directory,
            or beside `root` if that would lie among the images.
    """

    def __init__(self, root: Path, runs: Path | None = None) -> None:
        self.root = make_folder(root).resolve()
        if not self.root.is_dir():
            raise UsageError(f"{root} is no folder; give a folder of pictures")
        self.runs = (runs or Path(RUNS)).resolve()
        if self.runs.is_relative_to(self.root):
            self.runs = self.root.with_name(f"{self.root.name}-{RUNS}")
        self._listing = FolderListing(self.root)
        self._lock = threading.Lock()

    def resolve(self, relative: str, *, allow_hidden: bool = False) -> Path:
        """The path for a name from the browser; the file may not exist.

        Raises:
            UsageError: it is absolute, hidden, or outside the folder, by `..` or by a link.
        """
        pure = PurePosixPath(relative)
        wrong = (
            not pure.parts
            or len(relative) > _MAX_PATH_CHARACTERS
            or pure.is_absolute()
            or not is_text(relative)
            or ".." in pure.parts
            or (not allow_hidden and any(map(is_system_name, pure.parts)))
        )
        path = self.root.joinpath(*pure.parts)
        with contextlib.suppress(OSError, RuntimeError):  # Names too long; loops of links.
            if not wrong and resolve_links(path).is_relative_to(self.root):
                return path
        raise UsageError(f"a path must stay in {self.root.name}. Received: {_printable(relative)}")

    def image(self, relative: str) -> Path:
        """The path of an image's file.

        Raises:
            UsageError: its suffix is not an image's, or see `resolve`.
            DataError: there is no such file.
        """
        path = self.resolve(relative)
        if not _has_image_suffix(path):
            raise UsageError(f"{_printable(relative)} is not called like a picture")
        if not path.is_file():
            raise DataError(f"{_printable(relative)} is not there (any more); reload the page")
        return path

    def has_file(self, relative: str) -> bool:
        """Whether a name from the browser belongs to a file."""
        try:
            return self.resolve(relative).is_file()
        except UsageError:
            return False

    def relative(self, path: Path) -> str:
        """The browser's name for a path of this folder."""
        return path.relative_to(self.root).as_posix()

    def shorten_paths(self, message: str) -> str:
        """A message for the browser, without the folders above the images and the runs."""
        for folder in (self.root, self.runs.parent):
            message = message.replace(f"{folder}{os.sep}", "")
        return message

    def classes(self) -> list[tuple[str, int]]:
        """(class, number of images) in natural order; empty for images without classes."""
        return [(name, len(self._listing.below(name))) for name in self._class_folders()]

    def images(self, label: str | None, offset: int, count: int) -> tuple[list[str], int]:
        """At most `count` images, from `offset` on, and the total number."""
        paths = self.all_images(label)
        offset, count = max(offset, 0), max(count, 0)
        return paths[offset : offset + count], len(paths)

    def all_images(self, label: str | None = None) -> list[str]:
        """The paths of the images of a class, or of the entire folder, in a stable order.

        Raises:
            UsageError: `label` is not a folder name.
            DataError: there is no such class.
        """
        if label is None:
            return self._listing.below("")
        if not self.resolve(label).is_dir():
            raise DataError(f"there is no class {_printable(label)} (any more); reload the page")
        return self._listing.below(label)

    def _class_folders(self) -> list[str]:
        folders = self._listing.folders("")
        if _VOC_FOLDERS & {*folders}:
            return []
        if folders and {name.lower() for name in folders} <= _SPLIT_FOLDERS:
            return [f"{split}/{name}" for split in folders for name in self._listing.folders(split)]
        return folders

    def add_class(self, name: str) -> str:
        """Make a folder for a class; returns its name, without spaces around it.

        Raises:
            UsageError: the name is not valid for a folder.
        """
        name = name.strip()
        bad = re.search(r"[/\\:*?\"<>|]", name) or not is_text(name) or is_system_name(name)
        if bad or name.strip(" .") != name or not 0 < len(name) <= MAX_CLASS_NAME_CHARACTERS:
            raise UsageError(
                f"a class is called by up to {MAX_CLASS_NAME_CHARACTERS} plain characters, without "
                f'/ \\ : * ? " < > | and no dot at its beginning or end. Received: '
                f"{_printable(name)}"
            )
        path = self.resolve(name)
        if path.exists() and not path.is_dir():
            raise UsageError(f"{name} is a file's name already; take another one for the class")
        make_folder(path)
        return name

    def move(self, relative: str, label: str) -> Move:
        """Move an image, with its XML file, into a class. Nothing is overwritten.

        Raises:
            UsageError: a name is not valid, or the class does not exist.
            DataError: the image does not exist.
        """
        path, folder = self.image(relative), self.resolve(label)
        if not folder.is_dir():
            raise UsageError(f"there is no class {_printable(label)}; add it first")
        if path.parent == folder:
            return Move(relative, relative)
        return self._move_into(path, folder)

    def hide(self, relative: str) -> Move:
        """Move an image, with its XML file, into a hidden folder; for errors see `move`."""
        path = self.image(relative)
        return self._move_into(path, self.root / SET_ASIDE / Path(relative).parent)

    def undo(self, move: Move) -> None:
        """Undo a move.

        Raises:
            UsageError: the arguments cannot be a move.
            DataError: the image no longer exists, or another file has its old name.
        """
        now, before = self.resolve(move.target, allow_hidden=True), self.resolve(move.source)
        names = now.relative_to(self.root).parts
        hidden = any(is_system_name(name) for name in names[names[0] == SET_ASIDE :])
        if hidden or not (_has_image_suffix(now) and _has_image_suffix(before)):
            raise UsageError(f"{_printable(move.target)} was not moved here")
        if now != before:
            with self._lock:
                _move_with_annotation(now, before)

    def _move_into(self, path: Path, folder: Path) -> Move:
        with self._lock:
            target = free_path(folder / path.name, companions=(ANNOTATION_SUFFIX,))
            _move_with_annotation(path, target)
        return Move(self.relative(path), self.relative(target))


def _move_with_annotation(source: Path, target: Path) -> None:
    annotation = source.with_suffix(ANNOTATION_SUFFIX)
    _move(source, target)
    if annotation.is_file() and not annotation.is_symlink():
        _move(annotation, target.with_suffix(ANNOTATION_SUFFIX))


def _move(source: Path, target: Path) -> None:
    """Move a file; errors use the browser's name, without the folders above it."""
    try:
        move_file(source, target)
    except DataError:
        if os.path.lexists(source):
            raise DataError(f"{target.name} is taken there by another file") from None
        raise DataError(f"{source.name} is not there any more; reload the page") from None


def _has_image_suffix(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _printable(name: str) -> str:
    """A name for a message: one line of limited length."""
    return repr("".join(c if c.isprintable() else "?" for c in name[:80]))
