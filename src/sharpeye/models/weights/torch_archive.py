"""Read pretrained weights that an old PyTorch version saved, without running code in the file.

Such a file is a pickle. Its digest is checked first, and the unpickler accepts tensors only: any
other name in it is an error.

Format (PyTorch's legacy serialization): five pickles (magic number, protocol, machine, the
state dict with references to storages, the storages' keys), then for each storage an int64 count
and its raw elements.
"""

import collections
import hashlib
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.errors import ModelError

if TYPE_CHECKING:
    import keras

Arrays = dict[str, npt.NDArray[Any]]

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def read_torch_weights(file: Path, sha256: str) -> Arrays:
    """The arrays of a state dict, by name.

    Args:
        file: saved by `torch.save` before PyTorch 1.6.
        sha256: the digest that the file must have.

    Raises:
        ModelError: the digest is another one, or the file holds anything but tensors.
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
        if _TensorUnpickler(stream).load() != _MAGIC:
            raise ModelError(f"{name} is not a PyTorch weights file of the legacy format")
        _TensorUnpickler(stream).load()  # protocol
        _TensorUnpickler(stream).load()  # sizes of types on the machine that wrote it
        tensors = _TensorUnpickler(stream).load()
        order = _TensorUnpickler(stream).load()
        storages = {}
        kinds = {t.key: t.kind for t in tensors.values()}
        for key in order:
            count = int.from_bytes(stream.read(8), "little", signed=True)
            dtype = np.dtype(_STORAGES[kinds[key]])
            storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        return {name: tensor.array(storages) for name, tensor in tensors.items()}
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(f"{name} is damaged: {error}") from None


class _Tensor:
    """What `torch._utils._rebuild_tensor_v2` is called with: a strided view of a storage."""

    def __init__(
        self,
        storage: tuple[str, str],
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool,
        hooks: object,
    ) -> None:
        self.kind, self.key = storage
        self.offset, self.size, self.stride = offset, size, stride

    def array(self, storages: Arrays) -> npt.NDArray[Any]:
        storage = storages[self.key]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.stride, *self.size), default=0) < 0 or last >= len(storage):
            raise ValueError("a tensor reaches outside its storage")
        # Tensors ported from TensorFlow are transposed views: the strides matter.
        strides = [s * storage.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(storage[self.offset :], self.size, strides)
        return np.ascontiguousarray(view)


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGES:
            return name
        raise ModelError(f"weights file names {module}.{name}; only tensors are allowed")

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        _, kind, key, *_ = reference
        return kind, key


def assign_torch_weights(model: "keras.Model", arrays: Arrays) -> None:
    """Copy arrays into the layers of the same name, from PyTorch's axis order to Keras'.

    Raises:
        ModelError: an array is missing, left over, or of another shape.
    """
    import keras

    unused = {name for name in arrays if not name.endswith("num_batches_tracked")}
    try:
        for layer in model.layers:
            if not layer.weights:
                continue
            names = [f"{layer.name}.{suffix}" for suffix in _suffixes(layer)]
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


def _suffixes(layer: Any) -> list[str]:
    if type(layer).__name__ == "BatchNormalization":
        return ["weight", "bias", "running_mean", "running_var"]
    return ["weight", "bias"] if layer.use_bias else ["weight"]
