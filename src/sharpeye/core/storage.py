"""Atomic files, locks that end with their holder, and the location of the cache.

This module writes every file that SharpEye keeps: to a hidden temporary name in the same folder;
then it flushes the file, renames it to the final name, and flushes the folder. A process that is
killed at any moment leaves either the old file or the new one.
"""

import contextlib
import errno
import hashlib
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sharpeye.core.c_library import c_function
from sharpeye.core.paths import user_path
from sharpeye.core.temporaries import TEMPORARY_PREFIX as TEMPORARY_PREFIX
from sharpeye.core.temporaries import remove_stale_temporaries, temporary_folder
from sharpeye.core.temporaries import temporary_name as temporary_name
from sharpeye.errors import EnvironmentFault, SharpEyeError, one_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

_FULL_DISK_BYTES = 2**20  # less space than this explains why a library could not write

_ADVICE = {
    (errno.EACCES, errno.EPERM, errno.EROFS): "allow it, or choose another place",
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "free some room and run it again",
    (errno.ENOTDIR, errno.EEXIST, errno.EISDIR): "a file is where a folder should be, "
    "or a folder where a file should be",
}


def explain_os_error(error: OSError, path: Path, action: str = "write") -> EnvironmentFault:
    """Turn an error of the operating system into one line with the path and what to do.

    Args:
        action: what cannot be done, `write` or `open`.
    """
    for codes, advice in _ADVICE.items():
        if error.errno in codes:
            if _is_in_cache(path):
                advice += ", or set SHARPEYE_CACHE to another folder"
            return EnvironmentFault(f"cannot {action} {path}: {os.strerror(error.errno)}; {advice}")
    return EnvironmentFault(f"cannot {action} {path}: {error.strerror or error}")


def _is_in_cache(path: Path) -> bool:
    try:
        return path.absolute().is_relative_to(cache_root().absolute())
    except OSError:  # the current folder was deleted
        return False


@contextlib.contextmanager
def os_errors_at(path: Path) -> Iterator[None]:
    """Translate OSError raised inside into EnvironmentFault that names `path`."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


@contextlib.contextmanager
def errors_name(target: Path, temporary: Path) -> Iterator[None]:
    """Let errors raised inside name the target instead of the temporary path that becomes it.

    Functions that are given the temporary path, also those of other processes, name it.
    """
    try:
        yield
    except (SharpEyeError, OSError) as error:
        rename_in_error(error, target, temporary)
        raise


def rename_in_error(error: BaseException | None, target: Path, temporary: Path) -> None:
    """Replace a temporary path by its target in the message of an error of ours or of a system."""
    old, new = str(temporary), str(target)
    if isinstance(error, SharpEyeError):
        error.args = tuple(
            arg.replace(old, new) if isinstance(arg, str) else arg for arg in error.args
        )
    elif isinstance(error, OSError) and error.filename is not None:
        error.filename = os.fsdecode(error.filename).replace(old, new)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder among the system's temporary files, which is removed at the end.

    Errors name the folder around it. EnvironmentFault if it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder())
        except OSError as error:
            if error.filename is None:  # from the module `tempfile`
                raise EnvironmentFault(
                    f"{error.strerror}; set TMPDIR to a folder that can be written"
                ) from None
            raise explain_os_error(error, Path(error.filename).parent) from error
        with errors_name(folder.parent, folder):
            yield folder


@contextlib.contextmanager
def library_errors_at(path: Path, expected_bytes: int = 0) -> Iterator[None]:
    """Translate any error of a library that writes files itself into EnvironmentFault.

    Such libraries do not tell a full disk from other faults, which their callers exclude before.

    Args:
        expected_bytes: about the size of what is written: a disk with less space is taken for full,
            as the library may have deleted what it could not complete.
    """
    with os_errors_at(path):
        try:
            yield
        except (SharpEyeError, OSError, MemoryError):
            raise
        except Exception as error:
            reason = one_line(error) or type(error).__name__
            if shutil.disk_usage(path.parent).free < max(_FULL_DISK_BYTES, expected_bytes):
                raise OSError(errno.ENOSPC, reason) from error
            raise EnvironmentFault(f"cannot write {path}: {reason}") from None


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; EnvironmentFault if that fails."""
    with os_errors_at(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def flush_file(path: Path) -> None:
    """fsync a file, so that its bytes reach the disk before its name does."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """fsync a folder, so that a rename in it survives a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def flush_disk(folder: Path) -> bool:
    """Flush everything on the disk of a folder in one call; False if the system cannot."""
    sync = c_function("syncfs")
    if sync is None:
        return False
    import ctypes

    handle = os.open(folder, os.O_RDONLY)
    try:
        if sync(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)
    return True


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file there replaces `path` at the end.

    EnvironmentFault if the disk is full or not writable; `path` is then unchanged.
    """
    temporary = path.with_name(temporary_name(path.suffix))
    remove_stale_temporaries(path.parent)
    try:
        with errors_name(path, temporary), os_errors_at(path):
            yield temporary
            flush_file(temporary)
            temporary.replace(path)
            flush_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_open(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears, complete, when the block ends without an error."""
    if "b" not in mode:
        options = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"} | options
    with atomic_path(path) as temporary, temporary.open(mode, **options) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with atomic_open(path) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file completely or not at all."""
    with atomic_open(path, "wb") as file:
        file.write(data)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_root() -> Path:
    """`$SHARPEYE_CACHE`, else the platform's cache folder. It is not created here."""
    if chosen := os.environ.get("SHARPEYE_CACHE"):
        return user_path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("sharpeye", appauthor=False))


class FileLock:
    """An operating-system lock on a file, which ends with the process that holds it.

    Use it as a context manager, which waits for the lock, or through `try_acquire` and `release`.
    The lock has a file of its own: on Windows a locked file cannot be read, and older versions of
    filelock empty it. EnvironmentFault if that file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BaseFileLock | None = None

    def try_acquire(self, *, wait_seconds: float = 0) -> bool:
        """Take the lock; False if another holder has it for so long."""
        import filelock  # takes 0.04 s, and predicting needs no lock

        with os_errors_at(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Threads share the lock, as they share the object.
            lock = filelock.FileLock(self.path, thread_local=False)
            try:
                lock.acquire(timeout=-1 if wait_seconds == math.inf else wait_seconds)
            except filelock.Timeout:
                return False
            except NotImplementedError:  # of older versions of filelock
                raise OSError(errno.ENOSYS, "its file system has no locks") from None
        self._lock = lock
        return True

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def is_held(self) -> bool:
        """Whether somebody holds the lock. For a moment, nobody else can take it.

        Unlike `try_acquire` it creates no file: a folder that is being deleted stays so.
        """
        if sys.platform == "win32":
            free = not self.path.is_file() or self.try_acquire()
            self.release()
            return not free
        import fcntl

        try:
            with self.path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def __enter__(self) -> "FileLock":
        self.try_acquire(wait_seconds=math.inf)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
