"""Read model files that others wrote: regular files of bounded size, without links elsewhere."""

from pathlib import Path

from sharpeye.core.paths import resolve_links
from sharpeye.core.regular_files import read_regular_file
from sharpeye.errors import EnvironmentFault, ModelError

MAX_MODEL_BYTES = 2**30


def read_bounded(file: Path, max_bytes: int, folder: Path | None = None) -> bytes:
    """The bytes of a regular file, read once.

    Args:
        folder: a link must not lead out of it; if None, a link may lead to any file of the same
            suffix.

    Raises:
        ModelError: it is missing, not a regular file, too large, or a forbidden link.
        EnvironmentFault: this user may not read it.
    """
    _check_link(file, folder)
    try:
        return read_regular_file(file, max_bytes)
    except PermissionError as error:
        raise EnvironmentFault(f"cannot open {file}: {error.strerror}; allow it") from None
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(str(error)) from None


def _check_link(file: Path, folder: Path | None) -> None:
    try:
        if folder is None and not file.is_symlink():
            return
        target = resolve_links(file)
    except (OSError, RuntimeError):
        raise ModelError(f"{file} is a link that leads nowhere") from None
    if folder is None:
        allowed = target.suffix == file.suffix
    else:
        allowed = target.is_relative_to(folder.resolve())
    if not allowed:
        raise ModelError(f"{file} is a link to another place; put a copy of the file there instead")
