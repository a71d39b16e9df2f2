"""Pickles are read as data: what is not allowed in them is refused, and nothing is run."""

import collections
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpeye.core.restricted_pickle import (
    PickledName,
    RestrictedUnpickler,
    UnexpectedContent,
    expect,
)


class Point:
    """An object that a pickle may make."""

    def __init__(self, *coordinates: Any) -> None:
        self.coordinates, self.state = coordinates, None

    def set_state(self, state: Any) -> None:
        self.state = state


UNPICKLER = RestrictedUnpickler(
    names={"collections.Counter": Point, "collections.deque": None}, content="points"
)


def load(data: bytes) -> Any:
    return UNPICKLER.load(io.BytesIO(data))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        None,
        [True, False, 0, -1, 255, 2**40, -(2**70), 1.5, ""],
        ["a text", "\u732b", "x" * 300, "y" * 70_000],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], {}],
        {"a": {"b": [1] * 3000}, "c": ()},
    ],
)
def test_values_are_read_as_they_were_written(value: object, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_are_read(protocol: int) -> None:
    assert load(pickle.dumps([b"a", b"b" * 70_000], protocol)) == [b"a", b"b" * 70_000]


def test_texts_of_python_2_are_bytes() -> None:
    assert load(b"\x80\x02]U\x03a\xffbaT\x02\x00\x00\x00cda.") == [b"a\xffb", b"cd"]


def test_shared_values_stay_shared() -> None:
    inner = [1]
    first, second = load(pickle.dumps([inner, inner], 4))
    assert first is second


def test_known_names_call_the_functions_of_the_table() -> None:
    point = load(b"\x80\x02ccollections\nCounter\nK\x01K\x02\x86R}(X\x01\x00\x00\x00aK\x03ub.")
    assert isinstance(point, Point)
    assert (point.coordinates, point.state) == ((1, 2), {"a": 3})
    assert load(b"\x80\x02ccollections\ndeque\n.") == PickledName("collections.deque", None)


def test_a_persistent_id_is_refused_or_loaded_by_the_caller() -> None:
    data = b"\x80\x02X\x01\x00\x00\x00kQ."
    with pytest.raises(UnexpectedContent, match="BINPERSID"):
        load(data)
    unpickler = RestrictedUnpickler(
        {}, "storages", persistent_load=lambda key: expect(key, str) * 2
    )
    assert unpickler.load(io.BytesIO(data)) == "kk"


def test_the_stream_is_left_behind_the_pickle() -> None:
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps("b", 4) + b"raw")
    assert [UNPICKLER.load(stream), UNPICKLER.load(stream), stream.read()] == [[1], "b", b"raw"]


class Hostile:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.system, eval, getattr, print, __import__, Path])
def test_a_call_of_another_name_is_refused_and_not_run(
    function: Callable[..., Any], protocol: int, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps({"x": Hostile(function, f"touch {canary}")}, protocol)
    with pytest.raises(UnexpectedContent, match=r"names .*; only points are allowed, nothing was"):
        load(data)
    assert not canary.exists()


def test_an_object_of_a_class_is_refused() -> None:
    for value in (collections.OrderedDict(a=1), {1, 2}, complex(1, 2), range(3)):
        for protocol in (2, 4):
            with pytest.raises(UnexpectedContent):
                load(pickle.dumps(value, protocol))


DEEP = b")" + b"\x85" * 200_000  # a tuple in a tuple in a tuple ...
SHARED = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))  # 2**60 items
HOSTILE = {
    "a huge text": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "a deep key": b"\x80\x02}" + DEEP + b"K\x01s.",
    "a deep key in a call": b"\x80\x02ccollections\nOrderedDict\n]]" + DEEP + b"aK\x01aa\x85R.",
    "a deep name": b"\x80\x04" + DEEP[:5000] + b"\x8c\x01x\x93.",
    "a name of many items": b"\x80\x04" + SHARED + b"\x8c\x01x\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "a global of protocol 0": b"cos\nsystem\n.",
    "an instance": b"\x80\x02(ios\nsystem\n.",
    "an object": b"\x80\x02(ccollections\nCounter\no.",
    "a new object": b"\x80\x02ccollections\nCounter\n)\x81.",
    "a new object with keywords": b"\x80\x04ccollections\nCounter\n)}\x92.",
    "a state of a name": b"\x80\x02ccollections\nCounter\n}b.",
    "a state of a dict": b"\x80\x02}}b.",
    "a call of a name that is only allowed": b"\x80\x02ccollections\ndeque\n)R.",
    "a call of a list": b"\x80\x02])R.",
    "a call without a tuple": b"\x80\x02ccollections\nCounter\n]R.",
    "a call that fails": b"\x80\x02ccollections\nCounter\n)}bR.",
    "a number as a key": b"\x80\x02}K\x01K\x01s.",
    "items of a tuple": b"\x80\x02)K\x01a.",
    "items of a list by key": b"\x80\x02]X\x01\x00\x00\x00aK\x01s.",
    "half a pair": b"\x80\x02}(X\x01\x00\x00\x00au.",
    "an unknown place of the memo": b"\x80\x02h\x07.",
    "no stack": b"\x80\x02s.",
    "no value": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "no end": b"\x80\x02K\x01",
    "a set": b"\x80\x04\x8f.",
    "a text of protocol 0": b"\x80\x02Vabc\n.",
    "a buffer of its own": b"\x80\x05\x97.",
    "nothing": b"",
    "another file": b"\x89PNG\r\n",
    "protocol 0": b"(dp0\n.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_damaged_pickles_are_refused(kind: str) -> None:
    with pytest.raises(UnexpectedContent) as caught:
        load(HOSTILE[kind])
    message = str(caught.value)
    assert "\n" not in message and 10 < len(message) < 250


def test_a_deep_list_and_a_memo_of_a_high_index_take_no_more_memory_than_they_need() -> None:
    assert len(load(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".")) == 1
    assert load(b"\x80\x02]r\xff\xff\xff\x7f.") == []


def test_a_pickle_cut_off_anywhere_is_refused() -> None:
    data = pickle.dumps({"a": [1, 2.5, (b"bytes", "text", None)], "b": {}}, 4)
    for length in range(len(data)):
        with pytest.raises(UnexpectedContent):
            load(data[:length])
