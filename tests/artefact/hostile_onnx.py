"""Hostile `.onnx` files: each is a small good model of ours with one thing wrong."""

import json
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from good_model import Kit, inside
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[Any], None]

CASES: dict[str, Callable[[Kit, Path], Path | None]] = {}


def _file(name: str) -> Callable[[Callable[[Kit], bytes]], None]:
    """A case that is a file of these bytes."""

    def register(make: Callable[[Kit], bytes]) -> None:
        CASES[f"{name}.onnx"] = lambda kit, file: file.write_bytes(make(kit)) and None

    return register


def _changed(name: str, change: Change) -> None:
    """A case that is the good model with a change of its message."""

    def make(kit: Kit, file: Path) -> None:
        model = onnx.load_from_string(kit.model)
        change(model)
        file.write_bytes(model.SerializeToString())

    CASES[f"{name}.onnx"] = make


# --- no model at all -----------------------------------------------------------------------------


class _Touch:
    """What opens the canary, if it is ever unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._canary), "w"))


_file("empty")(lambda kit: b"")
_file("truncated")(lambda kit: kit.model[:-200])
_file("half")(lambda kit: kit.model[: len(kit.model) // 2])
_file("random")(lambda kit: np.random.default_rng(0).bytes(5000))
_file("zeros")(lambda kit: bytes(5000))
_file("text")(lambda kit: b"a model\n" * 100)
_file("html")(lambda kit: b"<!DOCTYPE html><title>Log in</title>")
_file("pickled")(lambda kit: pickle.dumps(_Touch(kit.canary)))
_file("ort_format")(lambda kit: struct.pack("<I4s", 16, b"ORTM") + bytes(500))
_file("an_archive")(lambda kit: kit.archive)
_file("hdf5")(lambda kit: b"\x89HDF\r\n\x1a\n" + bytes(500))
_file("first_byte_only")(lambda kit: b"\x08")
_file("endless_number")(lambda kit: b"\x08" + b"\xff" * 5000)
_file("huge_length")(lambda kit: kit.model + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
_file("second_graph")(lambda kit: kit.model + b"\x3a\x00")
_file("later_field")(lambda kit: kit.model + b"\xd2\x01\x00")
_file("old_group")(lambda kit: kit.model + b"\x0b\x0c")
_file("many_fields")(lambda kit: b"\x08\x09" + b"\x42\x00" * 3_000_000)
_file("no_utf8")(lambda kit: kit.model.replace(b"features", b"featur\xff\xfe"))


def _link(kit: Kit, file: Path) -> None:
    file.symlink_to(kit.canary)


def _pipe(kit: Kit, file: Path) -> None:
    os.mkfifo(file)


def _sparse(kit: Kit, file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


def _folder(kit: Kit, file: Path) -> None:
    file.mkdir()


def _pickle_by_name(kit: Kit, file: Path) -> Path:
    file = file.with_suffix(".pkl")
    file.write_bytes(pickle.dumps(_Touch(kit.canary)))
    return file


CASES["link_to_outside.onnx"] = _link
CASES["pipe.onnx"] = _pipe
CASES["a_terabyte.onnx"] = _sparse
CASES["folder.onnx"] = _folder
CASES["pickle_by_name.onnx"] = _pickle_by_name


# --- the manifest inside -------------------------------------------------------------------------


def _manifest(name: str, **values: Any) -> None:
    def change(model: Any) -> None:
        inside(model, sharpeye=json.dumps(json.loads(inside(model)["sharpeye"]) | values))

    _changed(f"manifest_{name}", change)


def _manifest_text(name: str, make: Callable[[str], str]) -> None:
    def change(model: Any) -> None:
        inside(model, sharpeye=make(inside(model)["sharpeye"]))

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
_manifest("input_channels", input={"height": 16, "width": 16, "channels": 10**6})
_manifest("model_object", model={"$ref": "/etc/passwd"})
_manifest("calibration_text", calibration={"temperature": "1"})
_manifest("coverage_2", unknown={"coverage": 2})
_manifest("calibrated_on_text", unknown={"calibrated_on": "many"})
_changed("manifest_changed", lambda model: _prop(model, "manifest_sha256", "0" * 64))
_changed("metadata_missing", lambda model: model.ClearField("metadata_props"))
_changed("metadata_labels", lambda model: _prop(model, "labels", '["x", "y", "z"]'))
_changed("metadata_input", lambda model: _prop(model, "input", '{"height": 9, "width": 9}'))
_changed("metadata_input_list", lambda model: _prop(model, "input", "[]"))
_changed("metadata_twice", lambda model: model.metadata_props.add(key="labels", value="[]"))


def _prop(model: Any, key: str, value: str) -> None:
    next(each for each in model.metadata_props if each.key == key).value = value


# --- files beside the model ----------------------------------------------------------------------


def _external(name: str, where: Callable[[Kit, Path], str]) -> None:
    def make(kit: Kit, file: Path) -> None:
        model = onnx.load_from_string(kit.model)
        tensor = next(each for each in model.graph.initializer if each.name == "kernel")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", where(kit, file)), ("offset", "0"), ("length", "432")):
            tensor.external_data.add(key=key, value=value)
        file.write_bytes(model.SerializeToString())

    CASES[f"external_{name}.onnx"] = make


def _linked(kit: Kit, file: Path) -> str:
    (file.parent / "weights.bin").symlink_to(kit.canary)
    return "weights.bin"


_external("absolute", lambda kit, file: str(kit.canary))
_external("parent", lambda kit, file: os.path.relpath(kit.canary, file.parent))
_external("link", _linked)
_external("in_memory", lambda kit, file: "*/_ORT_MEM_ADDR_/*")
_external("address", lambda kit, file: "http://127.0.0.1:9/weights")


def _location_only(model: Any) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


_changed("external_without_place", _location_only)


# --- what a graph may be made of -----------------------------------------------------------------


def _spoilt(name: str, *nodes: Any, **constants: Any) -> None:
    _changed(name, lambda model: spoil(model, nodes, constants))


def spoil(model: Any, nodes: Sequence[Any], constants: dict[str, Any]) -> None:
    """Add nodes that `probs` need: the first number of `odd`, times 0, is added to them.

    Nodes that make `nothing`, which is added, are asked for themselves; `one` is float32[1].
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
    everything = {
        "none": np.zeros(1, np.float32),
        "one": np.ones(1, np.float32),
        "any": np.array([-1]),
        "begin": np.array([0]),
        "end": np.array([1]),
        **constants,
    }
    for name, value in everything.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _node(op: str, *inputs: str, to: str = "odd", **more: Any) -> Any:
    return helper.make_node(op, list(inputs), [to], **more)


def _cast(value: str, to: str, kind: int) -> Any:
    return helper.make_node("Cast", [value], [to], to=kind)


def _graph_of(output: str) -> Any:
    """A subgraph that makes 4 TB."""
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

_spoilt("op_unknown", _node("Detonate", "one"))
_spoilt("op_custom", _node("Detonate", "one", domain="my.operations"))
_spoilt("op_microsoft", _node("EPContext", domain="com.microsoft", ep_cache_context="x.bin"))
_spoilt("op_training", _node("Identity", "one", domain="ai.onnx.preview.training"))
_spoilt(
    "op_if",
    _node("If", "yes", then_branch=_graph_of("a"), else_branch=_graph_of("b")),
    yes=_TRUE,
    huge=_HUGE,
)
_spoilt("op_loop", _node("Loop", "times", "yes", "one", body=_BODY), times=_TIMES, yes=_TRUE)
_spoilt("op_scan", _node("Scan", "one", body=_BODY, num_scan_inputs=1))
_spoilt("op_hidden_graph", _node("Relu", "one", body=_BODY))
_spoilt("op_random", _node("RandomNormal", shape=[10**6, 10**6]))
_spoilt("op_with_two_outputs", helper.make_node("Dropout", ["one"], ["odd", "mask"]))
_spoilt("bomb_constant_of_shape", _node("ConstantOfShape", "huge"), huge=_HUGE)
_spoilt("bomb_constant", _node("Constant", value_floats=[1.0] * 1000))
_spoilt("bomb_expand", _node("Expand", "one", "huge"), huge=_HUGE)
_spoilt("bomb_tile", _node("Tile", "one", "huge"), huge=_HUGE)
_spoilt(
    "bomb_range",
    _node("Range", "start", "huge", "step", to="long"),
    _cast("long", "odd", 1),
    start=np.array(0),
    huge=np.array(10**12),
    step=np.array(1),
)
_spoilt(
    "bomb_resize",
    _node("Resize", "four", "", "", "huge", mode="nearest"),
    four=np.ones((1, 1, 1, 1), np.float32),
    huge=np.array([1, 1, 10**6, 10**6]),
)
_spoilt(
    "bomb_resize_scale",
    _node("Resize", "four", "", "huge", mode="nearest"),
    four=np.ones((1, 1, 1, 1), np.float32),
    huge=np.array([1, 1, 1e6, 1e6], np.float32),
)
_spoilt("bomb_pad", _node("Pad", "one", "huge"), huge=np.array([0, 10**12]))
_spoilt("bomb_negative_pad", _node("Pad", "one", "huge"), huge=np.array([10**12, -(10**12)]))
_spoilt(
    "bomb_outer_product",
    _node("MatMul", "tall", "wide"),
    tall=np.ones((10**5, 1), np.float32),
    wide=np.ones((1, 10**5), np.float32),
)
_spoilt(
    "bomb_folded_sum",
    _node("Add", "tall", "wide"),
    tall=np.ones((10**5, 1), np.float32),
    wide=np.ones((1, 10**5), np.float32),
)
_spoilt(
    "bomb_doubling",
    *(_node("Concat", f"x{i}", f"x{i}", to=f"x{i + 1}", axis=0) for i in range(40)),
    _node("Identity", "x40"),
    x0=np.ones(1, np.float32),
)
_spoilt(
    "bomb_many_values",
    *(_node("Add", "square", "one", to=f"x{i}") for i in range(2000)),
    _node("Identity", "x1999"),
    square=np.ones((1000, 1000), np.float32),
)
_spoilt(
    "bomb_of_work",
    *(_node("MatMul", "square" if not i else f"x{i - 1}", "square", to=f"x{i}") for i in range(50)),
    _node("Identity", "x49"),
    square=np.ones((1000, 1000), np.float32),
)
_spoilt(
    "bomb_kernel",
    _node("Conv", "four", "kernel1", pads=[10**6] * 4),
    four=np.ones((1, 1, 1, 1), np.float32),
    kernel1=np.ones((1, 1, 1, 1), np.float32),
)
_spoilt(
    "bomb_pooling",
    _node("MaxPool", "four", kernel_shape=[1, 1], pads=[10**6] * 4),
    four=np.ones((1, 1, 1, 1), np.float32),
)
_spoilt(
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
_spoilt(
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
_spoilt("mixes_pictures", _node("Reshape", "probs_before", "flat"), flat=np.array([3, -1]))
_spoilt("mixes_pictures_by_sum", _node("ReduceSum", "probs_before", "axis"), axis=np.array([0]))
_spoilt("value_missing", _node("Relu", "nowhere"))
_spoilt("value_twice", _node("Relu", "one"), _node("Relu", "one"))
_spoilt("value_later", _node("Relu", "later"), _node("Relu", "one", to="later"))
_spoilt("attribute_unknown", _node("Relu", "one", path="/etc/passwd"))
_spoilt("weights_nan", _node("Identity", "bad"), bad=np.array([np.nan], np.float32))
_spoilt("weights_infinite", _node("Identity", "bad"), bad=np.full(10, -np.inf, np.float32))
_spoilt("strings", _node("Identity", "one"), bad=np.array(["a", "b"], object))
_spoilt("complex_numbers", _node("Identity", "one"), bad=np.ones(3, np.complex64))

# Only an answer shows what is wrong with these.
AT_RUN = ("answers_nan.onnx", "answers_2.onnx", "places_out_of_range.onnx")
_spoilt("answers_nan", _node("Log", "minus", to="nothing"), minus=np.array([-1], np.float32))
_spoilt("answers_2", _node("Identity", "two", to="nothing"), two=np.array([2], np.float32))
_spoilt(
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


def _is(field: str, value: Any) -> Change:
    return lambda model: setattr(model, field, value)


def _input(
    kind: int = TensorProto.UINT8, shape: Any = ("N", "H", "W", 3), name: str = "image"
) -> Change:
    def change(model: Any) -> None:
        for node in model.graph.node:
            node.input[:] = [name if each == "image" else each for each in node.input]
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
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**12]))


def _lying_tensor(dims: list[int]) -> Change:
    def change(model: Any) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _noted(model: Any) -> None:
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
_changed("ir_99", _is("ir_version", 99))
_changed("ir_negative", _is("ir_version", -1))
_changed("training_info", _training)
_changed("functions", _function)
_changed("sparse_weights", _sparse_weights)
_changed("weights_larger_than_said", _lying_tensor([1]))
_changed("weights_smaller_than_said", _lying_tensor([10**9, 10**9]))
_changed("weights_of_negative_size", _lying_tensor([-1, 4]))
_changed("note_that_lies", _noted)
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
