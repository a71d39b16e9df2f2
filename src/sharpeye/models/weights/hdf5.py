"""Read arrays of floats from HDF5 weights files, and reject all other content.

HDF5 can refer to other files (external links, external storage, virtual datasets), hold objects,
declare terabytes that are stored in a few bytes, and call filter plugins: all of these are
refused. Two layouts are read: the older one of Keras 1 and 2, in which keras.applications keeps
its weights (`layer_names` and `weight_names` list the contents), and that of Keras 3
(`layers/CLASS_N/vars/I`; keras/src/saving/saving_lib.py).
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.errors import ModelError

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 2 * 2**30
# Weights hardly compress; small arrays of equal values do.
MAX_EXPANSION, FREE_BYTES = 16, 2**20
MAX_GROUPS, MAX_NAMES, MAX_NAME_LENGTH = 100_000, 20_000, 1000
_BUILT_IN_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum; others are plugins

# Where Keras 3 stores the layers of a model, and where Keras 2.13 did.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True)
class LayerArrays:
    """The arrays of a file for one layer.

    Attributes:
        name: empty if the file does not give it.
        kind: the layer's class in snake case; in the older layout, its name without the number
            that Keras appends to automatic names.
        arrays: float32, in the order of Keras' `layer.weights`; empty if any array of the layer
            holds other types.
        path: of the group in the file.
    """

    name: str
    kind: str
    arrays: tuple[npt.NDArray[np.float32], ...]
    path: str

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape for array in self.arrays)


# The layers of one model in its order; in Keras 3 files only the layers of one class are in order.
Scope = tuple[LayerArrays, ...]


def snake_case(class_name: str) -> str:
    """A class name as Keras writes it in files: `DepthwiseConv2D` is `depthwise_conv2d`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def split_number(name: str) -> tuple[str, int]:
    """`conv2d_7` is (`conv2d`, 7), and `conv2d` is (`conv2d`, 0)."""
    match = re.fullmatch(r"(.+)_(\d{1,9})", name)
    return (match[1], int(match[2])) if match else (name, 0)


class SafeReader:
    """Reads from an open HDF5 file; raises ModelError for forbidden content or too much of it."""

    def __init__(self, file: "h5py.File") -> None:
        self.root: Any = file
        self.bytes_left, self.groups_left, self.names_left = MAX_BYTES, MAX_GROUPS, MAX_NAMES

    def child(self, group: Any, path: str) -> Any:
        """The group or array at a relative path, through hard links only; None if missing."""
        import h5py

        for part in path.split("/"):
            link = group.get(part, getlink=True) if part and isinstance(group, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"{part} is a link to another place, which is not followed")
            group = group[part]
            self.groups_left -= 1
            if self.groups_left < 0:
                raise ModelError(f"more than {MAX_GROUPS} groups and arrays")
        return group

    def group(self, parent: Any, path: str) -> Any:
        """The group at a relative path; None if there is none."""
        import h5py

        child = self.child(parent, path)
        return child if isinstance(child, h5py.Group) else None

    def array(self, group: Any, path: str) -> npt.NDArray[np.float32] | None:
        """An array of floats as float32; None if its values are not floats."""
        import h5py

        data = self.child(group, path)
        if not isinstance(data, h5py.Dataset) or data.shape is None:
            raise ModelError(f"{path} is no array")
        if data.is_virtual or data.external:
            raise ModelError(f"{path} takes its values from another file, which is not followed")
        if data.dtype.kind != "f" or data.dtype.itemsize not in (2, 4, 8):
            return None
        creation = data.id.get_create_plist()
        filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
        if not filters <= _BUILT_IN_FILTERS:
            raise ModelError(f"{path} is packed by a plugin")
        declared = math.prod(data.shape) * max(data.dtype.itemsize, 4)
        if declared > MAX_EXPANSION * data.id.get_storage_size() + FREE_BYTES:
            raise ModelError(f"{path} declares {declared} bytes, far more than are stored")
        self.bytes_left -= declared
        if self.bytes_left < 0:
            raise ModelError(f"more than {MAX_BYTES >> 30} GiB of weights")
        with np.errstate(over="ignore"):
            values = np.asarray(data[()], dtype=np.float32)
        if not np.isfinite(values).all():
            raise ModelError(f"{path} holds values that are no numbers")
        return values

    def arrays(self, group: Any, paths: Iterable[str]) -> tuple[npt.NDArray[np.float32], ...]:
        """Several arrays; an empty tuple if any of them holds other types than floats."""
        arrays = [self.array(group, path) for path in paths]
        floats = tuple(array for array in arrays if array is not None)
        return floats if len(floats) == len(arrays) else ()

    def names(self, group: Any, attribute: str) -> list[str] | None:
        """A list of names in an attribute, which Keras splits into pieces if it is long."""
        if attribute in group.attrs:
            return self._strings(group, attribute)
        pieces: list[list[str]] = []
        while f"{attribute}{len(pieces)}" in group.attrs:
            pieces.append(self._strings(group, f"{attribute}{len(pieces)}"))
        return [name for piece in pieces for name in piece] if pieces else None

    def _strings(self, group: Any, attribute: str) -> list[str]:
        import h5py

        info = group.attrs.get_id(attribute)
        count = math.prod(info.shape)
        if not count:
            return []
        self.names_left -= count
        if self.names_left < 0 or h5py.check_string_dtype(info.dtype) is None:
            raise ModelError(f"attribute {attribute} is no list of names")
        values = np.atleast_1d(np.asarray(group.attrs[attribute], dtype=object)).ravel()
        names = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values]
        if max(map(len, names)) > MAX_NAME_LENGTH:
            raise ModelError(f"attribute {attribute} has a name of over {MAX_NAME_LENGTH} letters")
        return names


def read_legacy(reader: SafeReader) -> list[Scope] | None:
    """The layers in the older layout, as in `WeightFile.scopes`; None for another layout."""
    root = reader.group(reader.root, "model_weights") or reader.root
    layer_names = reader.names(root, "layer_names")
    if layer_names is None:
        return None
    outer: list[LayerArrays] = []
    inner: list[Scope] = []
    for name in layer_names:
        group = reader.group(root, name)
        if group is None:
            raise ModelError(f"layer {name} is listed, but not there")
        by_layer: dict[str, list[str]] = {}
        for weight in reader.names(group, "weight_names") or []:
            by_layer.setdefault(weight.rpartition("/")[0], []).append(weight)
        layers = []
        for layer, weights in by_layer.items():
            layer_name = layer.rpartition("/")[2] if len(by_layer) > 1 else name
            kind = split_number(layer_name)[0]
            layers.append(LayerArrays(layer_name, kind, reader.arrays(group, weights), name))
        if len(layers) > 1:
            inner.append(tuple(layers))
        else:
            outer += layers
    return [tuple(outer), *inner]


def read_keras3(reader: SafeReader, names: Mapping[str, str]) -> list[Scope] | None:
    """The layers in Keras 3's layout, as in `WeightFile.scopes`; None for another layout.

    Args:
        names: names of layers, by their path in the file, for files without names of layers.
    """
    containers = [c for c in _CONTAINERS if reader.group(reader.root, c) is not None]
    children = [f"{c}/{child}" for c in containers for child in reader.group(reader.root, c)]
    others = [name for name in reader.root if name not in (*_CONTAINERS, "vars", "optimizer")]
    inner = [
        path
        for path in (f"{parent}/{c}" for parent in [*children, *others] for c in _CONTAINERS)
        if reader.group(reader.root, path) is not None
    ]
    paths = [*containers, *inner]
    return [_read_scope(reader, path, names) for path in paths] if paths else None


def _read_scope(reader: SafeReader, path: str, names: Mapping[str, str]) -> Scope:
    layers = []
    container = reader.group(reader.root, path)
    for child in sorted(container, key=split_number):
        variables = reader.group(container, f"{child}/vars")
        if variables is None or not len(variables):
            continue
        in_order = sorted(variables, key=lambda key: (len(key), key))
        layer_path, kind = f"{path}/{child}", split_number(child)[0]
        name = (reader.names(variables, "name") or [names.get(layer_path, "")])[0]
        layers.append(LayerArrays(name, kind, reader.arrays(variables, in_order), layer_path))
    return tuple(layers)
