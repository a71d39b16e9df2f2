"""Read CIFAR's files: batches of 32 x 32 colour images, in Python's format and in the binary one.

    data_batch_1         a pickle: {data: uint8[N,3072], labels: [int], ...}; see `pickled_arrays`
    data_batch_1.bin     N records: a uint8 label, 3072 bytes of pixels
    train, train.bin     CIFAR-100's: `fine_labels`; two labels a record, the coarse one first

An image's 3072 bytes are its red, its green and its blue plane, each row by row.

Source: cs.toronto.edu/~kriz/cifar.html.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array, Ints, Pixels
from sharpeye.core.restricted_pickle import UnexpectedContent
from sharpeye.data.pickled_arrays import read_pickled_arrays
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import DecodeLimits, read_file

_SIDE = 32
_IMAGE_BYTES = 3 * _SIDE * _SIDE
_LIMITS = DecodeLimits(file_bytes=2 * 2**30)


def read_pickled_batch(file: Path) -> tuple[Pixels, Ints]:
    """The images and the labels of a batch in Python's format.

    Returns:
        uint8[N,32,32,3], RGB, and int64[N]; of CIFAR-100 the fine labels.

    Raises:
        ImageReadError: it cannot be read, or holds anything else.
    """
    batch = _read_pickled_dict(file)
    pixels, labels = batch.get("data"), batch.get("labels", batch.get("fine_labels"))
    if not isinstance(pixels, np.ndarray) or not _are_images(pixels):
        raise ImageReadError(str(file), f"`data` must be uint8[N,{_IMAGE_BYTES}] in it")
    if isinstance(labels, list) and all(type(label) is int for label in labels):
        in_range = all(0 <= label < 2**31 for label in labels)
        labels = np.array(labels if in_range else [], np.int64)
    if not isinstance(labels, np.ndarray) or labels.shape != (len(pixels),):
        raise ImageReadError(
            str(file), f"`labels` must be {len(pixels)} whole numbers, one a picture"
        )
    return _interleave(pixels), labels.astype(np.int64)


def read_binary_batch(file: Path, labels_per_image: int = 1) -> tuple[Pixels, Ints]:
    """The images and the labels of a batch in the binary format.

    Args:
        labels_per_image: bytes before each image, of which the last is its label.

    Returns:
        as `read_pickled_batch`.

    Raises:
        ImageReadError: it cannot be read, or is no whole number of records.
    """
    data = read_file(file, str(file), _LIMITS)
    record = labels_per_image + _IMAGE_BYTES
    if not data or len(data) % record:
        raise ImageReadError(
            str(file),
            f"{len(data):,} bytes are not a number of records of {record} bytes; "
            "get the file again",
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    labels = records[:, labels_per_image - 1].astype(np.int64)
    return _interleave(records[:, labels_per_image:]), labels


def read_pickled_names(file: Path) -> list[str]:
    """The class names in `batches.meta` or CIFAR-100's `meta`.

    Raises:
        ImageReadError: it cannot be read, or holds no names.
    """
    meta = _read_pickled_dict(file)
    names = meta.get("label_names", meta.get("fine_label_names"))
    if not isinstance(names, list) or not all(isinstance(n, bytes | str) for n in names):
        raise ImageReadError(str(file), "`label_names` must be a list of texts in it")
    return [n.decode("utf-8", "backslashreplace") if isinstance(n, bytes) else n for n in names]


def _are_images(values: Array) -> bool:
    return values.dtype == np.uint8 and values.ndim == 2 and values.shape[1] == _IMAGE_BYTES


def _interleave(planes: Pixels) -> Pixels:
    """uint8[N,3072] plane by plane to uint8[N,32,32,3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


def _read_pickled_dict(file: Path) -> dict[str, Any]:
    try:
        content = read_pickled_arrays(read_file(file, str(file), _LIMITS))
    except UnexpectedContent as error:
        raise ImageReadError(str(file), f"not a batch of CIFAR: {error}") from None
    if not isinstance(content, dict):
        raise ImageReadError(str(file), "not a batch of CIFAR: the pickle holds no dict")
    return {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}
