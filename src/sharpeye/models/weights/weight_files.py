"""Recognize the format of a weights file by its content, and read its arrays without running code.

Three formats are read: HDF5 files of the older layout, as keras.applications downloads them,
`.weights.h5` files of Keras 3, and its `.keras` archives. From an archive only the arrays and the
names of the layers are read; Keras' own loader is not used: it builds any layer that an archive
names.
"""

import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.safe_parse import MAX_JSON_BYTES, parse_json
from sharpeye.errors import MissingExtra, ModelError, UsageError, one_line
from sharpeye.models.weights.hdf5 import (
    FREE_BYTES,
    MAX_BYTES,
    MAX_EXPANSION,
    SafeReader,
    Scope,
    read_keras3,
    read_legacy,
    snake_case,
)

_REFUSED = {
    b"\x80": "it is a pickle, as PyTorch writes it, which could run a program",
    b"{": "it is a list, perhaps of weights in several files, which are not supported",
}
_ALLOWED = "allowed are Keras' weights: .h5, .weights.h5 and .keras, and frozen graphs: .pb, .tgz"
_ARRAYS, _CONFIG = "model.weights.h5", "config.json"


@dataclass(frozen=True)
class WeightFile:
    """The contents of a weights file.

    Attributes:
        scopes: the layers: first those of the model, then those of each inner model.
        in_order: whether all layers are in the model's order, not only within one class.
        scaling: `scale` and `offset` of the first layer that scales pixels; None if the file does
            not tell.
    """

    path: Path
    scopes: tuple[Scope, ...]
    in_order: bool
    scaling: tuple[Any, Any] | None = None


def read_weight_file(path: Path) -> WeightFile:
    """The arrays of a file, at most 2 GiB of them.

    Raises:
        UsageError: there is no such file.
        ModelError: the file cannot be read, is damaged, has another format, or has forbidden
            content.
        MissingExtra: h5py is not installed.
    """
    if not path.is_file():
        raise UsageError(f"there is no file of weights at {path}")
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "train", f"reading {path}") from None
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if head == b"\x89HDF\r\n\x1a\n":
            with h5py.File(path, "r", locking=False) as archive:
                return _read_hdf5(path, archive)
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(path) as zipped:
                config, arrays = _read_zip(zipped)
            with h5py.File(io.BytesIO(arrays), "r") as archive:
                return _read_hdf5(path, archive, config)
    except ModelError as error:
        raise ModelError(f"{path} is refused: {error}") from None
    except (MemoryError, RecursionError) as error:
        raise ModelError(f"{path} is too large or too deep to be read") from error
    except Exception as error:  # HDF5 and zip raise many exceptions for damaged files.
        raise ModelError(f"{path} is damaged: {one_line(error)}") from None
    content = _REFUSED.get(head[:1], f"it begins with {head!r}")
    raise ModelError(f"{path} is no file of weights that is known: {content}; {_ALLOWED}")


def _read_hdf5(path: Path, archive: Any, config: Any = None) -> WeightFile:
    reader = SafeReader(archive)
    scopes, in_order = read_legacy(reader), True
    if scopes is None:
        names = dict(_names(config, "layers", recurse=True))
        scopes, in_order = read_keras3(reader, names), False
    if not scopes or not any(scopes):
        raise ModelError(f"it has no layers with weights; {_ALLOWED}")
    return WeightFile(path, tuple(scopes), in_order, _scaling(config))


def _read_zip(archive: zipfile.ZipFile) -> tuple[Any, bytes]:
    """The configuration of the model, and the HDF5 file."""
    members = set(archive.namelist())
    if {_ARRAYS, _CONFIG} - members:
        torch = any(name.endswith("data.pkl") for name in members)
        kind = "PyTorch's, with a pickle" if torch else f"without {_ARRAYS} and {_CONFIG}"
        raise ModelError(f"it is a zip archive {kind}; {_ALLOWED}")
    config = parse_json(_member(archive, _CONFIG, MAX_JSON_BYTES))
    return config, _member(archive, _ARRAYS, MAX_BYTES)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    info = archive.getinfo(name)
    is_bomb = info.file_size > MAX_EXPANSION * info.compress_size + FREE_BYTES
    if is_bomb or info.file_size > limit:
        raise ModelError(f"{name} in it unpacks to {info.file_size} bytes")
    return archive.read(name)  # zipfile reads no more than `file_size`.


def _names(config: Any, container: str, *, recurse: bool) -> Iterable[tuple[str, str]]:
    """(path in the file, name) of each layer, including inner models, one level deep.

    Keras numbers the layers of a class in the model's order. A configuration without a list of
    layers gives no names.
    """
    counts: dict[str, int] = defaultdict(int)
    for layer in _layers(config):
        kind = snake_case(str(layer["class_name"]))
        path = f"{container}/{kind}_{counts[kind]}" if counts[kind] else f"{container}/{kind}"
        counts[kind] += 1
        yield path, str(layer["config"]["name"])
        if recurse:
            yield from _names(layer, f"{path}/layers", recurse=False)


def _layers(config: Any) -> list[Any]:
    content = config.get("config") if isinstance(config, dict) else None
    layers = content.get("layers") if isinstance(content, dict) else None
    return layers if isinstance(layers, list) else []


def _scaling(config: Any) -> tuple[Any, Any] | None:
    """`scale` and `offset` of the first `Rescaling` layer."""
    for layer in _layers(config):
        if layer["class_name"] == "Rescaling":
            return layer["config"]["scale"], layer["config"]["offset"]
    return None
