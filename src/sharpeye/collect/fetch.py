"""Download a data set into a folder that appears whole or not at all.

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
from sharpeye.core.progress import StageProgress
from sharpeye.errors import ModelError


def fetch_archive(archive: RemoteFile, folder: Path, progress: StageProgress | None = None) -> None:
    """Download a zip or tar and unpack it.

    Args:
        folder: where to; it does not exist yet, or is empty.

    Raises:
        SharpEyeError: as `download` and `extract_archive` raise them. After any, there is no
            folder.
    """
    require_free(folder)  # before anything comes
    from sharpeye.web.download import downloaded

    file = _cache_path(archive.url)
    with downloaded(archive.url, file, archive.sha256, size=archive.size, progress=progress):
        try:
            extract_archive(file, folder)
        except ModelError:
            file.unlink()
            raise
        file.unlink()


def fetch_files(
    remote_files: Sequence[RemoteFile],
    class_names: Sequence[str],
    folder: Path,
    *,
    progress: StageProgress | None = None,
) -> None:
    """Download files and put them into a folder as they are, with a list of their classes.

    Args:
        class_names: in the order of the class index; `labels.txt` has a line for each.
        folder: where to; it does not exist yet, or is empty.

    Raises:
        SharpEyeError: as `download` raises them. After any, there is no folder, and the files that
            came whole are kept for the next run.
    """
    target = require_free(folder)
    from sharpeye.web.download import downloaded

    with contextlib.ExitStack() as stack:
        files = []
        for number, remote in enumerate(remote_files):
            part = _part_of(progress, remote_files, number)
            file = _cache_path(remote.url)
            stack.enter_context(
                downloaded(remote.url, file, remote.sha256, size=remote.size, progress=part)
            )
            files.append(file)
        with atomic_folder(target) as temporary:
            for remote, file in zip(remote_files, files, strict=True):
                with storage.atomic_path(temporary / _name_of(remote.url)) as copy:
                    shutil.copyfile(file, copy)
            lines = "".join(f"{name}\n" for name in class_names)
            storage.write_text(temporary / "labels.txt", lines)
        for file in files:
            file.unlink()


def _part_of(
    progress: StageProgress | None, files: Sequence[RemoteFile], number: int
) -> StageProgress | None:
    """The progress of one file, reported as that of all of them, in MB."""
    if progress is None:
        return None
    before = sum(file.size or 0 for file in files[:number]) // 10**6
    all_files = sum(file.size or 0 for file in files) // 10**6
    return lambda stage, done, total: progress(stage, before + done, max(all_files, before + total))


def _name_of(url: str) -> str:
    """A file name of harmless characters from the end of a URL's path."""
    return re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-80:]


def _cache_path(url: str) -> Path:
    """Where the file of a URL lies until it is used; another one for each URL."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return storage.cache_root() / "downloads" / f"{digest}-{_name_of(url)}"
