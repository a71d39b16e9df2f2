"""Images of an archive or a folder into a class folder, or into one a class."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.collect.archives import extract_archive
from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import REJECTED, UNKNOWN
from sharpeye.collect.urls import CollectCounts, Tell
from sharpeye.core import storage
from sharpeye.data.file_walk import IMAGE_SUFFIXES, has_image_signature, printable, walk_files
from sharpeye.data.image_folder import given_splits
from sharpeye.errors import DataError, ImageReadError, UsageError
from sharpeye.images.decode import read_file

_TOLD_EVERY = 16


@dataclass
class ImportResult:
    """What was found besides what the tally counts.

    Attributes:
        classes: folders that were filled.
        ignored: files that are no images, by suffix.
        folders: folders of images that the source has on its top floor.
    """

    classes: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    folders: int = 0


def import_images(
    source: Path,
    folder: Path,
    *,
    tally: CollectCounts,
    classes: bool = False,
    licence: str = UNKNOWN,
    tell: Tell = lambda *_: None,
) -> ImportResult:
    """Copy the images of an archive or a folder; the source is not changed.

    Args:
        source: a zip, a tar (plain, or packed by gzip, bzip2, xz), or a folder.
        folder: the class's; with `classes` the data set's.
        tally: is added to, also if this ends by an error.
        classes: each top folder of the source is a class and keeps its name; parts such as
            `train/` and `test/` stay parts.
        tell: is told ("collect", done, of how many).

    Raises:
        UsageError: no such source.
        ModelError: the archive is damaged, or breaks a rule; nothing was imported.
        DataError: there is no image in it.
        EnvironmentFault: disk full, no permission.
    """
    with _content(source, folder) as content:
        found, imported = _find(content, classes)
        total = sum(len(files) for files in found.values())
        if not total:
            raise DataError(_nothing(source, imported, classes))
        done = 0
        # One class after the other: each finds what those before it have got.
        for label, files in found.items():
            with ClassFolder(folder / label if classes else folder) as opened:
                for relative, file, reason in files:
                    _take(opened, f"{source}/{printable(relative)}", file, reason, licence, tally)
                    done += 1
                    if done % _TOLD_EVERY == 0 or done == total:
                        tell("collect", done, total)
            imported.classes.append(label)
    return imported


_Files = list[tuple[str, Path | None, str]]  # (path in the source, file, why it cannot be read)


@contextlib.contextmanager
def _content(source: Path, folder: Path) -> Iterator[Path]:
    """The folder itself, or what an archive holds, for as long as the block runs."""
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise UsageError(f"no such file or folder: {source}; give a zip, a tar or a folder")
    place = storage.make_folder(folder.resolve().parent)  # the same disk as the images'
    with storage.os_errors_at(place):
        temporary = tempfile.TemporaryDirectory(
            prefix=storage.TEMPORARY_PREFIX, dir=place, ignore_cleanup_errors=True
        )
    with temporary as name:
        extract_archive(source, Path(name) / "content")
        yield Path(name) / "content"


def _find(content: Path, classes: bool) -> tuple[dict[str, _Files], ImportResult]:
    """The images by class folder; without `classes` all are of one, called by nothing."""
    files, rejected = walk_files(content)
    imported, found = ImportResult(), dict[str, _Files]()
    images: _Files = [(each.path, None, each.reason) for each in rejected]
    for relative, file in files:
        suffix = file.suffix.casefold()
        if suffix and suffix not in IMAGE_SUFFIXES and not has_image_signature(file):
            imported.ignored[suffix] += 1
        else:
            images.append((relative, file, ""))
    top = {relative.split("/")[0] for relative, _, _ in images if "/" in relative}
    imported.folders = len(top)
    depth = 2 if classes and given_splits(top) else 1
    for each in images:
        pieces = each[0].split("/")
        if not classes:
            found.setdefault("", []).append(each)
        elif len(pieces) <= depth:
            imported.ignored["in no class's folder"] += 1
        else:
            found.setdefault("/".join(pieces[:depth]), []).append(each)
    return found, imported


def _take(
    opened: ClassFolder,
    source: str,
    file: Path | None,
    reason: str,
    licence: str,
    tally: CollectCounts,
) -> None:
    if file is not None:
        try:
            done = opened.ingest(read_file(file, source), source=source, licence=licence)
            tally.count(source, done.status, done.reason)
            return
        except ImageReadError as error:
            reason = error.reason
    opened.record(source, licence, REJECTED, reason)
    tally.count(source, REJECTED, reason)


def _nothing(source: Path, imported: ImportResult, classes: bool) -> str:
    loose = imported.ignored["in no class's folder"]
    if classes and loose:
        return (
            f"{source} has {loose} pictures, but in no sub-folder a class; leave out --classes and "
            "name the class's folder"
        )
    return f"no pictures in {source}; give an archive or a folder that has some"
