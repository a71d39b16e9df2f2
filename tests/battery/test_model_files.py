"""Crafted and damaged model files through every door that opens one."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from battery import weight_files
from battery.fuzz.mutations import mutate
from battery.model_process import ModelProcess, check_cost, check_refused, model_process
from battery.processes import run_process
from battery.tally import Tally, Tier
from battery.valid_models import (
    GoodModel,
    frozen_graph,
    graph_record,
    hdf5,
    keras_archive,
    make_good_model,
)
from runner import environment

if sys.platform == "win32":
    pytest.skip("pipes and resource limits are those of POSIX", allow_module_level=True)

import hostile_folders
import hostile_onnx

MODELS = {**hostile_onnx.CASES, **hostile_folders.CASES}
DOORS = ("evaluate", "export", "verify", "serve", "label-image", "studio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def good(folder: Path) -> GoodModel:
    return make_good_model(folder)


@pytest.fixture(scope="module")
def process(folder: Path, good: GoodModel) -> Iterator[ModelProcess]:
    """A process that has opened the valid models once, so that all modules are imported."""
    images = folder / "images"
    for label in ("ash", "birch"):
        (images / label).mkdir(parents=True)
        shutil.copy(folder / "picture.png", images / label / "1.png")
    with model_process(folder) as process:
        assert process("predict", folder / "good.onnx", folder / "picture.png")["code"] == 0
        for door in DOORS:
            process(*_command(door, folder / "nothing.onnx", folder))
        process.peak_mib = process.slowest = 0.0
        yield process


def _command(door: str, model: Path, folder: Path) -> list[str | Path]:
    out = folder / "out"
    commands: dict[str, list[str | Path]] = {
        "predict": ["predict", model, folder / "picture.png"],
        "evaluate": ["evaluate", model, folder / "images"],
        "export": ["export", model, "--format", "onnx", "--output", out],
        "verify": ["export", model, "--verify"],
        "serve": ["serve", model, "--port", "0"],
        "label-image": ["label-image", "--graph", model, folder / "picture.png"],
        "studio": ["studio", model],
    }
    return commands[door]


def _doors(model: Path, name: str) -> list[str]:
    """The doors beside prediction that take this kind of file."""
    if name in hostile_onnx.AT_RUN:  # it passes all checks, and fails at its first run
        return ["serve", "evaluate", "label-image"]
    doors = ["evaluate", "export", "serve", "studio"]
    if model.suffix == ".sharpeye":
        return [*doors, "verify"]
    return [*doors, "label-image"] if model.suffix == ".onnx" or model.is_dir() else doors


def _use_figures(tally: Tally, process: ModelProcess) -> None:
    tally.figures["slowest"] = f"{process.slowest:.2f} s of CPU"
    tally.figures["peak"] = f"{process.peak_mib:.0f} MiB more"


def _chosen(names: list[str], count: int, seed: int) -> list[str]:
    """`count` of the names, in their order; other ones for another seed."""
    if count >= len(names):
        return names
    numbers = np.random.default_rng(seed).choice(len(names), count, replace=False)
    return [names[number] for number in sorted(numbers)]


def test_crafted_models(
    tally: Tally, tier: Tier, seed: int, folder: Path, good: GoodModel, process: ModelProcess
) -> None:
    """Crafted ONNX files, run directories and bundles: each by prediction and one more door."""
    doors: set[str] = set()
    count = tier.count(small=16, battery=len(MODELS), full=len(MODELS))
    for number, name in enumerate(_chosen(list(MODELS), count, seed)):
        place = folder / "crafted" / name.partition(".")[0]
        place.mkdir(parents=True)
        model = MODELS[name](good, place / name) or place / name
        others = _doors(model, name)
        for door in (
            "predict",
            *(others if tier.name == "full" else [others[number % len(others)]]),
        ):
            doors.add(door)
            with tally.case(f"{name} by {door}"):
                allowed = ("socket",) if name in hostile_onnx.AT_RUN else ()
                check_refused(process(*_command(door, model, folder)), model, allowed=allowed)
                assert not (folder / "out").exists()
    with tally.case("the file that nobody may open"):
        assert good.canary.read_text() == "a secret"
    tally.figures["doors"] = ", ".join(sorted(doors))
    _use_figures(tally, process)


def test_mutated_models(
    tally: Tally, tier: Tier, seed: int, folder: Path, good: GoodModel, process: ModelProcess
) -> None:
    """Damaged ONNX files, bundles and manifests: each byte is covered by a digest."""
    random, record = np.random.default_rng(seed), (folder / "good" / "bundle.json").read_bytes()
    run = folder / "changed"
    shutil.copytree(folder / "good", run)
    for number in range(tier.count(small=12, battery=150, full=1200)):
        kind, data = (
            ("changed.onnx", good.model),
            ("changed.sharpeye", good.archive),
            ("changed", record),
        )[number % 3]
        changed = mutate(random, data)
        file = run / "bundle.json" if kind == "changed" else folder / kind
        file.write_bytes(changed)
        with tally.case(f"mutation {number} of {kind}"):
            result = process(*_command("predict", folder / kind, folder))
            if changed == data or (kind == "changed" and result["code"] == 0):
                check_cost(result)  # a version or a date has no digest
            else:
                check_refused(result, folder / kind)
    _use_figures(tally, process)


def test_weights(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, process: ModelProcess
) -> None:
    """Crafted and damaged weights: HDF5, Keras archives, frozen graphs, formats refused by type."""
    canary = tmp_path / "canary.txt"
    canary.write_text("a secret")
    names = list(weight_files.CASES)
    allowed = ("subprocess.Popen", "os.posix_spawn", "write")  # the process that reads first
    for name in _chosen(names, tier.count(small=2, battery=len(names), full=len(names)), seed):
        place = tmp_path / name
        place.mkdir()
        file = weight_files.CASES[name](place)
        before = {path.name for path in place.iterdir()}
        with tally.case(name):
            result = process("weights", file)
            if name == "objects.h5" and result["code"] == 0:  # it is a layer without weights
                check_cost(result)
            else:
                check_refused(result, file, allowed=allowed)
            assert {path.name for path in place.iterdir()} == before
        shutil.rmtree(place)
    random, seeds = np.random.default_rng(seed), (hdf5(), hdf5("keras3"), keras_archive())
    graph = frozen_graph(128, record=graph_record()).SerializeToString()
    for number in range(tier.count(small=1, battery=40, full=600)):
        suffix, data = ((".h5", seeds[0]), (".h5", seeds[1]), (".keras", seeds[2]), (".pb", graph))[
            number % 4
        ]
        file = tmp_path / f"changed{suffix}"
        file.write_bytes(mutate(random, data))
        with tally.case(f"mutation {number} of {suffix}"):
            result = process("weights", file)
            if result["code"] == 0:  # other weights than before
                check_cost(result)
            else:
                check_refused(result, file, allowed=allowed)
    with tally.case("the file that nobody may open"):
        assert canary.read_text() == "a secret"
    _use_figures(tally, process)


def test_graphs(tally: Tally, tier: Tier, seed: int, tmp_path: Path, folder: Path) -> None:
    """Crafted frozen graphs and records through label-image, which runs TensorFlow."""
    if tier.name == "small":
        tally.skip(len(_GRAPHS))  # TensorFlow's import takes seconds
        return
    with model_process(tmp_path) as process:
        for name, change in _GRAPHS.items():
            graph = frozen_graph(record=graph_record())
            change(graph)
            file = tmp_path / f"{name}.pb"
            file.write_bytes(graph.SerializeToString())
            with tally.case(name):
                result = process("label-image", "--graph", file, folder / "picture.png")
                if name == "good":
                    assert result["code"] == 0, result
                    process.slowest = 0.0  # TensorFlow's import
                    continue
                check_refused(result, file, allowed=("write", "subprocess.Popen"))
        _use_figures(tally, process)


def _set_op(name: str, op: str) -> Any:
    return lambda graph: setattr(_node(graph, name), "op", op)


def _node(graph: Any, name: str) -> Any:
    return next(node for node in graph.node if node.name == name)


def _record(**changes: Any) -> Any:
    def change(graph: Any) -> None:
        text = json.dumps(graph_record(**changes)).encode()
        _node(graph, "final_result").attr["_sharpeye"].s = text

    return change


def _add_huge(graph: Any, size: int = 2**32) -> None:
    """The scores get 0 times the largest of a huge constant, which one number fills."""
    dims = graph.node.add(name="dims", op="Const")
    dims.attr["dtype"].type = 9
    tensor = dims.attr["value"].tensor
    tensor.dtype, tensor.tensor_content = 9, np.array([size], np.int64).tobytes()
    tensor.tensor_shape.dim.add(size=1)
    value = graph.node.add(name="value", op="Const")
    value.attr["dtype"].type = 1
    value.attr["value"].tensor.dtype = 1
    value.attr["value"].tensor.tensor_content = bytes(4)
    fill = graph.node.add(name="fill", op="Fill", input=["dims", "value"])
    fill.attr["T"].type, fill.attr["index_type"].type = 1, 9
    axis = graph.node.add(name="axis", op="Const")
    axis.attr["dtype"].type = 3
    axis.attr["value"].tensor.dtype = 3
    axis.attr["value"].tensor.tensor_content = bytes(4)
    largest = graph.node.add(name="largest", op="Max", input=["fill", "axis"])
    largest.attr["T"].type, largest.attr["Tidx"].type = 1, 3
    total = graph.node.add(name="total", op="AddV2", input=["logits", "largest"])
    total.attr["T"].type = 1
    _node(graph, "final_result").input[0] = "total"


_GRAPHS: dict[str, Any] = {
    "good": lambda graph: None,
    "while": _set_op("relu", "While"),
    "enter": _set_op("relu", "Enter"),
    "read_file": _set_op("relu", "ReadFile"),
    "py_func": _set_op("relu", "PyFunc"),
    "immutable_const": _set_op("bias", "ImmutableConst"),
    "unknown": _set_op("relu", "OpOfTomorrow"),
    "no_such_input": lambda graph: _node(graph, "relu").input.__setitem__(0, "nothing"),
    "cycle": lambda graph: _node(graph, "conv").input.__setitem__(0, "relu"),
    "other_shape": lambda graph: (
        _node(graph, "weights").attr["value"].tensor.tensor_shape.dim.add(size=9)
    ),
    "labels_few": _record(labels=["ash", "birch"]),
    "labels_numbers": _record(labels=[1, 2, 3, 4]),
    "labels_text": _record(labels="ash"),
    "record_empty": lambda graph: setattr(_node(graph, "final_result").attr["_sharpeye"], "s", b""),
    "record_deep": lambda graph: setattr(
        _node(graph, "final_result").attr["_sharpeye"], "s", b"[" * 100_000
    ),
    "record_list": lambda graph: setattr(
        _node(graph, "final_result").attr["_sharpeye"], "s", b"[1]"
    ),
    "mean_large": _record(
        graph={"input_layer": "input", "output_layer": "final_result", "mean": 10**400, "std": 1}
    ),
    "std_0": _record(
        graph={"input_layer": "input", "output_layer": "final_result", "mean": 0, "std": 0}
    ),
    "input_far": _record(input={"height": 10**9, "width": 32}),
    "input_text": _record(input="32x32"),
    "terabytes": lambda graph: _add_huge(graph, 2**45),
    "gigabytes": lambda graph: _add_huge(graph, 10**9),
}


def test_imports(tally: Tally, tier: Tier, folder: Path, good: GoodModel) -> None:
    """Prediction imports neither Keras nor TensorFlow, and unpickles nothing."""
    program = """
import sys
events = []
sys.addaudithook(lambda event, arguments: events.append(event))
from sharpeye.cli.app import run
assert run(["predict", sys.argv[1], sys.argv[2]]) == 0
heavy = {"tensorflow", "keras", "h5py", "onnx", "torch", "joblib", "scipy"} & set(sys.modules)
assert not heavy, heavy
assert "pickle.find_class" not in events
assert "socket.connect" not in events and "subprocess.Popen" not in events
"""
    for name in ("good", "good.onnx", "good.sharpeye")[: tier.count(1, 3, 3)]:
        with tally.case(name):
            run_process(
                [sys.executable, "-c", program, str(folder / name), str(folder / "picture.png")],
                env=environment(folder / "cache"),
                timeout=60,
            ).check({0})
