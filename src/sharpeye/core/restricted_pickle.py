"""Read a pickle as data, without importing what it names or running code that it chooses.

The reader interprets the few opcodes that containers, numbers, texts and bytes need; any other
opcode is an error. A `pickle.Unpickler` with a restricted `find_class` would be shorter, but is
not safe: 9 bytes make it ask for 32 GiB for its memo, and a key that is a deeply nested tuple
overflows the C stack and kills the process (CPython 3.11). Here keys must be texts.

Format: Python's `pickletools`, protocols 2 to 5.
"""

import os
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from sharpeye.errors import one_line

T = TypeVar("T")

# Opcodes whose argument is the value itself.
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class UnexpectedContent(ValueError):
    """The pickle is damaged, or holds something forbidden; the message says what."""


def expect(value: Any, kind: type[T]) -> T:
    """`value`, if it is of this type, else UnexpectedContent."""
    if not isinstance(value, kind):
        raise UnexpectedContent(f"the pickle is damaged: {kind.__name__} expected")
    return value


@dataclass(frozen=True, slots=True)
class PickledName:
    """A name in a pickle, such as `numpy.dtype`, and the function that a call of it runs."""

    name: str
    function: Callable[..., Any] | None


@dataclass(frozen=True, slots=True)
class RestrictedUnpickler:
    """A reader of pickles that hold texts, numbers, containers and a few known kinds of objects.

    `names` maps `module.name` to the function that a call of this name runs; None is a name that is
    allowed but cannot be called. A function must check its arguments. What it returns may have a
    method `set_state`, which gets the state that a pickle gives it (BUILD).
    """

    names: Mapping[str, Callable[..., Any] | None]
    content: str  # the subject of messages, such as "arrays"
    persistent_load: Callable[[Any], Any] | None = None  # from a persistent id to an object

    def load(self, stream: BinaryIO) -> Any:
        """Read one pickle from a stream that can seek; the stream then stands right behind it.

        The result holds dict, list, tuple, int, float, str, bytes, bytearray, bool, None,
        PickledName and values that the functions return; texts of Python 2 are bytes.

        Raises:
            UnexpectedContent: the pickle holds anything else, or is damaged.
        """
        try:
            return self._load(stream)
        except UnexpectedContent:
            raise
        except Exception as error:  # damaged opcodes can raise nearly any exception
            raise UnexpectedContent(f"the pickle is damaged: {one_line(error, 120)}") from None

    def _load(self, stream: BinaryIO) -> Any:
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        argument: Any
        if stream.read(1) != b"\x80":
            raise UnexpectedContent("it is not a pickle of protocol 2 or later")
        stream.seek(-1, os.SEEK_CUR)
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name in _VALUES:
                stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINSTRING", "SHORT_BINSTRING"):  # of Python 2
                stack.append(argument.encode("latin-1"))
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name not in ("PROTO", "FRAME", "STOP"):
                self._build(stack, name, argument)
        return stack.pop()

    def _build(self, stack: list[Any], opcode: str, argument: Any) -> None:
        """Run an opcode that builds an object from others, or names one."""
        if opcode == "MARK":
            stack.append(_MARK)
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode == "TUPLE":
            stack.append(tuple(_pop_to_mark(stack)))
        elif opcode in ("APPEND", "APPENDS"):
            items = _pop_to_mark(stack) if opcode == "APPENDS" else [stack.pop()]
            expect(stack[-1], list).extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = _pop_to_mark(stack) if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
            if not all(isinstance(key, str | bytes) for key in items[::2]):
                raise UnexpectedContent("a key in the pickle is no text")
            expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif opcode == "GLOBAL":
            stack.append(self._resolve(argument.replace(" ", ".", 1)))
        elif opcode == "STACK_GLOBAL":
            module, name = expect(stack.pop(-2), str), expect(stack.pop(), str)
            stack.append(self._resolve(f"{module}.{name}"))
        elif opcode == "REDUCE":
            arguments, called = expect(stack.pop(), tuple), expect(stack.pop(), PickledName)
            if called.function is None:
                raise UnexpectedContent(f"the pickle calls {called.name}")
            stack.append(called.function(*arguments))
        elif opcode == "BUILD" and hasattr(stack[-2], "set_state"):
            state = stack.pop()
            stack[-1].set_state(state)
        elif opcode == "BINPERSID" and self.persistent_load is not None:
            stack.append(self.persistent_load(stack.pop()))
        else:
            raise UnexpectedContent(f"the pickle uses {opcode} as no pickle of {self.content} does")

    def _resolve(self, name: str) -> PickledName:
        if name not in self.names:
            raise UnexpectedContent(
                f"the pickle names {name}; only {self.content} are allowed, nothing was run"
            )
        return PickledName(name, self.names[name])


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]
