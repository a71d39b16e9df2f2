"""Read pretrained weights that an old PyTorch version saved, without running code in the file.

Files saved by old PyTorch versions are pickles. Their digest is checked first, and
`core/restricted_pickle.py` reads them with a table of names that allows only tensors.

Format (PyTorch's legacy serialization): five pickles (magic number, protocol, machine, the
state dict with references to storages, the storages' keys), then for each storage an int64 count
and its raw elements.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.restricted_pickle import (
    PickledName,
    RestrictedUnpickler,
    UnexpectedContent,
    expect,
)
from sharpeye.errors import ModelError

if TYPE_CHECKING:
    import keras

Arrays = dict[str, Array]

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"torch.FloatStorage": "<f4", "torch.LongStorage": "<i8"}


def read_torch_weights(file: Path, sha256: str) -> Arrays:
    """The arrays of a state dict, by name.

    Args:
        file: saved by `torch.save` before PyTorch 1.6.
        sha256: the digest that the file must have.

    Raises:
        ModelError: the digest differs, or the file holds other objects than tensors.
    """
    data = file.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise ModelError(
            f"{file} is not the weights file that is known: its SHA-256 is {actual}, not {sha256}; "
            "reinstall its package"
        )
    return parse_torch_weights(data, str(file))


def parse_torch_weights(data: bytes, name: str) -> Arrays:
    """`read_torch_weights` on bytes, without the digest check."""
    stream = io.BytesIO(data)
    try:
        if _UNPICKLER.load(stream) != _MAGIC:
            raise ModelError(f"{name} is not a PyTorch weights file of the legacy format")
        _UNPICKLER.load(stream)  # protocol
        _UNPICKLER.load(stream)  # sizes of types on the writing machine
        state_dict = expect(_UNPICKLER.load(stream), dict)
        tensors = {key: expect(tensor, _Tensor) for key, tensor in state_dict.items()}
        kinds = {tensor.storage.key: tensor.storage.kind for tensor in tensors.values()}
        storages = {}
        for key in expect(_UNPICKLER.load(stream), list):
            count = int.from_bytes(stream.read(8), "little", signed=True)
            dtype = np.dtype(_STORAGES[kinds[expect(key, str)]])
            storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        return {name: tensor.array(storages) for name, tensor in tensors.items()}
    except ModelError:
        raise
    except UnexpectedContent as error:
        raise ModelError(f"{name}: {error}") from None
    except Exception as error:  # a damaged file can raise any exception
        raise ModelError(f"{name} is damaged: {error}") from None


class _Storage:
    """A reference to the storage `key`, from its persistent id."""

    def __init__(self, reference: Any) -> None:
        _, kind, key, *_ = expect(reference, tuple)
        self.kind, self.key = expect(kind, PickledName).name, expect(key, str)


class _StateDict(dict[str, Any]):
    """PyTorch's state dict, without its pickled attributes, the versions of layers."""

    def __init__(self) -> None:  # A pickle must not pass arguments.
        super().__init__()

    def set_state(self, state: Any) -> None: ...


@dataclass
class _Tensor:
    """The arguments of `torch._utils._rebuild_tensor_v2`: a strided view of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool
    hooks: object

    def __post_init__(self) -> None:
        expect(self.storage, _Storage)

    def array(self, storages: Arrays) -> Array:
        storage = storages[self.storage.key]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.stride, *self.size), default=0) < 0 or last >= len(storage):
            raise ValueError("a tensor reaches outside its storage")
        # Tensors ported from TensorFlow are transposed views: the strides matter.
        strides = [s * storage.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(storage[self.offset :], self.size, strides)
        return np.ascontiguousarray(view)


_UNPICKLER = RestrictedUnpickler(
    names={
        "collections.OrderedDict": _StateDict,
        "torch._utils._rebuild_tensor_v2": _Tensor,
        **dict.fromkeys(_STORAGES),
    },
    content="tensors",
    persistent_load=_Storage,
)


def assign_torch_weights(model: "keras.Model", arrays: Arrays) -> None:
    """Copy arrays into the layers of the same name, from PyTorch's axis order to Keras'.

    Raises:
        ModelError: an array is missing, unused, or of another shape.
    """
    import keras

    unused = {name for name in arrays if not name.endswith("num_batches_tracked")}
    try:
        for layer in model.layers:
            if not layer.weights:
                continue
            if isinstance(layer, keras.layers.BatchNormalization):
                suffixes = ["weight", "bias", "running_mean", "running_var"]
            else:
                suffixes = ["weight", "bias"] if layer.use_bias else ["weight"]
            names = [f"{layer.name}.{suffix}" for suffix in suffixes]
            values = [arrays[name] for name in names]
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                values[0] = values[0].transpose(2, 3, 0, 1)  # C,1,H,W -> H,W,C,1
            elif isinstance(layer, keras.layers.Conv2D):
                values[0] = values[0].transpose(2, 3, 1, 0)  # O,I,H,W -> H,W,I,O
            elif isinstance(layer, keras.layers.Dense):
                values[0] = values[0].T
            layer.set_weights(values)
            unused.difference_update(names)
    except (KeyError, ValueError) as error:
        raise ModelError(f"weights do not fit {model.name}: {error}") from None
    if unused:
        raise ModelError(f"weights do not fit {model.name}: unused {', '.join(sorted(unused))}")
