"""Scan a folder of array files (such as CIFAR and MNIST) with a sample per row, and read images.

The files lie in the folder or in its only sub-folder, in a layout of `array_layouts.py`.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from sharpeye.core.arrays import Ints, Pixels
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.array_layouts import LAYOUTS, ArrayLayout, layout_of
from sharpeye.data.file_walk import natural_key
from sharpeye.errors import DataError, ImageReadError

# All of CIFAR-10 is 176 MiB, the training images of CIFAR-100 are 147 MiB.
_MAX_CACHE_BYTES = 512 * 2**20

# The state and images of array files; the least recently used are dropped first.
_CACHE: OrderedDict[Path, tuple[tuple[int, ...], Pixels]] = OrderedDict()
_CACHE_LOCK = threading.Lock()


def scan_array_files(root: Path, *, follow_links: bool = False) -> SampleSet | None:
    """The rows of the array files of a folder, or None if it holds none.

    Samples have a `row`, and no digest yet. Class indices are those of the files.

    Raises:
        DataError: a file is damaged, missing, outside the folder, or has a label without a name.
    """
    for folder in _candidate_folders(root):
        names = _names(folder, os.DirEntry.is_file)
        layouts = [layout for layout in LAYOUTS if layout.matches(folder, names)]
        if len(layouts) > 1:
            raise DataError(
                f"{folder} holds {layouts[0].title} and {layouts[1].title}; keep one of them in it"
            )
        if layouts:
            return _scan(root, folder, names, layout=layouts[0], follow_links=follow_links)
    return None


def read_array_file(file: Path) -> Pixels:
    """uint8[N,H,W,C], read-only: the images of one array file, which are cached. Thread-safe.

    C is 1 (grey) or 3 (RGB).

    Raises:
        ImageReadError: it cannot be read, or is damaged.
    """
    with _CACHE_LOCK:
        cached = _CACHE.get(file)
        if cached is None or cached[0] != _file_state(file):
            return _read_and_cache(file, layout_of(file))[0]
        _CACHE.move_to_end(file)
        return cached[1]


def _read_and_cache(file: Path, layout: ArrayLayout) -> tuple[Pixels, Ints]:
    _CACHE.pop(file, None)
    state = _file_state(file)
    pixels, labels = layout.read(file)
    pixels.flags.writeable = False
    _CACHE[file] = (state, pixels)
    while len(_CACHE) > 1 and sum(p.nbytes for _, p in _CACHE.values()) > _MAX_CACHE_BYTES:
        _CACHE.popitem(last=False)
    return pixels, labels


def _file_state(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as error:
        raise ImageReadError(str(file), f"cannot be opened: {error.strerror}") from None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _candidate_folders(root: Path) -> list[Path]:
    """The folder itself and, if it has exactly one, its sub-folder."""
    folders = [name for name in _names(root, os.DirEntry.is_dir) if not name.startswith(".")]
    return [root, root / folders[0]] if len(folders) == 1 else [root]


def _names(folder: Path, condition: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if condition(entry)]
    except OSError:  # the scan of image files reports it
        return []
    return sorted(names, key=natural_key)


def _scan(
    root: Path, folder: Path, names: Sequence[str], *, layout: ArrayLayout, follow_links: bool
) -> SampleSet:
    _refuse_outside_link(root, folder / layout.names_file, follow_links)
    class_names = layout.class_names(folder)
    samples: list[Sample] = []
    for name in filter(layout.images.fullmatch, names):
        if name.endswith(".gz") and name.removesuffix(".gz") in names:
            continue  # the folder also holds it unpacked
        file = folder / name
        _refuse_outside_link(root, file, follow_links)
        split: Split = "test" if name.startswith(("test", "t10k")) else "train"
        samples += _row_samples(root, file, layout, class_names=class_names, split=split)
    used = {sample.label for sample in samples}
    return SampleSet(
        root=root,
        samples=tuple(samples),
        class_names=tuple(name for name in class_names if name in used),
        given_splits=True,
    )


def _row_samples(
    root: Path, file: Path, layout: ArrayLayout, *, class_names: Sequence[str], split: Split
) -> list[Sample]:
    with _CACHE_LOCK:
        _, labels = _read_and_cache(file, layout)
    invalid = (labels < 0) | (labels >= len(class_names))
    if invalid.any():
        row = int(invalid.argmax())
        advice = "get the file again"
        if layout.default_names:
            advice = f"write the class names into {layout.names_file}, one a line"
        raise DataError(
            f"{file}: the label of row {row} is {labels[row]}, but there are {len(class_names)} "
            f"class names, 0 to {len(class_names) - 1}; {advice}"
        )
    stem = file.relative_to(root).as_posix().removesuffix(".gz").removesuffix(".bin")
    return [
        Sample(f"{stem}/{row:05d}", file, class_names[label], split, row=row)
        for row, label in enumerate(labels.tolist())
    ]


def _refuse_outside_link(root: Path, file: Path, follow_links: bool) -> None:
    if not follow_links and not file.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{file} is a symbolic link that leads out of the folder; "
            "with --follow-links it is followed"
        )
