"""A folder of array files: CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST and what is kept like them.

    data_batch_1 .. data_batch_5, test_batch, batches.meta               CIFAR-10 in Python's format
    data_batch_1.bin .., test_batch.bin, batches.meta.txt                its binary format
    train, test, meta                                                    CIFAR-100 in Python's
    train.bin, test.bin, fine_label_names.txt                            its binary format
    {train,t10k}-images-idx3-ubyte[.gz], {train,t10k}-labels-idx1-ubyte[.gz] [, labels.txt]

They lie in the folder itself or in its only sub-folder. Each row is a sample; a class is known by
the name that the files give its number. Without `labels.txt`, IDX labels are the digits 0 to 9.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.cifar_files import read_binary_batch, read_pickled_batch, read_pickled_names
from sharpeye.data.idx_files import read_images, read_labels
from sharpeye.errors import DataError, ImageReadError
from sharpeye.images.decode import DecodeLimits, read_file

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_IDX_IMAGES = re.compile(r"(train|t10k)-images[-.]idx3-ubyte(\.gz)?")
_DIGITS = [str(digit) for digit in range(10)]
_NAMES_LIMIT = DecodeLimits(file_bytes=2**20)
# All of CIFAR-10 is 176 MiB, the training part of CIFAR-100 147 MiB.
_KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which array files are kept.

    Attributes:
        name: as people call it.
        images: matches the names of the files that hold images, and nothing else.
        tested: begins the names of those that are for the test; the others are for training.
        names: the file with the class names; where it is missing, `default` has them.
        default: class names by number; None if the file must be there.
        read_names: reads that file.
        read: a file of images to uint8[N,H,W,C] and int64[N] labels.
    """

    name: str
    images: re.Pattern[str]
    tested: str
    names: str
    default: Sequence[str] | None
    read_names: Callable[[Path], list[str]]
    read: Callable[[Path], tuple[Pixels, Labels]]


def scan_array_files(root: Path, *, follow_links: bool = False) -> SampleSet | None:
    """The rows of the array files of a folder, or None if it holds none.

    Returns:
        a SampleSet without digests, whose samples have a `row`; labels in the order of their
        numbers, so that a class has the index that it has in the files.

    Raises:
        DataError: a file is damaged, missing, out of the folder, or labels an image with a
            number that has no name.
    """
    for folder in _places(root):
        names = _files(folder)
        layouts = [layout for layout in LAYOUTS if _is_kept_as(layout, folder, names)]
        if len(layouts) > 1:
            raise DataError(
                f"{folder} holds {layouts[0].name} and {layouts[1].name}; keep one of them in it"
            )
        if layouts:
            return _scan(root, folder, names, layouts[0], follow_links)
    return None


def read_array_file(file: Path) -> Pixels:
    """The images of one array file, kept in memory for those who ask for another row.

    Safe to call from several threads.

    Returns:
        uint8[N,H,W,C], 0..255, C is 1 (grey) or 3 (RGB); not to be written to.

    Raises:
        ImageReadError: it cannot be read, or is damaged.
    """
    return _KEPT.pixels(file)


class _Kept:
    """Images of array files in memory, by file and its state; the least used ones go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, tuple[tuple[int, ...], Pixels]] = OrderedDict()

    def pixels(self, file: Path) -> Pixels:
        with self._lock:
            kept = self._files.get(file)
            if kept is None or kept[0] != _state(file):
                return self._read(file, _layout_of(file))[0]
            self._files.move_to_end(file)
            return kept[1]

    def labels(self, file: Path, layout: Layout) -> Labels:
        """Read the file, whatever is kept of it, and keep its images."""
        with self._lock:
            return self._read(file, layout)[1]

    def _read(self, file: Path, layout: Layout) -> tuple[Pixels, Labels]:
        self._files.pop(file, None)
        state = _state(file)
        pixels, labels = layout.read(file)
        pixels.flags.writeable = False
        self._files[file] = (state, pixels)
        while len(self._files) > 1 and self._bytes() > _KEPT_BYTES:
            self._files.popitem(last=False)
        return pixels, labels

    def _bytes(self) -> int:
        return sum(pixels.nbytes for _, pixels in self._files.values())


def _state(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as error:
        raise ImageReadError(str(file), f"cannot be opened: {error.strerror}") from None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


_KEPT = _Kept()


def _places(root: Path) -> list[Path]:
    """The folder itself and, if it has but one, its sub-folder."""
    try:
        entries = [entry for entry in os.scandir(root) if not entry.name.startswith(".")]
        folders = [root / entry.name for entry in entries if entry.is_dir()]
    except OSError:  # the walk over images says so
        return []
    return [root, *folders] if len(folders) == 1 else [root]


def _files(folder: Path) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []
    return sorted(names, key=_by_number)


def _by_number(name: str) -> list[tuple[int, str]]:
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in pieces]


def _is_kept_as(layout: Layout, folder: Path, names: Sequence[str]) -> bool:
    images = [name for name in names if layout.images.fullmatch(name)]
    if not images:
        return False
    # `train` and `test` are names of anything: only with a pickle's first byte and their `meta`.
    return layout.name != _CIFAR_100 or (
        layout.names in names and all(_starts_as_pickle(folder / name) for name in images)
    )


def _starts_as_pickle(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(1) == b"\x80"
    except OSError:
        return False


def _scan(
    root: Path, folder: Path, names: Sequence[str], layout: Layout, follow_links: bool
) -> SampleSet:
    _refuse_stranger(root, folder / layout.names, follow_links)
    classes = _class_names(folder, names, layout)
    samples: list[Sample] = []
    for name in filter(layout.images.fullmatch, names):
        if name.endswith(".gz") and name.removesuffix(".gz") in names:
            continue  # it lies there packed and unpacked
        file = folder / name
        _refuse_stranger(root, file, follow_links)
        part: Split = "test" if name.startswith(layout.tested) else "train"
        samples += _rows(root, file, layout, classes, part)
    used = {sample.label for sample in samples}
    return SampleSet(
        root=root,
        samples=tuple(samples),
        class_names=tuple(label for label in classes if label in used),
        given_splits=True,
    )


def _rows(
    root: Path, file: Path, layout: Layout, classes: Sequence[str], part: Split
) -> list[Sample]:
    labels = _KEPT.labels(file, layout)
    wrong = (labels < 0) | (labels >= len(classes))
    if wrong.any():
        row = int(wrong.argmax())
        more = f"write the class names into {layout.names}, one a line" if layout.default else ""
        raise DataError(
            f"{file}: the label of row {row} is {labels[row]}, but there are {len(classes)} class "
            f"names, 0 to {len(classes) - 1}; {more or 'get the file again'}"
        )
    stem = file.relative_to(root).as_posix().removesuffix(".gz").removesuffix(".bin")
    return [
        Sample(f"{stem}/{row:05d}", file, classes[label], part, row=row)
        for row, label in enumerate(labels.tolist())
    ]


def _class_names(folder: Path, names: Sequence[str], layout: Layout) -> list[str]:
    file = folder / layout.names
    if layout.names not in names:
        if layout.default is None:
            raise DataError(f"{file} is missing: it has the class names of the files beside it")
        return list(layout.default)
    classes = layout.read_names(file)
    if not all(name and name.isprintable() for name in classes):
        raise DataError(f"{file}: a class name in it is empty or cannot be printed")
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{file}: {len(classes)} class names, {len(set(classes))} different ones")
    return classes


def _refuse_stranger(root: Path, file: Path, follow_links: bool) -> None:
    if not follow_links and not file.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{file} is a symbolic link that leads out of the folder; "
            "with --follow-links it is followed"
        )


def _layout_of(file: Path) -> Layout:
    for layout in LAYOUTS:
        if layout.images.fullmatch(file.name):
            return layout
    raise ImageReadError(str(file), "not an array file: its name is none of theirs")


# --- the layouts ---------------------------------------------------------------------------------


def _read_text_names(file: Path) -> list[str]:
    text = read_file(file, str(file), _NAMES_LIMIT).decode("utf-8-sig", "backslashreplace")
    return [line.strip() for line in text.strip().split("\n")] if text.strip() else []


def _read_cifar_100(file: Path) -> tuple[Pixels, Labels]:
    return read_binary_batch(file, labels_each=2)


def _read_idx(file: Path) -> tuple[Pixels, Labels]:
    name = file.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    beside = [file.with_name(n) for n in (name, f"{name}.gz")]
    found = next((each for each in beside if each.is_file()), None)
    if found is None:
        raise ImageReadError(
            str(file), f"its labels are missing: no {beside[0].name}[.gz] beside it"
        )
    pixels, labels = read_images(file), read_labels(found)
    if len(pixels) != len(labels):
        raise ImageReadError(
            str(file), f"it holds {len(pixels):,} pictures, {found.name} {len(labels):,} labels"
        )
    return pixels, labels


_CIFAR_100 = "CIFAR-100's Python files"

LAYOUTS = (
    Layout(
        name="CIFAR-10's Python batches",
        images=re.compile(r"data_batch_\d+|test_batch"),
        tested="test",
        names="batches.meta",
        default=None,
        read_names=read_pickled_names,
        read=read_pickled_batch,
    ),
    Layout(
        name="CIFAR-10's binary batches",
        images=re.compile(r"(data_batch_\d+|test_batch)\.bin"),
        tested="test",
        names="batches.meta.txt",
        default=None,
        read_names=_read_text_names,
        read=read_binary_batch,
    ),
    Layout(
        name=_CIFAR_100,
        images=re.compile(r"train|test"),
        tested="test",
        names="meta",
        default=None,
        read_names=read_pickled_names,
        read=read_pickled_batch,
    ),
    Layout(
        name="CIFAR-100's binary files",
        images=re.compile(r"(train|test)\.bin"),
        tested="test",
        names="fine_label_names.txt",
        default=None,
        read_names=_read_text_names,
        read=_read_cifar_100,
    ),
    Layout(
        name="IDX files",
        images=_IDX_IMAGES,
        tested="t10k",
        names="labels.txt",
        default=_DIGITS,
        read_names=_read_text_names,
        read=_read_idx,
    ),
)
