"""Reads a pickle that holds arrays, lists and texts, without unpickling it.

The opcodes are only looked at: nothing that a pickle names is imported, looked up or called. What
such a file has to say, it says with a few opcodes; any other one is an error, and so is any name
besides those under which NumPy writes an array.

Format: Python's `pickletools`, protocols 2 to 5.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MARK = object()

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY_BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class UnexpectedContent(ValueError):
    """Something else than arrays, lists and texts; the message says what."""


@dataclass(frozen=True, slots=True)
class _Name:
    """What GLOBAL would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class _Type:
    code: str


@dataclass(slots=True)
class _Array:
    values: npt.NDArray[Any] | None = None


def parse_pickle(data: bytes) -> Any:
    """What a pickle holds; Python 2's texts come as bytes.

    Returns:
        dict, list, tuple, int, float, str, bytes, None and `ndarray` of whole numbers.

    Raises:
        UnexpectedContent: anything else is in it, or it is damaged.
    """
    if data[:1] != b"\x80":
        raise UnexpectedContent("it is not a pickle of protocol 2 or later")
    try:
        return _Reader().read(data)
    except UnexpectedContent:
        raise
    except Exception as error:  # damaged opcodes can raise nearly anything
        raise UnexpectedContent(
            f"the pickle is damaged: {' '.join(str(error).split())[:120]}"
        ) from None


class _Reader:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        push, memo = self._stack.append, self._memo
        value: Any
        for opcode, value, _ in pickletools.genops(data):
            name = opcode.name
            if name in _VALUES:
                push(value)
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[value] = self._stack[-1]
            elif name in ("BINSTRING", "SHORT_BINSTRING"):
                push(value.encode("latin-1"))
            elif name == "MEMOIZE":
                memo[len(memo)] = self._stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                push(memo[value])
            elif name == "STOP":
                return _finished(self._stack.pop())
            elif name not in ("PROTO", "FRAME"):
                self._build(name, value)
        raise UnexpectedContent("the pickle is damaged: it has no end")

    def _build(self, name: str, value: Any) -> None:
        """The opcodes that put something together, or name something."""
        stack = self._stack
        if name == "MARK":
            stack.append(_MARK)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._since_mark() if name == "APPENDS" else [stack.pop()]
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _expect(stack[-1], dict).update(_pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = value.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            stack.append(_allowed(_Name(*map(str, words))))
        elif name == "REDUCE":
            arguments = _expect(stack.pop(), tuple)
            stack.append(_called(_expect(stack.pop(), _Name), arguments))
        elif name == "BUILD":
            _fill(stack[-2], _expect(stack.pop(), tuple))
        else:
            raise UnexpectedContent(f"the pickle asks for {name}, which no array needs")

    def _since_mark(self) -> list[Any]:
        start = len(self._stack) - 1
        while self._stack[start] is not _MARK:
            start -= 1
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items


def _finished(value: Any) -> Any:
    """Arrays instead of what they were put together in."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {k: v.values if isinstance(v, _Array) else v for k, v in value.items()}
    return value


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise UnexpectedContent(f"the pickle is damaged: {kind.__name__} expected")
    return value


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    keys = items[::2]
    # Other keys might be nested so deep that their hash overflows the stack.
    if not all(isinstance(key, str | bytes) for key in keys):
        raise UnexpectedContent("a key in the pickle is no text")
    return list(zip(keys, items[1::2], strict=True))


def _allowed(name: _Name) -> _Name:
    known = (
        (name.name in ("ndarray", "dtype") and name.module == "numpy")
        or (name.name == "_reconstruct" and name.module in _NUMPY)
        or (name.name == "_frombuffer" and name.module in _NUMPY_BUFFERS)
        or (name.name == "encode" and name.module == "_codecs")
    )
    if not known:
        raise UnexpectedContent(
            f"the pickle names {name}; only arrays are allowed, nothing was run"
        )
    return name


def _called(name: _Name, arguments: tuple[Any, ...]) -> Any:
    if name.name == "dtype":
        code = _text(arguments[0])
        if code not in _TYPES:
            raise UnexpectedContent(f"an array of {code[:20]!r}; allowed are {', '.join(_TYPES)}")
        return _Type(code)
    if name.name == "_reconstruct":
        return _Array()
    if name.name == "encode":  # Python 3's way to write bytes in protocol 2
        if arguments[1:] != ("latin1",):
            raise UnexpectedContent(f"a text in the encoding {arguments[1:]!r:.40}")
        return _expect(arguments[0], str).encode("latin-1")
    if name.name == "_frombuffer":
        raw, kind, shape, order = arguments
        return _Array(_array(shape, kind, order != "C", raw))
    raise UnexpectedContent(f"the pickle calls {name}")


def _fill(target: Any, state: tuple[Any, ...]) -> None:
    if isinstance(target, _Type):
        if _text(state[1]) not in ("|", "<", "="):
            raise UnexpectedContent("an array whose numbers are not little-endian")
    elif isinstance(target, _Array):
        _, shape, kind, fortran, raw = state
        target.values = _array(shape, kind, fortran, raw)
    else:
        raise UnexpectedContent("the pickle sets the state of something that is no array")


def _array(shape: Any, kind: Any, fortran: Any, raw: Any) -> npt.NDArray[Any]:
    dtype = np.dtype("<" + _expect(kind, _Type).code)
    sizes_ok = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes_ok or fortran or not isinstance(raw, bytes | bytearray):
        raise UnexpectedContent("an array whose shape, order or bytes are not as they should be")
    values = np.frombuffer(raw, dtype)
    return values.reshape(shape)  # of another size: ValueError, and nothing was allocated


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
