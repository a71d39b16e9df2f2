"""Read CIFAR's files: batches of 32 x 32 colour images, in Python's format and in the binary one.

    data_batch_1         a pickle: {data: uint8[N,3072], labels: [int], ...}
    data_batch_1.bin     N records: a uint8 label, 3072 bytes of pixels
    train, train.bin     CIFAR-100's: `fine_labels`; two labels a record, the coarse one first

An image's 3072 bytes are its red, its green and its blue plane, each row by row.

Source: cs.toronto.edu/~kriz/cifar.html.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array, Ints, Pixels
from sharpeye.core.restricted_pickle import RestrictedUnpickler, UnexpectedContent, expect
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file
from sharpeye.images.decode_limits import DecodeLimits

_SIDE = 32
_IMAGE_BYTES = 3 * _SIDE * _SIDE
_LIMITS = DecodeLimits(file_bytes=2 * 2**30)
_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


def read_pickled_batch(file: Path) -> tuple[Pixels, Ints]:
    """uint8[N,32,32,3], RGB, and int64[N] labels of a batch in Python's format.

    Raises:
        ImageReadError: it cannot be read, or holds anything else.
    """
    batch = _read_pickled_dict(file)
    pixels, labels = batch.get("data"), batch.get("labels", batch.get("fine_labels"))
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (_IMAGE_BYTES,)
    ):
        raise ImageReadError(str(file), f"`data` must be uint8[N,{_IMAGE_BYTES}] in it")
    if isinstance(labels, list) and all(type(label) is int for label in labels):
        in_range = all(0 <= label < 2**31 for label in labels)
        labels = np.array(labels if in_range else [], np.int64)
    if not isinstance(labels, np.ndarray) or labels.shape != (len(pixels),):
        raise ImageReadError(
            str(file), f"`labels` must be {len(pixels)} whole numbers, one an image"
        )
    return _interleave(pixels), labels.astype(np.int64)


def read_binary_batch(file: Path, labels_per_image: int = 1) -> tuple[Pixels, Ints]:
    """Like `read_pickled_batch`, for a batch in the binary format.

    Args:
        labels_per_image: bytes before each image; the last one is its label.
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
    """The class names in `batches.meta` or CIFAR-100's `meta`; errors as `read_pickled_batch`."""
    meta = _read_pickled_dict(file)
    names = meta.get("label_names", meta.get("fine_label_names"))
    if not isinstance(names, list) or not all(isinstance(n, bytes | str) for n in names):
        raise ImageReadError(str(file), "`label_names` must be a list of texts in it")
    return [n.decode("utf-8", "backslashreplace") if isinstance(n, bytes) else n for n in names]


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


def read_pickled_arrays(data: bytes) -> Any:
    """The content of a pickle of integer NumPy arrays, lists and texts.

    Values and errors are those of `RestrictedUnpickler.load`; arrays, alone or in a dict, are
    `ndarray`. NumPy pickles an array as a call of `_reconstruct`, followed by its state (shape,
    dtype, order, bytes); from protocol 5 on as one call of `_frombuffer`.
    """
    content = _UNPICKLER.load(io.BytesIO(data))
    if isinstance(content, dict):
        return {key: _unwrap(value) for key, value in content.items()}
    return _unwrap(content)


def _unwrap(value: Any) -> Any:
    return value.values if isinstance(value, _PickledArray) else value


class _PickledDtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        if self.code not in _DTYPES:
            allowed = ", ".join(_DTYPES)
            raise UnexpectedContent(f"an array of {self.code[:20]!r}; allowed are {allowed}")

    def set_state(self, state: Any) -> None:
        if _text(expect(state, tuple)[1]) not in ("|", "<", "="):
            raise UnexpectedContent("an array whose numbers are not little-endian")


class _PickledArray:
    """An array; `values` is None until the pickle has given its state."""

    def __init__(self, *_: Any) -> None:
        self.values: Array | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran_order, raw = expect(state, tuple)
        code = expect(dtype, _PickledDtype).code
        sizes_ok = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not sizes_ok or fortran_order or not isinstance(raw, bytes | bytearray):
            raise UnexpectedContent(
                "an array whose shape, order or bytes are not as they should be"
            )
        # A wrong number of bytes is a ValueError, before memory is allocated.
        self.values = np.frombuffer(raw, np.dtype(f"<{code}")).reshape(shape)


def _array_from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _PickledArray:
    array = _PickledArray()
    array.set_state((1, shape, dtype, order != "C", raw))
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes this way in protocol 2."""
    if encoding != "latin1":
        raise UnexpectedContent("a text in another encoding than latin1")
    return expect(text, str).encode("latin-1")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else expect(value, str)


_UNPICKLER = RestrictedUnpickler(
    names={
        "numpy.ndarray": None,  # an argument of `_reconstruct`
        "numpy.dtype": _PickledDtype,
        "numpy.core.multiarray._reconstruct": _PickledArray,
        "numpy._core.multiarray._reconstruct": _PickledArray,
        "numpy.core.numeric._frombuffer": _array_from_buffer,
        "numpy._core.numeric._frombuffer": _array_from_buffer,
        "_codecs.encode": _encode,
    },
    content="arrays",
)
