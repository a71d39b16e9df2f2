"""Copy images of an archive or a folder into one class folder or several."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.collect.archives import extract_archive
from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import REJECTED, UNKNOWN, CollectCounts
from sharpeye.core import storage
from sharpeye.core.progress import StageProgress
from sharpeye.core.temporaries import temporary_folder
from sharpeye.data.file_walk import printable, walk_images
from sharpeye.data.split_folders import named_split_folders
from sharpeye.errors import DataError, ImageReadError, UsageError
from sharpeye.images.decode import read_file

_FILES_PER_LOCK = 16  # and for each report of progress
_LOOSE = "in no class's folder"  # images without a class under `classes`

_Files = list[tuple[str, Path | None, str]]  # (path in the source, file, why it cannot be read)


@dataclass
class ImportResult:
    """The findings of an import, besides its counts."""

    classes: list[str] = field(default_factory=list)  # folders that were filled
    ignored: Counter[str] = field(default_factory=Counter)  # files that are not images, by suffix
    folders: int = 0  # folders of images at the top of the source


def import_images(
    source: Path,
    folder: Path,
    *,
    counts: CollectCounts,
    classes: bool = False,
    licence: str = UNKNOWN,
    progress: StageProgress | None = None,
) -> ImportResult:
    """Copy the images of an archive or a folder; the source is not changed.

    Args:
        source: a zip, a tar (plain, or packed by gzip, bzip2, xz), or a folder.
        folder: the class folder; with `classes` the folder of the data set.
        counts: is added to, also if this ends by an error.
        classes: each top folder of the source is a class and keeps its name; splits such as
            `train/` and `test/` stay splits.
        progress: called with ("collect", done, total).

    Raises:
        UsageError: no such source.
        ModelError: the archive is damaged, or breaks a rule; nothing was imported.
        DataError: the source has no image.
        EnvironmentFault: disk full, no permission.
    """
    with _content_of(source, folder) as content:
        result = ImportResult()
        files_by_class = _find_images(content, classes, result)
        total = sum(len(files) for files in files_by_class.values())
        if not total:
            if classes and (loose := result.ignored[_LOOSE]):
                raise DataError(
                    f"{source} has {loose} images, but in no sub-folder a class; leave out "
                    "--classes and name the class's folder"
                )
            raise DataError(f"no images in {source}; give an archive or a folder that has some")
        done = 0
        # One class after the other, so that each one knows the images of earlier ones.
        for label, files in files_by_class.items():
            with ClassFolder(folder / label if classes else folder) as class_folder:
                for start in range(0, len(files), _FILES_PER_LOCK):
                    batch = files[start : start + _FILES_PER_LOCK]
                    with class_folder.locked():
                        for relative, file, unreadable in batch:
                            shown = f"{source}/{printable(relative)}"
                            status, reason = _import_file(
                                class_folder, shown, file, reason=unreadable, licence=licence
                            )
                            counts.count(shown, status, reason)
                    done += len(batch)
                    if progress:
                        progress("collect", done, total)
            result.classes.append(label)
    return result


@contextlib.contextmanager
def _content_of(source: Path, folder: Path) -> Iterator[Path]:
    """The folder itself, or an archive's unpacked content until the block ends."""
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise UsageError(f"no such file or folder: {source}; give a zip, a tar or a folder")
    parent = storage.make_folder(folder.resolve().parent)  # the same disk as the images'
    with contextlib.ExitStack() as stack:
        with storage.os_errors_at(parent):
            temporary = stack.enter_context(temporary_folder(parent))
        with storage.errors_name(folder, temporary / "content"):
            extract_archive(source, temporary / "content")
        yield temporary / "content"


def _find_images(content: Path, classes: bool, result: ImportResult) -> dict[str, _Files]:
    """The images by class folder, all under "" without `classes`; `result` counts the others."""
    listing = walk_images(content)
    result.ignored.update(listing.ignored)
    images: _Files = [(each.path, None, each.reason) for each in listing.rejected]
    images += [(relative, file, "") for relative, file in listing.files]
    result.folders = len({relative.split("/")[0] for relative, _, _ in images if "/" in relative})
    splits = named_split_folders([relative for relative, _ in listing.files])
    by_class = dict[str, _Files]()
    for image in images:
        parts = image[0].split("/")
        located = splits.locate(image[0])
        depth = 1 if located is None else len(parts) - located[1].count("/")
        if classes and len(parts) <= depth:
            result.ignored[_LOOSE] += 1
        else:
            by_class.setdefault("/".join(parts[:depth]) if classes else "", []).append(image)
    return by_class


def _import_file(
    class_folder: ClassFolder, source: str, file: Path | None, *, reason: str, licence: str
) -> tuple[str, str]:
    """Copy one file, unless it has a reason for rejection; returns (status, reason)."""
    try:
        if file is not None:
            ingested = class_folder.ingest(read_file(file, source), source=source, licence=licence)
            return ingested.status, ingested.reason
    except ImageReadError as error:
        reason = error.reason
    class_folder.record(source, licence, REJECTED, reason=reason)
    return REJECTED, reason
