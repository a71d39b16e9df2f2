"""Weights files made by hand: arrays of floats are read, and everything else is refused."""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sharpeye.errors import EnvironmentFault, ModelError, UsageError
from sharpeye.models.weights import hdf5, weight_file_check
from sharpeye.models.weights.hdf5 import snake_case, split_number
from sharpeye.models.weights.weight_file_check import check_weight_file
from sharpeye.models.weights.weight_files import read_weight_file

VALUES = np.arange(6, dtype="float32").reshape(2, 3)
Change = Callable[[h5py.Group], Any]


def legacy(path: Path, change: Change = lambda group: None, names: Any = ("conv",)) -> Path:
    """A file of the older layout with one layer, `conv`, whose only weight is `conv/kernel:0`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
        group = file.create_group("conv")
        group.attrs["weight_names"] = ["conv/kernel:0"]
        group["conv/kernel:0"] = VALUES
        change(group)
    return path


def keras3(file: h5py.File, **arrays: Any) -> None:
    """Add layers of Keras 3's layout with one weight each."""
    for name, values in arrays.items():
        file[f"layers/{name}/vars/0"] = values


def archive(path: Path, arrays: bytes, config: str = "{}", compress: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", compress or zipfile.ZIP_STORED) as file:
        file.writestr("config.json", config)
        file.writestr("model.weights.h5", arrays)
    return path


def refusal(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ModelError) as caught:
        read_weight_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def replaced(data: Any, **options: Any) -> Change:
    """Replace the weight by something else."""

    def change(group: h5py.Group) -> None:
        del group["conv/kernel:0"]
        if isinstance(data, (h5py.SoftLink, h5py.ExternalLink)):
            group["conv/kernel:0"] = data
        elif isinstance(data, h5py.VirtualLayout):
            group.create_virtual_dataset("conv/kernel:0", data)
        else:
            group.create_dataset("conv/kernel:0", **({"data": data} | options))

    return change


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["conv"], np.array([b"conv"]), np.array([b"conv"], dtype="S9")])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_arrays_of_floats_are_read_as_float32(names: Any, dtype: str, tmp_path: Path) -> None:
    file = legacy(tmp_path / "x.bin", replaced(VALUES.astype(dtype)), names)
    ((layer,),) = read_weight_file(file).scopes
    assert (layer.name, layer.kind, layer.shapes) == ("conv", "conv", ((2, 3),))
    assert layer.arrays[0].dtype == np.float32
    assert (layer.arrays[0] == VALUES).all()


def test_compressed_arrays_are_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(500, 500)).astype("float32")
    file = legacy(tmp_path / "x.h5", replaced(noise, compression="gzip", shuffle=True))
    ((layer,),) = read_weight_file(file).scopes
    assert (layer.arrays[0] == noise).all()


def test_long_lists_of_names_are_joined_again(tmp_path: Path) -> None:
    names = [f"conv_{number}" for number in range(10)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:7], names[7:]
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = ["kernel"]
            group["kernel"] = VALUES
    (scope,) = read_weight_file(tmp_path / "x.h5").scopes
    assert [layer.name for layer in scope] == names
    assert {layer.kind for layer in scope} == {"conv"}


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_layers_of_keras_3_are_ordered_by_their_numbers(container: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        keras3(file, conv2d_10=[10.0], conv2d=[0.0], conv2d_2=[2.0], depthwise_conv2d=[5.0])
        for number in range(11):
            file[f"layers/dense/vars/{number}"] = [float(number)]
        file["optimizer/vars/0"] = [1]
        file.move("layers", container)
    (scope,) = read_weight_file(tmp_path / "x.weights.h5").scopes
    convolutions = [layer for layer in scope if layer.kind == "conv2d"]
    assert [float(layer.arrays[0][0]) for layer in convolutions] == [0, 2, 10]
    (dense,) = [layer for layer in scope if layer.kind == "dense"]
    assert [float(array[0]) for array in dense.arrays] == list(range(11))
    assert not read_weight_file(tmp_path / "x.weights.h5").in_order


def test_names_come_from_the_config_of_an_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        keras3(file, conv2d=[0.0], conv2d_1=[1.0])
        file["layers/functional/layers/dense/vars/0"] = [2.0]

    def layer(kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"class_name": kind, "config": {"name": name} | more}

    inner = layer("Functional", "inner", layers=[layer("Dense", "last")])
    layers = [layer("Conv2D", "first"), inner, layer("Conv2D", "second")]
    config = json.dumps(layer("Functional", "outer", layers=layers))
    weights = read_weight_file(archive(tmp_path / "x.keras", buffer.getvalue(), config))
    names = [[(x.name, float(x.arrays[0][0])) for x in scope] for scope in weights.scopes]
    assert names == [[("first", 0), ("second", 1)], [("last", 2)]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Conv2D", "conv2d"),
        ("DepthwiseConv2D", "depthwise_conv2d"),
        ("BatchNormalization", "batch_normalization"),
        ("PReLU", "p_re_lu"),
    ],
)
def test_class_names_are_written_as_keras_writes_them(name: str, expected: str) -> None:
    assert snake_case(name) == expected
    assert split_number(f"{expected}_12") == (expected, 12)
    assert split_number(expected) == (expected, 0)


# --- what is refused ------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "x.h5", tmp_path):
        with pytest.raises(UsageError, match="there is no file of weights at"):
            read_weight_file(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begins with b''"),
        (b"hello, this is text", "begins with b'hello, t'"),
        (pickle.dumps({"w": 1}), "pickle"),
        (b'{"metadata": {}, "weight_map": {}}', "several files"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is damaged"),
        (b"PK\x03\x04" + bytes(100), "is damaged"),
    ],
)
def test_other_files_are_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "x.weights.h5"
    file.write_bytes(data)
    assert reason in refusal(file)


@pytest.mark.parametrize(
    ("members", "reason"),
    [(["archive/data.pkl"], "PyTorch's, with a pickle; allowed"), (["a.txt"], "without model")],
)
def test_other_archives_are_refused(members: list[str], reason: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as file:
        for member in members:
            file.writestr(member, b"\x80\x02.")
    assert reason in refusal(tmp_path / "x.pth")


def test_hdf5_without_layers_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = VALUES
    assert "no layers with weights; allowed are" in refusal(tmp_path / "x.h5")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["values"] = VALUES
    raw = tmp_path / "secret.bin"
    raw.write_bytes(VALUES.tobytes())
    layout = h5py.VirtualLayout((2, 3), "float32")
    layout[:] = h5py.VirtualSource(secret, "values", (2, 3))
    external = {"external": [(str(raw), 0, 24)], "shape": (2, 3), "dtype": "float32"}
    changes = (
        (replaced(h5py.ExternalLink(secret, "values")), "link to another place"),
        (replaced(h5py.SoftLink("/conv/conv/other")), "link to another place"),
        (replaced(layout), "from another file"),
        (replaced(None, **external), "from another file"),
    )
    for change, reason in changes:
        assert f"{reason}, which is not followed" in refusal(legacy(tmp_path / "x.h5", change))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["layers/dense/vars"] = h5py.ExternalLink(secret, "/")
    assert "which is not followed" in refusal(tmp_path / "y.h5")


@pytest.mark.parametrize(
    "data", [np.arange(3), np.array([b"text"]), np.array([(1, 2.0)], "i4,f4"), np.array([True])]
)
def test_a_layer_with_other_values_than_floats_has_no_arrays(data: Any, tmp_path: Path) -> None:
    ((layer,),) = read_weight_file(legacy(tmp_path / "x.h5", replaced(data))).scopes
    assert layer.arrays == ()


def test_objects_are_not_read(tmp_path: Path) -> None:
    texts = np.array(["a", "b"], dtype=object)
    change = replaced(texts, dtype=h5py.string_dtype())
    ((layer,),) = read_weight_file(legacy(tmp_path / "x.h5", change)).scopes
    assert layer.arrays == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replaced(None, shape=(2**20, 2**20), dtype="f4"), "far more than are stored"),
        (replaced(np.zeros((4096, 4096), "f4"), compression="gzip"), "far more than are stored"),
        (replaced(VALUES, compression="lzf"), "packed by a plugin"),
        (replaced(np.array([1, np.nan], "f4")), "no numbers"),
        (replaced(np.array([1e300])), "no numbers"),
        (replaced(h5py.Empty("f4")), "no array"),
        (lambda group: group.pop("conv/kernel:0"), "no array"),
        (lambda group: group.attrs.create("weight_names", ["/conv/conv/kernel:0"]), "no array"),
        (lambda group: group.attrs.create("weight_names", [1, 2]), "no list of names"),
        (lambda group: group.attrs.create("weight_names", ["x" * 2000]), "over 1000 letters"),
        (lambda group: group.parent.pop("conv"), "listed, but not there"),
    ],
)
def test_bombs_and_nonsense_are_refused(change: Change, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(legacy(tmp_path / "x.h5", change))


def test_an_array_counts_once_for_each_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        file["values"] = np.zeros(1000, "float32")
        for number in range(300):
            file[f"layers/dense_{number}/vars/0"] = file["values"]
    assert len(read_weight_file(tmp_path / "x.weights.h5").scopes[0]) == 300
    monkeypatch.setattr(hdf5, "MAX_BYTES", 2**20)
    assert "GiB of weights" in refusal(tmp_path / "x.weights.h5")
    monkeypatch.undo()
    monkeypatch.setattr(hdf5, "MAX_GROUPS", 1000)
    assert "more than 1000 groups" in refusal(tmp_path / "x.weights.h5")


def test_endless_lists_of_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = legacy(tmp_path / "x.h5", names=["conv"] * 20)
    assert len(read_weight_file(file).scopes[0]) == 20
    monkeypatch.setattr(hdf5, "MAX_NAMES", 30)
    assert "no list of names" in refusal(file)


def test_groups_inside_themselves_are_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        keras3(file, dense=[1.0])
        file["layers/functional/layers"] = file["layers"]
    scopes = read_weight_file(tmp_path / "x.weights.h5").scopes
    assert [len(scope) for scope in scopes] == [1, 1]


@pytest.mark.parametrize(
    ("arrays", "config", "reason"),
    [
        (bytes(2**26), "{}", "model.weights.h5 in it unpacks to 67108864 bytes"),
        (b"x", " " * 2**26, "config.json in it unpacks to 67108864 bytes"),
        (b"x", "9" * 5000, "a number is too large"),
        (b"x", "NaN", "is not a number"),
        (b"x", "[" * 100_000, "too deeply"),
        (b"x", "{", "is damaged"),
        (b"x", "{}", "is damaged"),
        (b"x", '{"config": {"layers": [1]}}', "is damaged"),
    ],
)
def test_bad_archives_are_refused(arrays: bytes, config: str, reason: str, tmp_path: Path) -> None:
    file = archive(tmp_path / "x.keras", arrays, config, zipfile.ZIP_DEFLATED)
    assert reason in refusal(file)


# --- in a process with limits ---------------------------------------------------------------------


def chunk_bomb(count: int) -> Change:
    """A weight of one number in a chunk that unpacks to so many bytes."""

    def change(group: h5py.Group) -> None:
        del group["conv/kernel:0"]
        options = {"maxshape": (None,), "chunks": (count // 4,), "compression": "gzip"}
        data = group.create_dataset("conv/kernel:0", (1,), "f4", **options)
        data.id.write_direct_chunk((0,), zlib.compress(bytes(count), 9))

    return change


@pytest.mark.slow
def test_a_file_that_the_library_cannot_bear_is_refused(tmp_path: Path) -> None:
    file = legacy(tmp_path / "x.h5", chunk_bomb(2**29))
    with pytest.raises(ModelError, match="is damaged") as caught:
        check_weight_file(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_process_that_is_killed_means_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: str) -> None:
        raise EnvironmentFault("it ended with status -9")

    monkeypatch.setattr(weight_file_check, "run_module", killed)
    with pytest.raises(ModelError, match=r"x\.h5 is damaged: .* \(it ended with status -9\)"):
        check_weight_file(legacy(tmp_path / "x.h5"))


def test_good_weights_pass_the_limits(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(1000, 3000)).astype("float16")
    check_weight_file(legacy(tmp_path / "x.h5", replaced(noise, compression="gzip")))
    zeros = np.zeros((500, 500), "float32")
    check_weight_file(legacy(tmp_path / "y.h5", replaced(zeros, compression="gzip")))
