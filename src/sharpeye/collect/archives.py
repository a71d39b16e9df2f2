"""Unpack archives from sources that are not trusted.

Regular files and folders with plain relative names are unpacked; any other member is an error, and
so is one that would fill memory or disk. The files go into a hidden folder beside the final one,
which is renamed after the last byte of the archive. Files are not flushed one by one: after a power
cut they can be unpacked again.
"""

import contextlib
import errno
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sharpeye.core import storage
from sharpeye.core.archive_members import ArchiveRefused, Member, read_members
from sharpeye.core.atomic_folder import atomic_folder, require_free
from sharpeye.core.regular_files import open_regular
from sharpeye.data.system_names import is_system_name
from sharpeye.errors import EnvironmentFault, ModelError, SharpEyeError, one_line

MAX_MEMBERS = 1_000_000
MAX_BYTES = 20 * 2**30  # unpacked
MAX_RATIO = 200  # unpacked to packed: about 1 for photographs, some tens for bitmap drawings
FREE_BYTES = 64 * 2**20  # allowed at any ratio
_MAX_DEPTH = 64
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 1024  # the limit of common file systems
_CHUNK_BYTES = 2**17

_Entry = tuple[PurePosixPath, bool]  # a member's path, and whether it is a folder


def extract_archive(archive: Path, folder: Path) -> int:
    """Unpack a zip or tar (plain, gzip, bzip2 or xz); returns the number of files.

    Names that systems write (`__MACOSX`, `.DS_Store`, `$RECYCLE.BIN`) are left out; others become
    composed Unicode (NFC). If these lie in one folder, or have only files such as a licence beside
    a folder of folders, this folder's content moves up into `folder`. Modes are those of new files,
    644 and 755.

    Args:
        folder: the target; it does not exist yet, or is empty.

    Raises:
        UsageError: `folder` is taken.
        ModelError: not an archive, a damaged one, or one with a forbidden member.
        EnvironmentFault: disk full, no permission. After any error, the folder is removed.
    """
    target = require_free(folder)
    try:
        file = open_regular(archive)
    except OSError as error:
        raise EnvironmentFault(f"cannot read {archive}: {error.strerror or error}") from error
    with file, atomic_folder(target) as temporary, _archive_errors(archive):
        packed = os.fstat(file.fileno()).st_size
        limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * packed))
        with contextlib.closing(read_members(file, limit, max_members=MAX_MEMBERS)) as members:
            count = _unpack(members, temporary)
        _lift_only_folder(temporary)
    return count


@contextlib.contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    """Raise a broken rule, and any error of a reader on a damaged archive, as ModelError."""
    try:
        yield
    except (SharpEyeError, MemoryError):
        raise
    except ArchiveRefused as error:
        raise ModelError(f"{archive} is refused: {error}; nothing was unpacked") from None
    except Exception as error:
        # Decompressors give an OSError no number; EINVAL comes from a seek to before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = one_line(error) or type(error).__name__
        raise ModelError(
            f"{archive} is damaged, or is no zip or tar archive: {reason}; nothing was unpacked"
        ) from None


def _unpack(members: Iterator[Member], folder: Path) -> int:
    """Check and write each member; returns the number of files."""
    entries: dict[str, _Entry] = {}
    count = 0
    for member in members:
        path = PurePosixPath(unicodedata.normalize("NFC", member.name))  # macOS decomposes names
        if not _leads_out(member.name) and any(map(is_system_name, path.parts)):
            continue  # also `Icon` with a carriage return, which macOS writes
        entry = (path, member.is_folder)
        refusal = _bad_name(member.name) or member.refusal or _add_entry(entry, entries)
        if refusal:
            raise ArchiveRefused(f"its member {_shorten(member.name)} {refusal}")
        target = folder / path
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
            size = file.tell()
        if size != member.size:
            raise ArchiveRefused(
                f"its member {_shorten(member.name)} has {size:,} bytes instead of {member.size:,}"
            )
        count += 1
    if not count:
        raise ArchiveRefused("there is no file in it")
    return count


def _shorten(name: str) -> str:
    """A member's name for a message; the format allows a megabyte."""
    return repr(name if len(name) <= 100 else name[:100] + "...")


def _leads_out(name: str) -> bool:
    return "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts


def _bad_name(name: str) -> str:
    """The problem with a member's name; empty if there is none."""
    parts = PurePosixPath(name).parts
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    too_long = max(sizes, default=0) > _MAX_NAME_BYTES or sum(sizes) > _MAX_PATH_BYTES
    rules = {
        "has a control character in its name": any(ord(c) < 32 or ord(c) == 127 for c in name),
        "has a backslash in its name": "\\" in name,
        "has an absolute path": name.startswith("/") or re.match("[A-Za-z]:", name) is not None,
        "leads out of the folder": ".." in parts,
        f"lies deeper than {_MAX_DEPTH} folders": len(parts) > _MAX_DEPTH,
        "has too long a name": too_long,
    }
    return next((rule for rule, broken in rules.items() if broken), "")


def _add_entry(new: _Entry, entries: dict[str, _Entry]) -> str:
    """Add a path and the folders above it, by spelling; returns the problem, if any."""
    path, is_folder = new
    if not path.parts and not is_folder:
        return "has no name"
    for ancestor in (path, *path.parents)[:-1]:
        entry = (ancestor, is_folder or ancestor != path)
        first = entries.setdefault(_spelling(str(ancestor)), entry)
        if first[0] != ancestor:
            return f"is {_shorten(str(first[0]))} in another spelling"
        if first is not entry and not (first[1] and entry[1]):
            return "is there twice"
    return ""


def _spelling(name: str) -> str:
    """A key that is equal for names that are one file on some disks."""
    return unicodedata.normalize("NFC", name).casefold()


def _lift_only_folder(folder: Path) -> None:
    """Move the content of the only folder one level up, unless names conflict there."""
    folders = [entry for entry in folder.iterdir() if entry.is_dir()]
    if len(folders) != 1:
        return
    (only,) = folders
    beside = {_spelling(entry.name) for entry in folder.iterdir() if entry != only}
    if beside:
        # With files beside it, a folder of images may be a class; a folder of folders is not.
        inside = list(only.iterdir())
        clash = any(_spelling(entry.name) in beside for entry in inside)
        if clash or not any(entry.is_dir() for entry in inside):
            return
    # Rename the folder first: it may hold an entry of its own name.
    only = only.rename(folder / storage.temporary_name())
    for entry in list(only.iterdir()):
        entry.rename(folder / entry.name)
    only.rmdir()
