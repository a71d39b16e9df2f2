"""Run commands as the user `nobody`, who may write only where a test lets them."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sharpeye
from battery.processes import EndedProcess, run_process
from runner import command, environment

NOBODY = 65534
UNSET = "(unset)"  # in place of a variable's value

# Python or SharpEye may lie in a folder that only root may enter, such as /root. In a mount
# namespace of the new process, the folders that it needs are mounted into an empty one instead.
# Arguments: a folder for mounts, then pairs of (closed folder, needed folder in it), `--`, command.
_SCRIPT = """
set -e
stash=$1; shift
closed=; number=0
mount -t tmpfs tmpfs "$stash"
while [ "$1" != -- ]; do
    if [ "$1" != "$closed" ]; then
        closed=$1
        number=$((number + 1))
        mkdir "$stash/$number"
        mount --rbind "$closed" "$stash/$number"
        mount -t tmpfs -o mode=755 tmpfs "$closed"
    fi
    (umask 022; mkdir -p "$2")
    mount --rbind "$stash/$number/${2#"$closed"}" "$2"
    shift 2
done
shift
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
"""


def is_possible(root: Path) -> bool:
    """Whether this machine lets the test become another user."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"):
        return False
    try:
        return run_as_nobody([sys.executable, "-c", ""], root, env=dict(os.environ)).code == 0
    except OSError:
        return False


def run_as_nobody(
    arguments: Sequence[str],
    stash: Path,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    preexec: Callable[[], None] | None = None,
    timeout: float = 120,
) -> EndedProcess:
    """Run a process as `nobody`. `stash` is an empty folder."""
    closed = [word for pair in _closed_folders() for word in map(str, pair)]
    wrapper = ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(stash), *closed, "--"]
    return run_process([*wrapper, *arguments], env=env, cwd=cwd, preexec=preexec, timeout=timeout)


def sharpeye_as_nobody(
    *arguments: str | Path,
    stash: Path,
    cache: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    preexec: Callable[[], None] | None = None,
    wrapper: Sequence[str] = (),
) -> EndedProcess:
    """Run one command of SharpEye as `nobody`; variables of `env` may be UNSET."""
    variables = {**environment(cache), "PYTHONDONTWRITEBYTECODE": "1", **env}
    variables = {name: value for name, value in variables.items() if value != UNSET}
    return run_as_nobody(
        [*wrapper, *command(*arguments)], stash, env=variables, cwd=cwd, preexec=preexec
    )


def _closed_folders() -> list[tuple[Path, Path]]:
    """(folder that others may not enter, folder that Python needs in it), the former sorted."""
    needed = {Path(sys.base_prefix), Path(sys.prefix), Path(sharpeye.__file__).parents[1]}
    pairs = set()
    for folder in needed:
        for parent in [*reversed(folder.parents), folder]:
            if not parent.stat().st_mode & 0o001:
                pairs.add((parent, folder))
                break
    return sorted(pairs)


def set_owner(path: Path, *, owner: int = NOBODY) -> Path:
    """Change the owner of a file, or of a folder with all that is in it."""
    for entry in [path, *path.rglob("*")]:
        os.chown(entry, owner, owner, follow_symlinks=False)
    return path


def set_modes(path: Path, folders: int, files: int) -> Path:
    """Set the modes of a folder and of all that is in it."""
    for entry in [*path.rglob("*"), path]:
        entry.chmod(folders if entry.is_dir() else files)
    return path
