"""Read a pickle that holds NumPy arrays of whole numbers, lists and texts, without unpickling it.

NumPy pickles an array as a call of `_reconstruct`, followed by its state (shape, dtype, order,
bytes); from protocol 5 on as one call of `_frombuffer`.
"""

import io
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.restricted_pickle import RestrictedUnpickler, UnexpectedContent, expect

_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


def read_pickled_arrays(data: bytes) -> Any:
    """The content of a pickle.

    Returns:
        as `RestrictedUnpickler.load`; arrays, alone or as values of a dict, are `ndarray`.

    Raises:
        UnexpectedContent: anything else is in it, or it is damaged.
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
        self.values = _make_array(shape, dtype, fortran_order, raw=raw)


def _array_from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _PickledArray:
    array = _PickledArray()
    array.values = _make_array(shape, dtype, order != "C", raw=raw)
    return array


def _make_array(shape: Any, dtype: Any, fortran_order: Any, *, raw: Any) -> Array:
    code = expect(dtype, _PickledDtype).code
    sizes_ok = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes_ok or fortran_order or not isinstance(raw, bytes | bytearray):
        raise UnexpectedContent("an array whose shape, order or bytes are not as they should be")
    # Bytes that do not fill the shape are a ValueError, before anything is allocated.
    return np.frombuffer(raw, np.dtype(f"<{code}")).reshape(shape)


def _encode(text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes so in protocol 2."""
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
