"""Names of temporary files and folders, and the removal of those whose process was killed.

A temporary name holds its process. Whatever writes into a folder first removes what killed
processes have left there; it never touches what a process may still write to.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".sharpeye-tmp-"

# PREFIX-system-process-random, with any suffix; earlier versions left the system out.
_NAME = re.compile(
    re.escape(TEMPORARY_PREFIX) + r"(?:([0-9a-f]{8})-)?([0-9]{1,10})-[0-9a-f]{8}(?:\..*)?"
)
_FOLDER_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"[a-z0-9_]{8}")  # of earlier versions
_CAN_ASK = os.name != "nt"  # on Windows, `os.kill` with signal 0 would end the process
# Of another system, or of an earlier boot, nobody knows which processes live.
_MAX_AGE_SECONDS = 2 * 24 * 3600


def temporary_name(suffix: str = "") -> str:
    """A hidden name that no other process uses."""
    return f"{TEMPORARY_PREFIX}{_system()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new hidden folder, which is removed at the end if it still exists; OSError.

    Args:
        parent: the folder around it; by default the system's folder for temporary files, where
            nobody else may open it.
    """
    folder = (parent or Path(tempfile.gettempdir())) / temporary_name()
    remove_stale_temporaries(folder.parent)
    folder.mkdir(mode=0o777 if parent else 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.lru_cache(maxsize=4096)
def remove_stale_temporaries(folder: Path) -> None:
    """Delete temporary files and folders of killed processes, once in each folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX) and _is_stale(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()


def _is_stale(entry: os.DirEntry[str]) -> bool:
    name = _NAME.fullmatch(entry.name)
    if name and name[1] == _system() and _CAN_ASK:
        return not _is_alive(int(name[2]))
    if name or (_FOLDER_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
        return time.time() - _last_change(Path(entry.path)) > _MAX_AGE_SECONDS
    return False


def _is_alive(process: int) -> bool:
    """Whether there is a process of this number; it may be a later one, which does no harm."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user
        return True
    return True


def _last_change(path: Path) -> float:
    """The time of the last change of a file, or of anything in a folder, seconds since 1970."""
    latest = path.lstat().st_mtime
    for inner in path.rglob("*"):
        with contextlib.suppress(OSError):
            latest = max(latest, inner.lstat().st_mtime)
    return latest


@functools.cache
def _system() -> str:
    """Names the system in which process numbers count: a machine since its start, or a container
    on it. Another one may write to the same disk.
    """
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    identifiers = [node]
    with contextlib.suppress(OSError):
        identifiers.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        identifiers.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(identifiers).encode("utf-8", "replace")).hexdigest()[:8]
