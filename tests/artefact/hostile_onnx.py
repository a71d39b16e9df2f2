"""Hostile `.onnx` files: each is a small valid model with one thing wrong."""

import json
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from good_model import GoodModel, set_metadata, with_digest
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[Any], None]

CASES: dict[str, Callable[[GoodModel, Path], Path | None]] = {}


def _file(name: str) -> Callable[[Callable[[GoodModel], bytes]], None]:
    """Register a case: a file of these bytes."""

    def register(make: Callable[[GoodModel], bytes]) -> None:
        CASES[f"{name}.onnx"] = lambda good, file: file.write_bytes(make(good)) and None

    return register


def _changed(name: str, change: Change) -> None:
    """Register a case: the good model after a change of its protobuf message."""

    def make(good: GoodModel, file: Path) -> None:
        model = onnx.load_from_string(good.model)
        change(model)
        file.write_bytes(with_digest(model))

    CASES[f"{name}.onnx"] = make


# --- not a model ----------------------------------------------------------------------------------


class _Touch:
    """Opens the canary if it is ever unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._canary), "w"))


_file("empty")(lambda good: b"")
_file("truncated")(lambda good: good.model[:-200])
_file("half")(lambda good: good.model[: len(good.model) // 2])
_file("random")(lambda good: np.random.default_rng(0).bytes(5000))
_file("zeros")(lambda good: bytes(5000))
_file("text")(lambda good: b"a model\n" * 100)
_file("html")(lambda good: b"<!DOCTYPE html><title>Log in</title>")
_file("pickled")(lambda good: pickle.dumps(_Touch(good.canary)))
_file("ort_format")(lambda good: struct.pack("<I4s", 16, b"ORTM") + bytes(500))
_file("an_archive")(lambda good: good.archive)
_file("hdf5")(lambda good: b"\x89HDF\r\n\x1a\n" + bytes(500))
_file("first_byte_only")(lambda good: b"\x08")
_file("endless_number")(lambda good: b"\x08" + b"\xff" * 5000)
_file("huge_length")(lambda good: good.model + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
_file("second_graph")(lambda good: good.model + b"\x3a\x00")
_file("later_field")(lambda good: good.model + b"\xd2\x01\x00")
_file("old_group")(lambda good: good.model + b"\x0b\x0c")
_file("many_fields")(lambda good: b"\x08\x09" + b"\x42\x00" * 3_000_000)
_file("no_utf8")(lambda good: good.model.replace(b"features", b"featur\xff\xfe"))


def _link(good: GoodModel, file: Path) -> None:
    file.symlink_to(good.canary)


def _pipe(good: GoodModel, file: Path) -> None:
    os.mkfifo(file)


def _sparse(good: GoodModel, file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


def _folder(good: GoodModel, file: Path) -> None:
    file.mkdir()


def _pickle_by_name(good: GoodModel, file: Path) -> Path:
    file = file.with_suffix(".pkl")
    file.write_bytes(pickle.dumps(_Touch(good.canary)))
    return file


CASES["link_to_outside.onnx"] = _link
CASES["pipe.onnx"] = _pipe
CASES["a_terabyte.onnx"] = _sparse
CASES["folder.onnx"] = _folder
CASES["pickle_by_name.onnx"] = _pickle_by_name


# --- the manifest inside -------------------------------------------------------------------------


def _manifest(name: str, **values: Any) -> None:
    def change(model: Any) -> None:
        manifest = json.loads(set_metadata(model)["sharpeye"])
        set_metadata(model, sharpeye=json.dumps(manifest | values))

    _changed(f"manifest_{name}", change)


def _manifest_text(name: str, edit: Callable[[str], str]) -> None:
    def change(model: Any) -> None:
        set_metadata(model, sharpeye=edit(set_metadata(model)["sharpeye"]))

    _changed(f"manifest_{name}", change)


_manifest_text("deep", lambda text: "[" * 200_000)
_manifest_text("deep_key", lambda text: text[:-1] + ', "more": ' + '{"a":' * 50_000)
_manifest_text("long_number", lambda text: '{"format": ' + "9" * 5000 + "}")
_manifest_text(
    "nan", lambda text: text.replace('"calibration": {', '"calibration": {"t": NaN, ', 1)
)
_manifest_text("key_twice", lambda text: '{"labels": ["x", "y"], ' + text[1:])
_manifest_text("no_object", lambda text: json.dumps([text]))
_manifest_text("empty", lambda text: "")
_manifest("newer", format=99)
_manifest("format_true", format=True)
_manifest("format_0", format=0)
_manifest("format_text", format="2")
_manifest("label_of_lines", labels=["ash", "birch\nerror: all is well", "cedar"])
_manifest("label_of_escapes", labels=["ash", "birch\x1b[2J", "cedar"])
_manifest("label_nothing", labels=["ash", "", "cedar"])
_manifest("label_long", labels=["ash", "b" * 100_000, "cedar"])
_manifest("label_twice", labels=["ash", "ash", "cedar"])
_manifest("label_number", labels=["ash", 1, "cedar"])
_manifest("labels_few", labels=["ash", "birch"])
_manifest("labels_more", labels=["ash", "birch", "cedar", "oak"])
_manifest("labels_many", labels=[f"class {i}" for i in range(100_001)])
_manifest("labels_object", labels={"0": "ash", "1": "birch", "2": "cedar"})
_manifest("labels_turned", labels=["cedar", "birch", "ash"])
_manifest("task_other", task="execute")
_manifest("task_localize", task="localize")
_manifest("task_list", task=["classify"])
_manifest("input_negative", input={"height": -16, "width": 16})
_manifest("input_huge", input={"height": 10**9, "width": 10**9})
_manifest("input_other", input={"height": 17, "width": 16})
_manifest("input_text", input={"height": "16", "width": "16"})
_manifest("input_more_keys", input={"height": 16, "width": 16, "__class__": "os"})
_manifest("input_channels_float", input={"height": 16, "width": 16, "channels": 3.0})
_manifest("input_channels", input={"height": 16, "width": 16, "channels": 10**6})
_manifest("model_object", model={"$ref": "/etc/passwd"})
_manifest("calibration_text", calibration={"temperature": "1"})
_manifest("calibration_large", calibration={"temperature": 10**400})
_manifest("coverage_2", unknown={"coverage": 2})
_manifest("calibrated_on_text", unknown={"calibrated_on": "many"})
_changed("manifest_changed", lambda model: _set_entry(model, "manifest_sha256", "0" * 64))
_changed("metadata_missing", lambda model: model.ClearField("metadata_props"))
_changed("metadata_labels", lambda model: _set_entry(model, "labels", '["x", "y", "z"]'))
_changed("metadata_input", lambda model: _set_entry(model, "input", '{"height": 9, "width": 9}'))
_changed("metadata_input_list", lambda model: _set_entry(model, "input", "[]"))
_changed("metadata_twice", lambda model: model.metadata_props.add(key="labels", value="[]"))


def _set_entry(model: Any, key: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == key).value = value


# --- files beside the model ----------------------------------------------------------------------


def _external(name: str, location: Callable[[GoodModel, Path], str]) -> None:
    def make(good: GoodModel, file: Path) -> None:
        model = onnx.load_from_string(good.model)
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location(good, file)), ("offset", "0"), ("length", "432")):
            tensor.external_data.add(key=key, value=value)
        file.write_bytes(model.SerializeToString())

    CASES[f"external_{name}.onnx"] = make


def _linked(good: GoodModel, file: Path) -> str:
    (file.parent / "weights.bin").symlink_to(good.canary)
    return "weights.bin"


_external("absolute", lambda good, file: str(good.canary))
_external("parent", lambda good, file: os.path.relpath(good.canary, file.parent))
_external("link", _linked)
_external("in_memory", lambda good, file: "*/_ORT_MEM_ADDR_/*")
_external("address", lambda good, file: "http://127.0.0.1:9/weights")


def _location_only(model: Any) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


_changed("external_without_place", _location_only)


# --- what a graph may be made of -----------------------------------------------------------------


def _spoiled(name: str, *nodes: Any, **constants: Any) -> None:
    _changed(name, lambda model: spoil(model, nodes, constants))


def spoil(model: Any, nodes: Sequence[Any], constants: dict[str, Any]) -> None:
    """Add nodes whose output `odd`, or directly `nothing`, is added to `probs`.

    Of `odd` the first number is added, times 0. Nodes can also use the constant `one`, float32[1].
    """
    graph = model.graph
    for node in graph.node:
        if node.output[0] == "probs":
            node.output[0] = "probs_before"
    graph.node.extend(nodes)
    if all(node.output[0] != "nothing" for node in nodes):
        graph.node.append(_node("Reshape", "odd", "any", to="odd_row"))
        graph.node.append(_node("Slice", "odd_row", "begin", "end", "begin", to="odd_first"))
        graph.node.append(_node("Mul", "odd_first", "none", to="nothing"))
    graph.node.append(_node("Add", "probs_before", "nothing", to="probs"))
    constants = {
        "none": np.zeros(1, np.float32),
        "one": np.ones(1, np.float32),
        "any": np.array([-1]),
        "begin": np.array([0]),
        "end": np.array([1]),
        **constants,
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _node(op: str, *inputs: str, to: str = "odd", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [to], **attributes)


def _cast(value: str, to: str, kind: int) -> Any:
    return helper.make_node("Cast", [value], [to], to=kind)


def _graph_of(output: str) -> Any:
    """A subgraph whose output has 4 TB."""
    node = helper.make_node("ConstantOfShape", ["huge"], [output])
    ends = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    return helper.make_graph([node], "inner", [], ends)


_HUGE = np.array([10**12])
_TRUE, _TIMES = np.array(True), np.array(10**9)
_BODY = helper.make_graph(
    [helper.make_node("Identity", [a], [b]) for a, b in (("go", "go_on"), ("x", "y"))],
    "body",
    [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
    ],
    [
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
    ],
)

_spoiled("op_unknown", _node("Detonate", "one"))
_spoiled("op_custom", _node("Detonate", "one", domain="my.operations"))
_spoiled("op_microsoft", _node("EPContext", domain="com.microsoft", ep_cache_context="x.bin"))
_spoiled("op_training", _node("Identity", "one", domain="ai.onnx.preview.training"))
_spoiled(
    "op_if",
    _node("If", "yes", then_branch=_graph_of("a"), else_branch=_graph_of("b")),
    yes=_TRUE,
    huge=_HUGE,
)
_spoiled("op_loop", _node("Loop", "times", "yes", "one", body=_BODY), times=_TIMES, yes=_TRUE)
_spoiled("op_scan", _node("Scan", "one", body=_BODY, num_scan_inputs=1))
_spoiled("op_hidden_graph", _node("Relu", "one", body=_BODY))
_spoiled("op_random", _node("RandomNormal", shape=[10**6, 10**6]))
_spoiled("op_with_two_outputs", helper.make_node("Dropout", ["one"], ["odd", "mask"]))
_spoiled("bomb_constant_of_shape", _node("ConstantOfShape", "huge"), huge=_HUGE)
_spoiled("bomb_constant", _node("Constant", value_floats=[1.0] * 1000))
_spoiled("bomb_expand", _node("Expand", "one", "huge"), huge=_HUGE)
_spoiled("bomb_tile", _node("Tile", "one", "huge"), huge=_HUGE)
_spoiled(
    "bomb_range",
    _node("Range", "start", "huge", "step", to="long"),
    _cast("long", "odd", 1),
    start=np.array(0),
    huge=np.array(10**12),
    step=np.array(1),
)
_spoiled(
    "bomb_resize",
    _node("Resize", "four", "", "", "huge", mode="nearest"),
    four=np.ones((1, 1, 1, 1), np.float32),
    huge=np.array([1, 1, 10**6, 10**6]),
)
_spoiled(
    "bomb_resize_scale",
    _node("Resize", "four", "", "huge", mode="nearest"),
    four=np.ones((1, 1, 1, 1), np.float32),
    huge=np.array([1, 1, 1e6, 1e6], np.float32),
)
_spoiled("bomb_pad", _node("Pad", "one", "huge"), huge=np.array([0, 10**12]))
_spoiled("bomb_negative_pad", _node("Pad", "one", "huge"), huge=np.array([10**12, -(10**12)]))
_spoiled(
    "bomb_outer_product",
    _node("MatMul", "tall", "wide"),
    tall=np.ones((10**5, 1), np.float32),
    wide=np.ones((1, 10**5), np.float32),
)
_spoiled(
    "bomb_folded_sum",
    _node("Add", "tall", "wide"),
    tall=np.ones((10**5, 1), np.float32),
    wide=np.ones((1, 10**5), np.float32),
)
_spoiled(
    "bomb_doubling",
    *(_node("Concat", f"x{i}", f"x{i}", to=f"x{i + 1}", axis=0) for i in range(40)),
    _node("Identity", "x40"),
    x0=np.ones(1, np.float32),
)
_spoiled(
    "bomb_many_values",
    *(_node("Add", "square", "one", to=f"x{i}") for i in range(2000)),
    _node("Identity", "x1999"),
    square=np.ones((1000, 1000), np.float32),
)
_spoiled(
    "bomb_of_work",
    *(_node("MatMul", "square" if not i else f"x{i - 1}", "square", to=f"x{i}") for i in range(50)),
    _node("Identity", "x49"),
    square=np.ones((1000, 1000), np.float32),
)
_spoiled(
    "bomb_kernel",
    _node("Conv", "four", "kernel1", pads=[10**6] * 4),
    four=np.ones((1, 1, 1, 1), np.float32),
    kernel1=np.ones((1, 1, 1, 1), np.float32),
)
_spoiled(
    "bomb_pooling",
    _node("MaxPool", "four", kernel_shape=[1, 1], pads=[10**6] * 4),
    four=np.ones((1, 1, 1, 1), np.float32),
)
_spoiled(
    "bomb_by_batch",
    _node("Shape", "image", to="shape"),
    _node("Gather", "shape", "zero", to="count"),
    _node("Mul", "count", "huge", to="long"),
    _node("Squeeze", "long", to="scalar"),
    _node("Range", "start", "scalar", "step", to="numbers"),
    _cast("numbers", "odd", 1),
    zero=np.array([0]),
    huge=np.array([10**9]),
    start=np.array(0),
    step=np.array(1),
)
_spoiled(
    "bomb_by_picture",
    _cast("probs_before", "whole", 7),
    _node("ReduceMax", "whole", "axis", to="scalar", keepdims=0),
    _node("Mul", "scalar", "huge", to="long"),
    _node("Range", "start", "long", "step", to="numbers"),
    _cast("numbers", "odd", 1),
    axis=np.array([1]),
    huge=np.array(10**12),
    start=np.array(0),
    step=np.array(1),
)
_spoiled("mixes_pictures", _node("Reshape", "probs_before", "flat"), flat=np.array([3, -1]))
_spoiled("mixes_pictures_by_sum", _node("ReduceSum", "probs_before", "axis"), axis=np.array([0]))
_spoiled("value_missing", _node("Relu", "nowhere"))
_spoiled("value_twice", _node("Relu", "one"), _node("Relu", "one"))
_spoiled("value_later", _node("Relu", "later"), _node("Relu", "one", to="later"))
_spoiled("attribute_unknown", _node("Relu", "one", path="/etc/passwd"))
_spoiled("weights_nan", _node("Identity", "bad"), bad=np.array([np.nan], np.float32))
_spoiled("weights_infinite", _node("Identity", "bad"), bad=np.full(10, -np.inf, np.float32))
_spoiled("strings", _node("Identity", "one"), bad=np.array(["a", "b"], object))
_spoiled("complex_numbers", _node("Identity", "one"), bad=np.ones(3, np.complex64))

# What is wrong with these shows only when they run.
AT_RUN = ("answers_nan.onnx", "answers_2.onnx", "places_out_of_range.onnx")
_spoiled("answers_nan", _node("Log", "minus", to="nothing"), minus=np.array([-1], np.float32))
_spoiled("answers_2", _node("Identity", "two", to="nothing"), two=np.array([2], np.float32))
_spoiled(
    "places_out_of_range",
    _cast("image", "whole", 7),
    _node("Gather", "table", "whole", to="picked", axis=0),
    _node("Flatten", "picked", to="row", axis=1),
    _node("ReduceMax", "row", "axis", to="nothing", keepdims=1),
    table=np.ones(1, np.float32),
    axis=np.array([1]),
)


# --- around the graph ----------------------------------------------------------------------------


def _opset(version: int) -> Change:
    def change(model: Any) -> None:
        model.opset_import[0].version = version

    return change


def _set(field: str, value: Any) -> Change:
    return lambda model: setattr(model, field, value)


def _input(
    kind: int = TensorProto.UINT8, shape: Any = ("N", "H", "W", 3), name: str = "image"
) -> Change:
    def change(model: Any) -> None:
        for node in model.graph.node:
            node.input[:] = [name if value == "image" else value for value in node.input]
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info(name, kind, shape))

    return change


def _output(kind: int, shape: Any) -> Change:
    def change(model: Any) -> None:
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("probs", kind, shape))

    return change


def _training(model: Any) -> None:
    model.training_info.add().algorithm.CopyFrom(_graph_of("x"))


def _function(model: Any) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("my", "Relu", ["x"], ["y"], [node], opset))


def _sparse_weights(model: Any) -> None:
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**12]))


def _wrong_dims(dims: list[int]) -> Change:
    def change(model: Any) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _wrong_value_info(model: Any) -> None:
    info = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 10**9])
    model.graph.value_info.append(info)


def _more_outputs(model: Any) -> None:
    model.graph.output.append(
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 4])
    )


def _two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


_changed("opset_99", _opset(99))
_changed("opset_1", _opset(1))
_changed("opset_none", lambda model: model.ClearField("opset_import"))
_changed("opset_twice", lambda model: model.opset_import.add(domain="ai.onnx", version=18))
_changed("ir_99", _set("ir_version", 99))
_changed("ir_negative", _set("ir_version", -1))
_changed("training_info", _training)
_changed("functions", _function)
_changed("sparse_weights", _sparse_weights)
_changed("weights_larger_than_said", _wrong_dims([1]))
_changed("weights_smaller_than_said", _wrong_dims([10**9, 10**9]))
_changed("weights_of_negative_size", _wrong_dims([-1, 4]))
_changed("note_that_lies", _wrong_value_info)
_changed("input_of_other_name", _input(name="picture"))
_changed("input_of_floats", _input(TensorProto.FLOAT))
_changed("input_of_three_axes", _input(shape=("N", "W", 3)))
_changed("input_of_fixed_size", _input(shape=("N", 10**6, 10**6, 3)))
_changed("input_of_a_batch", _input(shape=(10**6, "H", "W", 3)))
_changed("inputs_two", _two_inputs)
_changed("inputs_none", lambda model: model.graph.ClearField("input"))
_changed("outputs_none", lambda model: model.graph.ClearField("output"))
_changed("outputs_more", _more_outputs)
_changed("output_of_other_width", _output(TensorProto.FLOAT, ["N", 4]))
_changed("output_of_whole_numbers", _output(TensorProto.INT64, ["N", 3]))
_changed("graph_none", lambda model: model.ClearField("graph"))
