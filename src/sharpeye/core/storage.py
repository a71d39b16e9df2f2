"""Files that appear whole or not at all, locks that die with their holder, and the cache's place.

Every file that SharpEye keeps is written through here: to a hidden temporary name in the same
folder, flushed, renamed over the final name, and the folder flushed. Whoever is killed at any
moment leaves either the old file or the new one.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sharpeye.errors import BusyError, EnvironmentFault

TEMPORARY_PREFIX = ".sharpeye-tmp-"


def explain_os_error(error: OSError, path: Path) -> EnvironmentFault:
    """Turn what the operating system says into one line with the path and what to do."""
    code = error.errno
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFault(
            f"cannot write {path}: {os.strerror(code)}; choose another place with --output, "
            "or set SHARPEYE_CACHE for the cache"
        )
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return EnvironmentFault(
            f"cannot write {path}: {os.strerror(code)}; free some room and run it again"
        )
    if code in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return EnvironmentFault(
            f"cannot write {path}: {os.strerror(code)}; a file is where a folder should be, "
            "or a folder where a file should be"
        )
    return EnvironmentFault(f"cannot write {path}: {error.strerror or error}")


@contextlib.contextmanager
def os_errors_at(path: Path) -> Iterator[None]:
    """Translate OSError raised inside into EnvironmentFault that names `path`."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        EnvironmentFault: it cannot be created.
    """
    with os_errors_at(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def flush_file(path: Path) -> None:
    """fsync a file, so that its bytes are on the disk before its name is."""
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


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is there at the end becomes `path`.

    Raises:
        EnvironmentFault: disk full, no permission; `path` is then as it was before.
    """
    temporary = path.with_name(
        f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    )
    try:
        with os_errors_at(path):
            yield temporary
            flush_file(temporary)
            temporary.replace(path)
            flush_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_open(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears whole when the block ends without an error."""
    if "b" not in mode:
        options = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"} | options
    with atomic_path(path) as temporary, temporary.open(mode, **options) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_open(path) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with atomic_open(path, "wb") as file:
        file.write(data)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_root() -> Path:
    """`$SHARPEYE_CACHE`, else the platform's cache folder. It is not created here."""
    chosen = os.environ.get("SHARPEYE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("sharpeye", appauthor=False))


class FileLock:
    """An operating-system lock on a file: it ends with the process that holds it.

    Use as a context manager, or `try_acquire` and `release`. Where the file system has no
    locks, it is always granted: results stay right, work may be done twice.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path, self.shared = path, shared
        self._handle: int | None = None

    def try_acquire(self, *, wait: bool = False) -> bool:
        """Take the lock; False if another process holds it and `wait` is off."""
        while True:
            with os_errors_at(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                granted = _lock(handle, shared=self.shared, wait=wait)
                current = not granted or _is_same_file(handle, self.path)
            except BaseException:
                os.close(handle)
                raise
            if granted and current:
                self._handle = handle
                return True
            os.close(handle)
            if not granted:
                return False

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FileLock":
        if not self.try_acquire(wait=True):
            raise BusyError(f"{self.path} is held by another process; wait for it to end")
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_same_file(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`: who held the lock may have removed it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(handle)
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)


def _lock(handle: int, *, shared: bool, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks through the standard library's fcntl
        return True
    flags = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, flags)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True
