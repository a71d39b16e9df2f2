"""Takes plain arrays of floats out of HDF5 weights files, and trusts nothing else in them.

HDF5 can point to other files (external links, external storage, virtual datasets), hold objects,
declare terabytes that are stored in a few bytes, and call filter plugins: all of these are
refused. Two layouts are known: the older one of Keras 1 and 2, in which keras.applications keeps
its weights (`layer_names` and `weight_names` list what is there), and that of Keras 3
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
# Weights do not compress; small arrays of equal values do.
MAX_EXPANSION, FREE_BYTES = 16, 2**20
MAX_GROUPS, MAX_NAMES, MAX_NAME_LENGTH = 100_000, 20_000, 1000
_FLOAT_SIZES = (2, 4, 8)
_BUILT_IN_FILTERS = (1, 2, 3)  # deflate, shuffle, checksum; others are plugins

# Where Keras 3 keeps the layers of a model, and where Keras 2.13 did.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True)
class LayerArrays:
    """What a file holds for one layer.

    Attributes:
        name: the layer's, or empty if the file does not say it.
        kind: its class in snake case; from the older layout, its name without the number that
            Keras appends to names that it makes itself.
        arrays: float32, in the order of Keras' `layer.weights`; empty if there is anything but
            floats among them.
        place: the group in the file.
    """

    name: str
    kind: str
    arrays: tuple[npt.NDArray[np.float32], ...]
    place: str

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape for array in self.arrays)


# The layers of one model, in its order; in Keras 3 files in the order of each class only.
Scope = tuple[LayerArrays, ...]


def snake_case(class_name: str) -> str:
    """A class name as Keras writes it in files: `DepthwiseConv2D` is `depthwise_conv2d`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def split_number(name: str) -> tuple[str, int]:
    """`conv2d_7` is (`conv2d`, 7), and `conv2d` is (`conv2d`, 0)."""
    found = re.fullmatch(r"(.+)_(\d{1,9})", name)
    return (found[1], int(found[2])) if found else (name, 0)


class SafeReader:
    """Walks an open HDF5 file and counts what it takes.

    Raises, in all methods:
        ModelError: what is there is forbidden, or more than the limits above.
    """

    def __init__(self, file: "h5py.File") -> None:
        self.root: Any = file
        self.bytes_left, self.groups_left, self.names_left = MAX_BYTES, MAX_GROUPS, MAX_NAMES

    def child(self, group: Any, path: str) -> Any:
        """What lies at a relative path, through hard links only; None if nothing does."""
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
        """A group, or None if there is no group of that path."""
        import h5py

        found = self.child(parent, path)
        return found if isinstance(found, h5py.Group) else None

    def array(self, group: Any, path: str) -> npt.NDArray[np.float32] | None:
        """An array of floats as float32; None if it holds anything else."""
        import h5py

        data = self.child(group, path)
        if not isinstance(data, h5py.Dataset) or data.shape is None:
            raise ModelError(f"{path} is no array")
        if data.is_virtual or data.external:
            raise ModelError(f"{path} takes its values from another file, which is not followed")
        if data.dtype.kind != "f" or data.dtype.itemsize not in _FLOAT_SIZES:
            return None
        creation = data.id.get_create_plist()
        filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
        if not set(filters) <= set(_BUILT_IN_FILTERS):
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
        """Several arrays; none at all if one of them holds anything but floats."""
        found = [self.array(group, path) for path in paths]
        floats = tuple(array for array in found if array is not None)
        return floats if len(floats) == len(found) else ()

    def names(self, group: Any, attribute: str) -> list[str] | None:
        """A list of names in an attribute, which Keras cuts in pieces if it is long."""
        if attribute in group.attrs:
            return self._strings(group, attribute)
        pieces: list[list[str]] = []
        while f"{attribute}{len(pieces)}" in group.attrs:
            pieces.append(self._strings(group, f"{attribute}{len(pieces)}"))
        return [name for piece in pieces for name in piece] if pieces else None

    def _strings(self, group: Any, attribute: str) -> list[str]:
        import h5py

        about = group.attrs.get_id(attribute)
        count = math.prod(about.shape)
        if not count:
            return []
        self.names_left -= count
        if self.names_left < 0 or h5py.check_string_dtype(about.dtype) is None:
            raise ModelError(f"attribute {attribute} is no list of names")
        values = np.atleast_1d(np.asarray(group.attrs[attribute], dtype=object)).ravel()
        names = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values]
        if max(map(len, names)) > MAX_NAME_LENGTH:
            raise ModelError(f"attribute {attribute} has a name of over {MAX_NAME_LENGTH} letters")
        return names


def read_legacy(reader: SafeReader) -> list[Scope] | None:
    """The layers of the older layout: the model's first, then those of each model in it.

    Returns:
        None if the file has another layout.
    """
    root = reader.group(reader.root, "model_weights") or reader.root
    layer_names = reader.names(root, "layer_names")
    if layer_names is None:
        return None
    outer: list[LayerArrays] = []
    nested: list[Scope] = []
    for name in layer_names:
        group = reader.group(root, name)
        if group is None:
            raise ModelError(f"layer {name} is listed, but not there")
        by_owner: dict[str, list[str]] = {}
        for weight in reader.names(group, "weight_names") or []:
            by_owner.setdefault(weight.rpartition("/")[0], []).append(weight)
        layers = []
        for owner, weights in by_owner.items():
            own_name = owner.rpartition("/")[2] if len(by_owner) > 1 else name
            kind = split_number(own_name)[0]
            layers.append(LayerArrays(own_name, kind, reader.arrays(group, weights), name))
        if len(layers) > 1:
            nested.append(tuple(layers))
        else:
            outer += layers
    return [tuple(outer), *nested]


def read_keras3(reader: SafeReader, names: Mapping[str, str]) -> list[Scope] | None:
    """The layers of Keras 3's layout: the model's first, then those of each model in it.

    Args:
        names: of layers, by their place in the file, for those that the file does not name.

    Returns:
        None if the file has another layout.
    """
    containers = [c for c in _CONTAINERS if reader.group(reader.root, c) is not None]
    inner = [f"{c}/{child}" for c in containers for child in reader.group(reader.root, c)]
    parts = [name for name in reader.root if name not in (*_CONTAINERS, "vars", "optimizer")]
    places = [f"{place}/{c}" for place in [*inner, *parts] for c in _CONTAINERS]
    nested = [place for place in places if reader.group(reader.root, place) is not None]
    if not containers and not nested:
        return None
    return [_scope(reader, place, names) for place in [*containers, *nested]]


def _scope(reader: SafeReader, place: str, names: Mapping[str, str]) -> Scope:
    layers = []
    container = reader.group(reader.root, place)
    for child in sorted(container, key=split_number):
        variables = reader.group(container, f"{child}/vars")
        if variables is None or not len(variables):
            continue
        in_order = sorted(variables, key=lambda key: (len(key), key))
        own_name = reader.names(variables, "name") or [names.get(f"{place}/{child}", "")]
        arrays = reader.arrays(variables, in_order)
        kind = split_number(child)[0]
        layers.append(LayerArrays(own_name[0], kind, arrays, f"{place}/{child}"))
    return tuple(layers)
