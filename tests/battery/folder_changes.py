"""Change a file of a data set as other programs do, also at the moment when a command opens it."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ash", "birch", "cedar")
PER_CLASS = 6


def bmp_photos(folder: Path, seed: int = 0) -> Path:
    """Tinted noise as BMP: all files have one size, so that any two can be exchanged unnoticed."""
    random = np.random.default_rng(seed)
    for channel, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            color = np.full(3, 128.0)
            color[channel] += random.normal(14, 22)
            pixels = np.clip(color + random.normal(0, 40, (40, 44, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{label}{number}.bmp")
    return folder


def _other_pixels(file: Path) -> bytes:
    """The same header with mirrored pixels: another valid image of the same size."""
    data = file.read_bytes()
    return data[:54] + data[54:][::-1]


def _replace(file: Path) -> None:
    temporary = file.with_name(".new")
    temporary.write_bytes(_other_pixels(file))
    temporary.replace(file)


def _replace_unnoticed(file: Path) -> None:
    """Same name, size and time of the last change; other bytes, in the same inode."""
    before = file.stat()
    data = _other_pixels(file)
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(bytes(1000))


def _link(file: Path) -> None:
    """A link to a copy that lies elsewhere."""
    elsewhere = file.parents[2] / f"elsewhere-{file.name}"
    shutil.copy2(file, elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)


def _dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parents[2] / "nothing")


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _rename(file: Path) -> None:
    file.rename(file.with_name(f"renamed-{file.name}"))


def _rename_class(file: Path) -> None:
    file.parent.rename(file.parent.with_name(f"{file.parent.name}-renamed"))


def _delete_class(file: Path) -> None:
    shutil.rmtree(file.parent)


def _forbid(file: Path) -> None:
    file.chmod(0)


CHANGES: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "replaced": _replace,
    "replaced with size and time unchanged": _replace_unnoticed,
    "truncated": _truncate,
    "grown": _grow,
    "touched": Path.touch,
    "a link": _link,
    "a dangling link": _dangling_link,
    "a FIFO": _fifo,
    "a folder": _folder,
    "renamed": _rename,
    "class renamed": _rename_class,
    "class deleted": _delete_class,
    "forbidden": _forbid,
}


class OpenHook:
    """Calls a function when the `number`-th file below a folder is about to be opened.

    It sees every file that Python opens in this process, in any thread. An audit hook cannot be
    removed; this one does nothing unless a folder is being watched.
    """

    def __init__(self) -> None:
        self.count = 0
        self._prefix, self._number = "", -1
        self._change: Callable[[], None] = lambda: None
        sys.addaudithook(self._audit)

    def watch(self, folder: Path, number: int, change: Callable[[], None]) -> None:
        self.count, self._number, self._change = 0, number, change
        self._prefix = f"{folder}{os.sep}"

    def stop(self) -> None:
        self._prefix = ""

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not self._prefix or not isinstance(arguments[0], str | bytes | Path):
            return
        if os.fsdecode(arguments[0]).startswith(self._prefix):
            self.count += 1
            if self.count == self._number:
                prefix, self._prefix = self._prefix, ""  # the change opens files, too
                self._change()
                self._prefix = prefix
