"""Paths as users type them, and paths in commands that users copy."""

import os
import re
import shlex
from pathlib import Path

from sharpeye.errors import UsageError

MAX_NAME_BYTES = 255  # of a file's name, on nearly all file systems

# `~/run`, `--output=~/run`, `-o~/run`, `data.folder=~/photos`
_HOME_IN_ARGUMENT = re.compile(r"((?:-\w|.*?=)?)(~.*)", re.DOTALL)


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path that a user means: `~` and `~name` at the beginning are home folders.

    A shell expands them only at the beginning of a word, thus not in `--output=~/run`.

    Raises:
        UsageError: there is no user of that name, nor a file or a folder.
    """
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        if path.exists():
            return path
        home = path.parts[0]
        raise UsageError(
            f"{text}: there is no home folder {home} on this machine; write ./{text} for a folder "
            f"that is called {home}"
        ) from None


def expand_homes(argument: str) -> str:
    """A command line's argument with the home folder for `~`, also behind an option's name."""
    match = _HOME_IN_ARGUMENT.fullmatch(argument)
    if match is None or _exists(argument):
        return argument
    prefix, path = match.groups()
    # Without a slash it may be a word, or the name of a file that does not exist.
    return prefix + (str(user_path(path)) if "/" in path or path == "~" else path)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # It is too long for a name, or has a null character.
        return False


def name_that_fits(stem: str, ending: str) -> str:
    """`stem` and `ending` as a file's name; the stem is cut where both are longer than a name."""
    while stem and len(os.fsencode(stem + ending)) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return stem + ending


def shell_quote(text: str | os.PathLike[str]) -> str:
    """A path as a word of a command line that a user can copy into a POSIX shell.

    A path that begins with a dash gets `./` before it, as it would be an option.
    """
    word = os.fspath(text)
    if isinstance(text, os.PathLike) and word.startswith("-"):
        word = f"./{word}"
    return shlex.quote(word)


def command_line(*words: str | os.PathLike[str]) -> str:
    """A command that a user can copy: `sharpeye predict 'my runs/first' PICTURE`."""
    return " ".join(map(shell_quote, words))


def resolve_links(path: Path) -> Path:
    """`path.resolve()`, with an error for links in a loop, for which Python 3.13 has none.

    Raises:
        OSError, RuntimeError: the links lead in a loop, or a name is too long.
    """
    try:
        return path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve()


def lies_inside(path: Path, folder: Path) -> bool:
    """Whether a path, which may not exist yet, is a folder or lies in it."""
    return path.resolve().is_relative_to(folder.resolve())


def require_outside(path: Path | None, data: Path, option: str) -> None:
    """Raise UsageError for an output in the data set, where it would become a class."""
    if path is not None and lies_inside(path, data):
        raise UsageError(f"{path} lies in {data}; give {option} a folder outside of it")
