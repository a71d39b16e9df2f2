"""Paths as users type them, and paths in commands that users copy."""

import os
import shlex
from pathlib import Path


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path that a user means: `~` and `~name` at the beginning are home folders.

    A shell expands them only at the beginning of a word, thus not in `--output=~/run`.
    """
    return Path(text).expanduser()


def shell_quote(text: str | os.PathLike[str]) -> str:
    """A path as a word of a command line that a user can copy into a POSIX shell."""
    return shlex.quote(os.fspath(text))
