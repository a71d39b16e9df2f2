"""From servers to a folder that appears whole or not at all.

What comes lies in the cache until the folder is there, so that a later run goes on where an
earlier one ended, whether that was within a file or between two.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sharpeye.collect.archives import extract_archive
from sharpeye.collect.datasets import RemoteFile
from sharpeye.core import storage
from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.errors import ModelError
from sharpeye.web.download import Progress, downloaded

LABELS_FILE = "labels.txt"


def fetch_archive(archive: RemoteFile, folder: Path, progress: Progress | None = None) -> None:
    """Download a zip or tar and unpack it.

    Args:
        folder: where to; it does not exist yet, or is empty.

    Raises:
        SharpEyeError: as `download` and `extract_archive` raise them. After any, there is no
            folder.
    """
    require_free(folder)  # before anything comes
    place = _place_in_cache(archive.url)
    with downloaded(archive.url, place, archive.sha256, archive.bytes, progress):
        try:
            extract_archive(place, folder)
        except ModelError:
            place.unlink()
            raise
        place.unlink()


def fetch_files(
    files: Sequence[RemoteFile],
    labels: Sequence[str],
    folder: Path,
    progress: Progress | None = None,
) -> None:
    """Download files and put them into a folder as they are, beside a list of their classes.

    Args:
        labels: class names in the order of the class index; `labels.txt` has a line for each.
        folder: where to; it does not exist yet, or is empty.

    Raises:
        SharpEyeError: as `download` raises them. After any, there is no folder, and the files that
            came whole are kept for the next run.
    """
    target = require_free(folder)
    with contextlib.ExitStack() as held:
        places = []
        for number, file in enumerate(files):
            place, told = _place_in_cache(file.url), _of_all(progress, files, number)
            held.enter_context(downloaded(file.url, place, file.sha256, file.bytes, told))
            places.append(place)
        with atomic_folder(target) as temporary:
            for file, place in zip(files, places, strict=True):
                with storage.atomic_path(temporary / _name_of(file.url)) as copy:
                    shutil.copyfile(place, copy)
            storage.write_text(temporary / LABELS_FILE, "".join(f"{name}\n" for name in labels))
        for place in places:
            place.unlink()


def _of_all(progress: Progress | None, files: Sequence[RemoteFile], number: int) -> Progress | None:
    """Turn how far one file is into how far all are."""
    if progress is None:
        return None
    before = sum(file.bytes or 0 for file in files[:number]) // 10**6
    every = sum(file.bytes or 0 for file in files) // 10**6
    return lambda stage, done, total: progress(stage, before + done, max(every, before + total))


def _name_of(url: str) -> str:
    """A file name of harmless characters from the end of a URL's path."""
    return re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-80:]


def _place_in_cache(url: str) -> Path:
    """Where what a URL gives lies until it is used; no two share a place."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return storage.cache_root() / "downloads" / f"{digest}-{_name_of(url)}"
