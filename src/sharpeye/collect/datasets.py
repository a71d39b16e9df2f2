"""Download data sets, public ones by name, into a folder that appears only when complete.

Downloads stay in the cache until the folder exists, so that a later run continues where an earlier
one ended, within a file or between two.
"""

import contextlib
import hashlib
import re
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sharpeye.collect.archives import extract_archive
from sharpeye.core import storage
from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.core.progress import StageProgress
from sharpeye.errors import ModelError, UsageError, near_match


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server, with its hexadecimal SHA-256 and its number of bytes, if known."""

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that can be downloaded; `datasets.toml` explains the fields."""

    name: str
    files: tuple[RemoteFile, ...]
    images: int
    classes: int
    licence: str
    description: str
    class_names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Total bytes of all files."""
        return sum(file.size or 0 for file in self.files)


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_DATASETS = {
    name: Dataset(
        name,
        files=tuple(RemoteFile(**file) for file in table.pop("files")),
        class_names=tuple(table.pop("class_names", ())),
        **table,
    )
    for name, table in _TABLES.items()
}


def list_datasets() -> list[Dataset]:
    return list(_DATASETS.values())


def get_dataset(name: str) -> Dataset:
    """Raises UsageError for an unknown data set; the message suggests the nearest name."""
    if name not in _DATASETS:
        raise UsageError(
            f"no data set is called {name}. {near_match(name, _DATASETS)} "
            "Or give the URL of an archive, such as https://example.org/images.zip"
        )
    return _DATASETS[name]


def fetch_archive(archive: RemoteFile, folder: Path, progress: StageProgress | None = None) -> None:
    """Download a zip or tar and unpack it into a folder that does not exist yet, or is empty.

    After an error of `locked_download` or `extract_archive`, the folder does not exist.
    """
    require_free(folder)  # before the download
    with _cache_download(archive, progress) as file:
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
    """Download files into a folder without unpacking them, with a list of their classes.

    After an error of `locked_download`, the folder does not exist, and complete files are kept for
    the next run.

    Args:
        class_names: in the order of the class index; `labels.txt` has a line for each.
        folder: where to; it does not exist yet, or is empty.
    """
    target = require_free(folder)
    with contextlib.ExitStack() as stack:
        files = []
        for number, remote in enumerate(remote_files):
            part = _part_of(progress, remote_files, number)
            files.append(stack.enter_context(_cache_download(remote, part)))
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
    """The progress of one file, converted to that of all files, in MB."""
    if progress is None:
        return None
    before = sum(file.size or 0 for file in files[:number]) // 10**6
    all_files = sum(file.size or 0 for file in files) // 10**6
    return lambda stage, done, total: progress(stage, before + done, max(all_files, before + total))


def _name_of(url: str) -> str:
    """A file name of harmless characters from the end of a URL's path."""
    return re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-80:]


def _cache_download(
    remote: RemoteFile, progress: StageProgress | None
) -> contextlib.AbstractContextManager[Path]:
    """Download a file into the cache, under a name for its URL."""
    from sharpeye.web.download import locked_download

    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:8]
    file = storage.cache_root() / "downloads" / f"{digest}-{_name_of(remote.url)}"
    return locked_download(remote.url, file, remote.sha256, size=remote.size, progress=progress)
