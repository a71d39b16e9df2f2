"""The supported layouts of array files: which files hold images, labels and class names.

    data_batch_1 .. data_batch_5, test_batch, batches.meta               CIFAR-10 in Python's format
    data_batch_1.bin .., test_batch.bin, batches.meta.txt                its binary format
    train, test, meta                                                    CIFAR-100 in Python's
    train.bin, test.bin, fine_label_names.txt                            its binary format
    {train,t10k}-images-idx3-ubyte[.gz], {train,t10k}-labels-idx1-ubyte[.gz] [, labels.txt]

The last one is that of MNIST and Fashion-MNIST; without `labels.txt`, its classes are the digits.
Files named `test...` or `t10k...` are the test split, the others are for training.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sharpeye.core.arrays import Ints, Pixels
from sharpeye.core.regular_files import read_head
from sharpeye.data.cifar_files import read_binary_batch, read_pickled_batch, read_pickled_names
from sharpeye.data.idx_files import read_idx
from sharpeye.errors import DataError, ImageReadError
from sharpeye.images.decode import read_file
from sharpeye.images.decode_limits import DecodeLimits


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """One way to lay out a data set in array files.

    Attributes:
        images: matches the names of the files that hold images, and nothing else.
        names_file: the file with the class names: a pickle, or a text with one name per line.
        read: reads a file of images to uint8[N,H,W,C] and int64[N] labels.
        default_names: class names by label without `names_file`; None if that is required.
        common_names: whether the names of its files are so common that they count only beside
            `names_file` and with a pickle's first byte.
    """

    title: str
    images: re.Pattern[str]
    names_file: str
    read: Callable[[Path], tuple[Pixels, Ints]]
    default_names: tuple[str, ...] | None = None
    common_names: bool = False

    def matches(self, folder: Path, names: Sequence[str]) -> bool:
        """Whether a folder with files of these names has this layout."""
        images = [name for name in names if self.images.fullmatch(name)]
        if not images or not self.common_names:
            return bool(images)
        return self.names_file in names and all(_is_pickle(folder / name) for name in images)

    def class_names(self, folder: Path) -> list[str]:
        """The class names by label.

        Raises:
            DataError: the names' file is missing, damaged, or has an empty or repeated name.
        """
        file = folder / self.names_file
        if not file.is_file():
            if self.default_names is None:
                raise DataError(f"{file} is missing: it has the class names of the files beside it")
            return list(self.default_names)
        if self.names_file.endswith(".txt"):
            data = read_file(file, str(file), DecodeLimits(file_bytes=2**20))
            text = data.decode("utf-8-sig", "backslashreplace").strip()
            names = [line.strip() for line in text.split("\n")] if text else []
        else:
            names = read_pickled_names(file)
        if not all(name and name.isprintable() for name in names):
            raise DataError(f"{file}: a class name in it is empty or cannot be printed")
        if not names or len(set(names)) < len(names):
            raise DataError(f"{file}: {len(names)} class names, {len(set(names))} different ones")
        return names


def layout_of(file: Path) -> ArrayLayout:
    """The layout that a file of images belongs to, by its name, or ImageReadError."""
    for layout in LAYOUTS:
        if layout.images.fullmatch(file.name):
            return layout
    raise ImageReadError(str(file), "not an array file: its name is none of theirs")


def _is_pickle(file: Path) -> bool:
    try:
        return read_head(file, 1) == b"\x80"
    except OSError:
        return False


LAYOUTS = (
    ArrayLayout(
        title="CIFAR-10's Python batches",
        images=re.compile(r"data_batch_\d+|test_batch"),
        names_file="batches.meta",
        read=read_pickled_batch,
    ),
    ArrayLayout(
        title="CIFAR-10's binary batches",
        images=re.compile(r"(data_batch_\d+|test_batch)\.bin"),
        names_file="batches.meta.txt",
        read=read_binary_batch,
    ),
    ArrayLayout(
        title="CIFAR-100's Python files",
        images=re.compile(r"train|test"),
        names_file="meta",
        read=read_pickled_batch,
        common_names=True,
    ),
    ArrayLayout(
        title="CIFAR-100's binary files",
        images=re.compile(r"(train|test)\.bin"),
        names_file="fine_label_names.txt",
        read=partial(read_binary_batch, labels_per_image=2),
    ),
    ArrayLayout(
        title="IDX files",
        images=re.compile(r"(train|t10k)-images[-.]idx3-ubyte(\.gz)?"),
        names_file="labels.txt",
        read=read_idx,
        default_names=tuple("0123456789"),
    ),
)
