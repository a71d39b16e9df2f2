"""Crafted weights files: HDF5, Keras archives, frozen graphs, and formats refused by type."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from battery.valid_models import frozen_graph, graph_record, keras_archive

# Writes a file into a folder, beside which `canary.txt` lies, and returns its path.
CASES: dict[str, Callable[[Path], Path]] = {}


class _Touch:
    """Makes the file `touched` if it is ever unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._file), "w"))


def _bytes(name: str, make: Callable[[Path], bytes]) -> None:
    def write(folder: Path) -> Path:
        file = folder / name
        file.write_bytes(make(folder))
        return file

    CASES[name] = write


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


# --- refused by type ------------------------------------------------------------------------------


def _pickled(folder: Path) -> bytes:
    return pickle.dumps(_Touch(folder / "touched"))


def _object_array(folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, w=np.array([_Touch(folder / "touched")], dtype=object))
    return buffer.getvalue()


def _safetensors(header: bytes, data: bytes = bytes(24), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _tensor(start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end]}


for _suffix in ("pt", "pkl", "joblib", "bin", "ckpt"):
    _bytes(f"pickle.{_suffix}", _pickled)
_bytes("torch.pth", lambda folder: _zip(archive__data_dot_pkl=_pickled(folder)))
_bytes("objects.npz", _object_array)
_bytes("objects.npy", lambda folder: b"\x93NUMPY\x01\0v\0{'descr': '|O', 'shape': (1,)}")
_bytes("good.safetensors", lambda folder: _safetensors(json.dumps({"w": _tensor(0, 8)}).encode()))
_bytes("long_header.safetensors", lambda folder: _safetensors(b"{}", length=100_000_001))
_bytes("endless_header.safetensors", lambda folder: _safetensors(b"{}", length=2**64 - 1))
_bytes(
    "overlap.safetensors",
    lambda folder: _safetensors(json.dumps({"a": _tensor(0, 8), "b": _tensor(4, 12)}).encode()),
)
_bytes(
    "hole.safetensors",
    lambda folder: _safetensors(json.dumps({"a": _tensor(0, 8), "b": _tensor(16, 24)}).encode()),
)
_bytes("twice.safetensors", lambda folder: _safetensors(b'{"a": {}, "a": {}}'))
_bytes("flat.tflite", lambda folder: struct.pack("<I4s", 2**31, b"TFL3") + bytes(200))
_bytes(
    "openvino.xml", lambda folder: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><net/>'
)
_bytes("index.json", lambda folder: b'{"weight_map": {"w": "../../canary.txt"}}')
_bytes("nothing.h5", lambda folder: b"")


# --- HDF5 -----------------------------------------------------------------------------------------


def _hdf5(name: str, change: Callable[[h5py.Group, Path], Any], dataset: bool = False) -> None:
    """A file of the older layout; `change` adds the weight `k` to the group of its only layer."""

    def write(folder: Path) -> Path:
        file = folder / f"{name}.h5"
        with h5py.File(file, "w") as opened:
            opened.attrs["layer_names"] = ["conv"]
            group = opened.create_group("conv")
            group.attrs["weight_names"] = ["k"]
            change(group, folder)
        return file

    CASES[f"{name}.h5"] = write


def _secret(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["values"] = np.ones((2, 3), "float32")
    return folder / "secret.h5"


def _virtual(group: h5py.Group, folder: Path) -> None:
    layout = h5py.VirtualLayout((2, 3), "float32")
    layout[:] = h5py.VirtualSource(_secret(folder), "values", (2, 3))
    group.create_virtual_dataset("k", layout)


def _external_storage(group: h5py.Group, folder: Path) -> None:
    canary = str(folder.parent / "canary.txt")
    group.create_dataset("k", (2,), "float32", external=[(canary, 0, 8)])


def _chunk(group: h5py.Group, *, size: int, packed: bytes) -> None:
    data = group.create_dataset("k", (1,), "f4", maxshape=(None,), chunks=(size,), compression=1)
    data.id.write_direct_chunk((0,), packed)


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(2**22)
    return b"".join(packer.compress(block) for _ in range(count // 2**22)) + packer.flush()


def _cycle(group: h5py.Group, folder: Path) -> None:
    group["k"] = group
    group["conv"] = group


_hdf5(
    "external_link",
    lambda group, folder: group.update({"k": h5py.ExternalLink(_secret(folder), "values")}),
)
_hdf5(
    "external_link_to_a_pipe",
    lambda group, folder: group.update({"k": h5py.ExternalLink(_pipe(folder), "x")}),
)
_hdf5("soft_link", lambda group, folder: group.update({"k": h5py.SoftLink("/conv/k")}))
_hdf5("virtual", _virtual)
_hdf5("external_storage", _external_storage)
_hdf5("shape_bomb", lambda group, folder: group.create_dataset("k", (2**20, 2**20), "f4"))
_hdf5("shape_bomb_4_gib", lambda group, folder: group.create_dataset("k", (998_244_353,), "f4"))
_hdf5(
    "packed_shape_bomb",
    lambda group, folder: group.create_dataset("k", (2**26,), "f4", compression=9, fillvalue=1),
)
_hdf5("chunk_bomb", lambda group, folder: _chunk(group, size=2**29, packed=_zeros(2**31)))
_hdf5("longer_chunk", lambda group, folder: _chunk(group, size=2**20, packed=_zeros(2**31)))
_hdf5("cycle", _cycle)
_hdf5(
    "objects",
    lambda group, folder: group.create_dataset("k", data=["a"], dtype=h5py.string_dtype()),
)
_hdf5(
    "not_a_number", lambda group, folder: group.create_dataset("k", data=np.array([np.nan], "f4"))
)
_hdf5(
    "plugin",
    lambda group, folder: group.create_dataset("k", data=np.ones(99, "f4"), compression="lzf"),
)
_hdf5("parent", lambda group, folder: group.attrs.modify("weight_names", ["../../k"]))
_hdf5("absolute", lambda group, folder: group.attrs.modify("weight_names", ["/etc/passwd"]))
_hdf5("no_text", lambda group, folder: group.attrs.create("weight_names", np.arange(3)))


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.h5")
    return folder / "pipe.h5"


# --- Keras archives -------------------------------------------------------------------------------


def _layer(kind: str, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": kind.lower(), **config},
    }


def _config(*layers: dict[str, Any], **more: Any) -> str:
    return json.dumps({"class_name": "Functional", "config": {"layers": list(layers)}, **more})


_CODE = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
_PROGRAMS = {
    # Each names code or a file that Keras itself would have run or opened: CVE-2024-3660,
    # 2025-1550, 2025-8747, 2025-9906, 2025-49655, 2025-12058, 2025-12060, 2026-1462, 2026-12479.
    "lambda": _config(_layer("Lambda", function=_CODE)),
    "any_module": _config({"module": "os", "class_name": "system", "config": "touch touched"}),
    "get_file": _config(
        _layer("Lambda", function="keras.utils.get_file", arguments={"extract": True})
    ),
    "unsafe": _config(_layer("Lambda", function=_CODE), enable_unsafe_deserialization=True),
    "torch_module": _config(_layer("TorchModuleWrapper", module="gASVAAAA")),
    "vocabulary": _config(_layer("StringLookup", vocabulary="/etc/passwd")),
    "vocabulary_url": _config(_layer("IntegerLookup", vocabulary="http://127.0.0.1:9/v")),
    "saved_model": _config(_layer("TFSMLayer", filepath="../evil")),
    "name_of_a_path": _config(_layer("Dense", name="../../evil")),
    "registered_name": _config({"registered_name": "os>system", **_layer("Dense")}),
    "type_spec": _config({"class_name": "__typespec__", "config": {"name": "x"}}),
    "nested_lambda": _config(json.loads(_config(_layer("Lambda", function=_CODE)))),
    "compile_config": _config(
        compile_config={"optimizer": {"module": "os", "class_name": "system"}}
    ),
    "initializer": _config(
        _layer("Dense", kernel_initializer={"module": "os", "class_name": "popen"})
    ),
}


def _archive(name: str, make: Callable[[Path], bytes]) -> None:
    _bytes(f"{name}.keras", make)


for _name, _text in _PROGRAMS.items():
    _archive(f"{_name}_without_weights", lambda folder, text=_text: keras_archive(b"none", text))
_archive(
    "config_bomb", lambda folder: keras_archive(config=" " * 2**26, method=zipfile.ZIP_DEFLATED)
)
_archive("config_of_values", lambda folder: keras_archive(config="[" + "{}," * (2**24) + "{}]"))
_archive("config_deep", lambda folder: keras_archive(config='{"a":' * 100_000))
_archive("config_long_number", lambda folder: keras_archive(config="9" * 5000))
_archive("config_nan", lambda folder: keras_archive(config="NaN"))
_archive("arrays_bomb", lambda folder: keras_archive(bytes(2**27), method=zipfile.ZIP_DEFLATED))
_archive("cut", lambda folder: keras_archive()[:-30])
_archive(
    "encrypted",
    lambda folder: keras_archive().replace(
        b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"
    ),
)
_archive("no_weights", lambda folder: _zip(config_dot_json=b"{}"))
_archive("slip", lambda folder: _zip(**{"..__..__evil_dot_py": b"x", "config_dot_json": b"{}"}))
_archive("nested", lambda folder: keras_archive(keras_archive()))


# --- frozen graphs --------------------------------------------------------------------------------


def _graph(name: str, change: Callable[[Any], Any]) -> None:
    def make(folder: Path) -> bytes:
        graph = frozen_graph(128, record=graph_record())
        change(graph)
        return bytes(graph.SerializeToString())

    _bytes(f"{name}.pb", make)


def _node(graph: Any, name: str) -> Any:
    return next(node for node in graph.node if node.name == name)


def _shape(graph: Any, name: str, *sizes: int) -> None:
    tensor = _node(graph, name).attr["value"].tensor
    del tensor.tensor_shape.dim[:]
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)


def _broadcast(graph: Any, *sizes: int) -> None:
    """One number for all elements of a shape."""
    _shape(graph, "kernel", *sizes)
    tensor = _node(graph, "kernel").attr["value"].tensor
    tensor.tensor_content = bytes(4)


def _packed(content: bytes, name: str = "frozen_graph.pb", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=9) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in options.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _long_field(tag: int, content: bytes) -> bytes:
    length, number = bytearray(), len(content)
    while number > 127:
        length.append(number & 127 | 128)
        number >>= 7
    return bytes([tag]) + bytes([*length, number]) + content


_graph("huge_constant", lambda graph: _shape(graph, "kernel", 2**31, 2**31, 3, 8))
_graph("negative_constant", lambda graph: _shape(graph, "kernel", -3, 3, 3, 8))
_graph("broadcast_constant", lambda graph: _broadcast(graph, 3, 3, 3, 2**22))
_graph("broadcast_terabyte", lambda graph: _broadcast(graph, 3, 3, 3, 2**36))
_graph("other_channels", lambda graph: _broadcast(graph, 3, 3, 5, 8))
_graph("flat_kernel", lambda graph: _broadcast(graph, 27))
_graph("no_kernel", lambda graph: graph.node.remove(_node(graph, "kernel")))
_graph("no_pooling", lambda graph: setattr(_node(graph, "pool"), "op", "Relu"))
_graph("cycle", lambda graph: _node(graph, "conv").input.__setitem__(0, "relu"))
_graph("itself", lambda graph: _node(graph, "relu").input.__setitem__(0, "relu"))
_graph("no_inputs", lambda graph: _node(graph, "conv").ClearField("input"))
_graph("no_inputs_of_relu", lambda graph: _node(graph, "relu").ClearField("input"))
_graph("no_attributes", lambda graph: _node(graph, "conv").ClearField("attr"))
_graph(
    "strides_huge", lambda graph: _node(graph, "conv").attr["strides"].list.i.__setitem__(1, 2**62)
)
_graph("window_huge", lambda graph: _node(graph, "pool").attr["ksize"].list.i.__setitem__(1, 2**62))
_graph(
    "type_unknown", lambda graph: setattr(_node(graph, "kernel").attr["value"].tensor, "dtype", 99)
)
_graph("file_reader", lambda graph: setattr(_node(graph, "relu"), "op", "ReadFile"))
_graph("loop", lambda graph: setattr(_node(graph, "relu"), "op", "While"))
_graph("concat_far", lambda graph: setattr(_node(graph, "relu"), "op", "ConcatV2"))
_bytes("many_nodes.tgz", lambda folder: _packed(b"\x0a\x00" * (30 * 2**20)))
_bytes("many_inputs.tgz", lambda folder: _packed(_long_field(0x0A, b"\x1a\x00" * (30 * 2**20))))
_bytes("link.tgz", lambda folder: _packed(b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
_bytes("bomb.tgz", lambda folder: _packed(bytes(200 * 2**20)))
_bytes("parent.tgz", lambda folder: _packed(b"none", "../../frozen_graph.pb"))
_bytes("cut.tgz", lambda folder: _packed(b"none" * 1000)[:60])
_bytes("text.pb", lambda folder: b"node { name: 'input' }")
_bytes("endless_number.pb", lambda folder: b"\x0a" + b"\xff" * 500)
