"""List the images below a folder; only changed folders are listed again."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpeye.data.file_walk import natural_key
from sharpeye.data.system_names import is_system_name
from sharpeye.images.formats import SUFFIXES

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # Surrogates mark bytes that are not UTF-8.
_MAX_DEPTH = 16
# A recently changed folder may change again within one tick of the file system's clock.
_CLOCK_TICK_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class _Folder:
    """The images and folders directly in one folder, by name, in natural order."""

    modified_ns: int = 0
    listed_ns: int = 0
    images: Sequence[str] = ()
    folders: Sequence[str] = ()


class FolderListing:
    """The images below a folder, recognized by their suffixes. Safe from several threads.

    Links are followed only to files inside of the folder. Hidden names, names that are not UTF-8,
    and names with control characters are left out.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, _Folder] = {}
        self._lock = threading.Lock()

    def folders(self, relative: str) -> list[str]:
        """The names of the folders in a folder."""
        with self._lock:
            return [*self._folder(relative).folders]

    def below(self, relative: str) -> list[str]:
        """The images below a folder: first those directly in it, then those of its folders.

        All paths are relative to the root, which is "".
        """
        paths: list[str] = []
        with self._lock:
            self._collect(relative, paths, depth=0)
        return paths

    def _collect(self, relative: str, paths: list[str], *, depth: int) -> None:
        folder = self._folder(relative)
        prefix = f"{relative}/" if relative else ""
        paths.extend(prefix + name for name in folder.images)
        if depth < _MAX_DEPTH:
            for name in folder.folders:
                self._collect(prefix + name, paths, depth=depth + 1)

    def _folder(self, relative: str) -> _Folder:
        path = self._root / relative
        try:
            modified = path.stat().st_mtime_ns
        except OSError:
            self._listed.pop(relative, None)
            return _Folder()
        known = self._listed.get(relative)
        settled = known is not None and known.listed_ns - known.modified_ns > _CLOCK_TICK_NS
        if known is None or known.modified_ns != modified or not settled:
            known = self._listed[relative] = self._list(path, modified)
        return known

    def _list(self, path: Path, modified_ns: int) -> _Folder:
        listed_ns, images, folders = time.time_ns(), [], []
        # OSError: the folder was deleted, or is not readable.
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if is_system_name(entry.name) or not is_text(entry.name):
                    continue
                if Path(entry.name).suffix.lower() in SUFFIXES:
                    if entry.is_file() and self._is_inside(entry):
                        images.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
        images.sort(key=natural_key)
        folders.sort(key=natural_key)
        return _Folder(modified_ns, listed_ns, images, folders)

    def _is_inside(self, entry: os.DirEntry[str]) -> bool:
        return not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(self._root)


def is_text(name: str) -> bool:
    """Whether a name survives the way to the browser and back: UTF-8, no control characters."""
    return not _NOT_TEXT.search(name)
