"""`sharpeye cache info` and `sharpeye cache clear`."""

import contextlib
import os
from pathlib import Path

from typer import Typer

from sharpeye.cli import console
from sharpeye.core.storage import FileLock, cache_root, os_errors_at
from sharpeye.data import duplicate_groups, thumbnail
from sharpeye.data.pixel_file import iter_pixel_sets
from sharpeye.data.vector_store import iter_vector_folders

app = Typer(help="Show or clear the cache.", add_completion=False, rich_markup_mode=None)


@app.command()
def info() -> None:
    """Show the cache's folder, contents and size."""
    root = cache_root()
    print(f"cache: {console.show(str(root))}")
    total = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    for folder, key, size in iter_vector_folders():
        text = f"{key.get('backbone', '?')}, view {key.get('view', '?')}"
        print(f"  features  {_mebibytes(size):>10}  {text}  ({folder.name})")
    for folder, key, size in iter_vector_folders(root / thumbnail.FOLDER):
        text = "ranges of brightness" if "range" in key else "thumbnails for finding copies"
        print(f"  looks     {_mebibytes(size):>10}  {text}  ({folder.name})")
    for file, header, size in iter_pixel_sets():
        spec = header.get("input", {})
        text = f"{header.get('pictures', '?')} images"
        text += f", {spec.get('width', '?')} x {spec.get('height', '?')} px"
        print(f"  pixels    {_mebibytes(size):>10}  {text}  ({file.stem})")
    for file in sorted((root / "backbones").glob("*.onnx")):
        print(f"  backbone  {_mebibytes(file.stat().st_size):>10}  {file.name}")
    print(f"  all       {_mebibytes(total):>10}")


@app.command()
def clear() -> None:
    """Delete the cache; later commands compute its content again.

    What another command is writing at the moment stays.
    """
    root = cache_root()
    folders = ("features", thumbnail.FOLDER, duplicate_groups.FOLDER, "pixels", "backbones")
    # Those of the studio are thumbnails of its lists.
    names = (*folders, "splits", "downloads", "weights", "studio")
    busy = [name for name in names if not _delete(root / name)]
    print(f"cleared {console.show(str(root))}")
    if busy:
        print(f"left: {', '.join(busy)}, which another command is writing; clear it again later")


def _delete(folder: Path) -> bool:
    """Delete a folder, but for folders with a lock that is held; returns whether all is gone."""
    if not folder.is_dir():
        return True
    with os_errors_at(folder), contextlib.ExitStack() as held:
        entries = list(folder.iterdir())
        # Another command may make a folder again that was just deleted.
        folders = [entry for entry in entries if entry.is_dir()]
        deleted = [_delete(entry) for entry in folders]
        locks = [entry for entry in entries if entry.suffix == ".lock"]
        for lock in map(FileLock, locks):
            if not lock.try_acquire():
                return False
            held.callback(lock.release)
        for file in {*entries}.difference(folders, locks):
            file.unlink(missing_ok=True)
        # A lock file is deleted while it is locked: who takes the lock later makes a new one.
        # Windows deletes no file that is locked.
        for lock_file in locks:
            with contextlib.suppress(PermissionError):
                lock_file.unlink(missing_ok=True)
    for lock_file in locks if os.name == "nt" else ():
        lock_file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a command has written meanwhile
        folder.rmdir()
    return all(deleted)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
