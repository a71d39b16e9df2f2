"""Weights saved by old PyTorch versions: tensors are read, and no code in the file is run."""

import collections
import hashlib
import io
import os
import pickle
import struct
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.errors import ModelError
from sharpeye.models.weights.torch_archive import parse_torch_weights, read_torch_weights

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    """A reference to the storage `key` of `count` elements, as PyTorch pickles it."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    """A strided view of a storage, as PyTorch pickles it."""

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: Any) -> None:
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> Any:
        if isinstance(value, Storage):
            kind = getattr(sys.modules["torch"], value.kind)
            return ("storage", kind, value.key, "cpu", value.count, None)
        return None


@contextmanager
def fake_torch() -> Iterator[None]:
    """A module with the names that such a pickle refers to; PyTorch itself is not needed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def saved(
    tensors: Any,
    storages: dict[str, np.ndarray],
    magic: Any = MAGIC,
    order: Any = None,
    protocol: Any = 1001,
) -> bytes:
    """A file as `torch.save` wrote it before version 1.6."""
    buffer = io.BytesIO()
    with fake_torch():
        machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        keys = list(storages) if order is None else order
        for part in (magic, protocol, machine, tensors, keys):
            Pickler(buffer, protocol=2).dump(part)
    for values in storages.values():
        buffer.write(struct.pack("<q", len(values)) + values.tobytes())
    return buffer.getvalue()


FLOATS = np.arange(24, dtype="<f4")


def floats(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Tensor:
    return Tensor(Storage("FloatStorage", "1", 24), offset, size, stride)


def test_tensors_are_read_with_their_strides() -> None:
    tensors = collections.OrderedDict(
        plain=floats((2, 3, 4), (12, 4, 1)),
        transposed=floats((4, 3, 2), (1, 4, 12)),
        part=floats((2, 2), (4, 1), offset=5),
        row=floats((4,), (6,), offset=1),
        scalar=floats((), (), offset=7),
        repeated=floats((3, 2), (0, 1)),
        count=Tensor(Storage("LongStorage", "2", 1), 0, (), ()),
    )
    storages = {"1": FLOATS, "2": np.array([2**40], "<i8")}
    arrays = parse_torch_weights(saved(tensors, storages), "x.pth")
    cube = FLOATS.reshape(2, 3, 4)
    assert list(arrays) == list(tensors)
    assert (arrays["plain"] == cube).all()
    assert (arrays["transposed"] == cube.T).all()
    assert (arrays["part"] == [[5, 6], [9, 10]]).all()
    assert (arrays["row"] == [1, 7, 13, 19]).all()
    assert arrays["scalar"].shape in ((), (1,)) and arrays["scalar"].item() == 7
    assert (arrays["repeated"] == [[0, 1]] * 3).all()
    assert arrays["count"].item() == 2**40
    assert all(array.flags["C_CONTIGUOUS"] for array in arrays.values())
    assert arrays["plain"].dtype == np.float32


def test_the_digest_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    data = saved({"w": floats((24,), (1,))}, {"1": FLOATS})
    file.write_bytes(data)
    good = hashlib.sha256(data).hexdigest()
    assert (read_torch_weights(file, good)["w"] == FLOATS).all()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError) as caught:
        read_torch_weights(file, good)
    message = str(caught.value)
    assert str(file) in message and good in message and "reinstall" in message


class Attack:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("position", ["magic", "protocol", "tensors", "a tensor", "order"])
def test_a_pickle_that_names_a_program_is_refused_and_not_run(
    position: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    attack = Attack(os.system, f"touch {canary}")
    pickle.loads(pickle.dumps(attack))
    assert canary.exists()  # The attack works where it is not refused.
    canary.unlink()
    harmless = {"w": floats((24,), (1,))}
    data = {
        "magic": lambda: saved(harmless, {"1": FLOATS}, magic=attack),
        "protocol": lambda: saved(harmless, {"1": FLOATS}, protocol=attack),
        "tensors": lambda: saved(attack, {"1": FLOATS}),
        "a tensor": lambda: saved(harmless | {"evil": attack}, {"1": FLOATS}),
        "order": lambda: saved(harmless, {"1": FLOATS}, order=attack),
    }[position]()
    with pytest.raises(ModelError, match=r"names (posix|nt)\.system; only tensors are allowed"):
        parse_torch_weights(data, "x.pth")
    assert not canary.exists()


@pytest.mark.parametrize("function", [eval, getattr, print, Path, __import__])
def test_every_other_name_is_refused(function: Any) -> None:
    data = saved({"w": Attack(function, "1")}, {})
    with pytest.raises(ModelError, match="only tensors are allowed"):
        parse_torch_weights(data, "x.pth")


def test_an_unknown_dtype_is_refused() -> None:
    half = Tensor(Storage("HalfStorage", "1", 24), 0, (24,), (1,))
    with pytest.raises(ModelError, match=r"torch\.HalfStorage"):
        parse_torch_weights(saved({"w": half}, {"1": FLOATS}), "x.pth")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((2, 3, 4), (12, 4, 2), 0),
        ((4,), (-1,), 10),
        ((4,), (1,), -1),
        ((-4,), (1,), 0),
        ((), (), 24),
        ((2**40,), (2**40,), 0),
        ((3, 3), (1,), 0),
        ((2**50,), (0,), 0),
        (("a",), (1,), 0),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(size: Any, stride: Any, offset: int) -> None:
    data = saved({"w": floats(size, stride, offset)}, {"1": FLOATS})
    with pytest.raises(ModelError, match=r"x\.pth is damaged"):
        parse_torch_weights(data, "x.pth")


def test_a_file_cut_anywhere_is_refused() -> None:
    data = saved({"w": floats((2, 3, 4), (12, 4, 1))}, {"1": FLOATS})
    parse_torch_weights(data, "x.pth")
    for length in range(len(data)):
        with pytest.raises(ModelError, match=r"x\.pth"):
            parse_torch_weights(data[:length], "x.pth")


def test_a_storage_with_a_wrong_length_is_refused() -> None:
    data = bytearray(saved({"w": floats((24,), (1,))}, {"1": FLOATS}))
    at = len(data) - FLOATS.nbytes - 8
    for count in (0, 1, 23, -24):
        data[at : at + 8] = struct.pack("<q", count)
        if count < 0:
            del data[-4:]
        with pytest.raises(ModelError, match=r"x\.pth is damaged"):
            parse_torch_weights(bytes(data), "x.pth")


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04 a newer file", b"garbage", pickle.dumps(5, 2), pickle.dumps([1, 2])],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"x\.pth"):
        parse_torch_weights(data, "x.pth")
