"""List the files below a folder in natural order, and recognize images by name and content.

`walk_images` says for every reader of folders (scan, predict, evaluate, collect, studio) what an
image is: a file with the suffix of an image format, or with its first bytes. All others are counted
by suffix. Names that systems write are skipped, and so are SharpEye's run directories, whose
diagrams are no data.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.config import CONFIG_MARK
from sharpeye.core.regular_files import read_head
from sharpeye.core.types import Rejected
from sharpeye.data.system_names import is_system_name
from sharpeye.images.formats import FORMATS, SUFFIXES

_MAX_DEPTH = 64
_CONFIG = "config.toml"
RUN_DIRECTORY = "run directory"  # its key among the counts of files that were left out

# What `printable` writes for an undecodable byte, and for the backslash of such a text.
_ESCAPE = re.compile(r"\\(x(?:[89a-f][0-9a-f]|5c))")
_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f]|5c)")
_HEAD_BYTES = 32
LINK_ADVICE = "--follow-links follows it"
_MAX_KINDS = 12


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which `img2` comes before `img10`; ties are broken by case."""
    pieces = filter(None, re.split(r"(\d+)", text))
    folded = [
        (0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p.casefold()) for p in pieces
    ]
    return [*folded, (2, 0, text)]


def printable(name: str) -> str:
    r"""The file name as valid UTF-8, from which `original_name` gets the name back.

    Undecodable bytes become escapes such as `\xff`. Where a name has such an escape as text, its
    backslash becomes `\x5c`, so that no two names have one printable form.
    """
    escaped = _ESCAPE.sub(r"\\x5c\1", name)
    return os.fsencode(escaped).decode("utf-8", "backslashreplace")


def original_name(name: str) -> str:
    """The file name of which `printable` made `name`: the way from a table's path to the file."""
    raw = os.fsencode(name)
    return os.fsdecode(_ESCAPED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), raw))


def has_image_signature(path: Path) -> bool:
    """Whether a file begins with the bytes of an image format, whatever its name."""
    try:
        return _is_image_head(read_head(path, _HEAD_BYTES))
    except OSError:
        return False


def _is_image_head(head: bytes) -> bool:
    return any(item.pattern.match(head) for item in FORMATS.values())


def is_image(path: Path) -> bool:
    """Whether a file has the suffix or the content of an image."""
    return path.suffix.casefold() in SUFFIXES or has_image_signature(path)


@dataclass(frozen=True)
class ImageListing:
    """The images below a folder.

    Attributes:
        files: (path below the folder, path), in natural order.
        rejected: links, folders and special files that could not be read, and why.
        ignored: number of other files by suffix in lower case, "" for none; and of run directories.
        rejected_folders: those of `rejected` that are folders.
        others: the other files, as `files`.
    """

    files: list[tuple[str, Path]]
    rejected: list[Rejected]
    ignored: dict[str, int]
    rejected_folders: list[Rejected]
    others: list[tuple[str, Path]]


def walk_images(root: Path, *, follow_links: bool = False) -> ImageListing:
    """The images below `root`; hidden names are skipped, links out of the root not followed."""
    walk = _walk(root, follow_links)
    images, others = [], []
    for relative, path in walk.files:
        suffix = path.suffix.casefold()
        try:
            if suffix in SUFFIXES or _is_image_head(read_head(path, _HEAD_BYTES)):
                images.append((relative, path))
            else:
                others.append((relative, path))
                walk.ignored[suffix] += 1
        except OSError as error:
            walk.reject(relative, f"cannot be opened: {error.strerror}")
    return ImageListing(
        images,
        walk.rejected,
        dict(walk.ignored),
        rejected_folders=walk.rejected_folders,
        others=others,
    )


def describe_ignored(ignored: Mapping[str, int]) -> str:
    """Files that are not images in words: `12 .txt, 3 .xml, 1 file without a suffix`."""
    words = {"": "file{} without a suffix", RUN_DIRECTORY: "run director{} of SharpEye"}
    plural = {"": ("", "s"), RUN_DIRECTORY: ("y", "ies")}
    texts = [
        f"{count:,} " + words[kind].format(plural[kind][count > 1])
        if kind in words
        else f"{count:,} {printable(kind)}"
        for kind, count in sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    ]
    if len(texts) > _MAX_KINDS:
        texts[_MAX_KINDS:] = [f"{len(texts) - _MAX_KINDS} more kinds"]
    return ", ".join(texts)


def walk_files(
    root: Path, *, follow_links: bool = False
) -> tuple[list[tuple[str, Path]], list[Rejected]]:
    """The regular files below `root` in natural order, as (relative path, path); rejected ones.

    Hidden names are skipped, and links out of the root are not followed.
    """
    walk = _walk(root, follow_links)
    return walk.files, walk.rejected


def _walk(root: Path, follow_links: bool) -> "_FolderWalk":
    walk = _FolderWalk(root.resolve(), follow_links)
    walk.visit_folder(root.resolve(), "")
    return walk


def is_run_directory(folder: Path) -> bool:
    """Whether SharpEye wrote a folder: the first line of its configuration says so."""
    try:
        return read_head(folder / _CONFIG, len(CONFIG_MARK)) == CONFIG_MARK.encode()
    except OSError:
        return False


@dataclass
class _FolderWalk:
    """The state of a walk; `visited` are the device and inode of each folder."""

    root: Path
    follow_links: bool
    files: list[tuple[str, Path]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    rejected_folders: list[Rejected] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def visit_folder(self, path: Path, relative: str, depth: int = 0) -> None:
        try:
            status = path.stat()
            entries = sorted(os.scandir(path), key=lambda entry: natural_key(entry.name))
        except OSError as error:
            self.reject(relative, f"the folder cannot be opened: {error.strerror}", is_folder=True)
            return
        identity = (status.st_dev, status.st_ino)
        if identity in self.visited:
            reason = "a symbolic link to a folder that was already read"
            self.reject(relative, reason, is_folder=True)
            return
        if depth > _MAX_DEPTH:
            self.reject(relative, f"nested deeper than {_MAX_DEPTH} folders", is_folder=True)
            return
        self.visited.add(identity)
        has_config = any(entry.name == _CONFIG for entry in entries)
        if relative and has_config and is_run_directory(path):
            self.ignored[RUN_DIRECTORY] += 1
            return
        for entry in entries:
            if not is_system_name(entry.name):
                self.visit(entry, f"{relative}/{entry.name}" if relative else entry.name, depth)

    def visit(self, entry: os.DirEntry[str], relative: str, depth: int) -> None:
        path = Path(entry.path)
        try:
            if (
                entry.is_symlink()
                and not self.follow_links
                and not path.resolve(strict=True).is_relative_to(self.root)
            ):
                reason = "a symbolic link that leads out of the folder"
                if path.is_dir():
                    reason += f"; {LINK_ADVICE}"
                self.reject(relative, reason, is_folder=path.is_dir())
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

    def reject(self, relative: str, reason: str, *, is_folder: bool = False) -> None:
        self.rejected.append(Rejected(printable(relative), reason))
        if is_folder:
            self.rejected_folders.append(self.rejected[-1])


def stem_of(relative: str) -> str:
    """A path with forward slashes, without its last suffix; `.jpg` is a stem without suffix."""
    folder, slash, name = relative.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
