"""List the files below a folder in natural order, and recognize images by name and content."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.types import Rejected
from sharpeye.images.formats import BMP, sniff

_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
_MAX_DEPTH = 64

# Suffixes of images: such a file is either read, or listed in the quarantine.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".eps"),
        *(".ico", ".tga", ".pdf", ".raw", ".cr2", ".nef", ".arw", ".dng"),
    )
)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which `img2` comes before `img10`; ties are broken by case."""
    pieces = filter(None, re.split(r"(\d+)", text))
    folded = [
        (0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p.casefold()) for p in pieces
    ]
    return [*folded, (2, 0, text)]


def printable(name: str) -> str:
    """The file name as valid UTF-8: undecodable bytes become backslash escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """Whether the system writes files of this name: `.x`, `Thumbs.db`, `__MACOSX`."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def has_image_signature(path: Path) -> bool:
    """Whether a file begins with the bytes of an image format, whatever its name."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(32)) not in (None, BMP)  # "BM" alone is too weak a sign
    except OSError:
        return False


def is_image(path: Path) -> bool:
    """Whether a file has the suffix or the content of an image."""
    return path.suffix.casefold() in IMAGE_SUFFIXES or has_image_signature(path)


def walk_files(
    root: Path, *, follow_links: bool = False
) -> tuple[list[tuple[str, Path]], list[Rejected]]:
    """The regular files below `root` in natural order, as (relative path, path); rejected ones.

    Hidden names are skipped, and links out of the root are not followed.
    """
    state = _FolderWalk(root.resolve(), follow_links)
    state.visit_folder(root.resolve(), "")
    return state.files, state.rejected


@dataclass
class _FolderWalk:
    """The state of `walk_files`; `visited` are the device and inode of each folder."""

    root: Path
    follow_links: bool
    files: list[tuple[str, Path]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def visit_folder(self, path: Path, relative: str, depth: int = 0) -> None:
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
            if not is_hidden(entry.name):
                self.visit(entry, f"{relative}/{entry.name}" if relative else entry.name, depth)

    def visit(self, entry: os.DirEntry[str], relative: str, depth: int) -> None:
        path = Path(entry.path)
        try:
            if (
                entry.is_symlink()
                and not self.follow_links
                and not path.resolve(strict=True).is_relative_to(self.root)
            ):
                self.reject(relative, "a symbolic link that leads out of the folder")
                return
            mode = entry.stat().st_mode
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "a loop"
            self.reject(relative, f"a file that cannot be reached: {reason}")
            return
        if stat.S_ISDIR(mode):
            self.visit_folder(path, relative, depth + 1)
        elif stat.S_ISREG(mode):
            self.files.append((relative, path))
        else:
            self.reject(relative, "not a regular file (a pipe, socket or device)")

    def reject(self, relative: str, reason: str) -> None:
        self.rejected.append(Rejected(printable(relative), reason))


def stem_of(relative: str) -> str:
    """A path with forward slashes, without its last suffix; `.jpg` is a stem without suffix."""
    folder, slash, name = relative.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
