"""Shapes that are inferred before a graph runs are those of its values; others are refused."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from good_model import small_model
from onnx import helper, numpy_helper

from localizer import SIDE, write_localizer
from sharpeye.artefact.verify.check_graph import OP_TABLE, check_graph
from sharpeye.artefact.verify.graph_inference import GraphError, InferredValue
from sharpeye.artefact.verify.onnx_parser import parse_onnx
from sharpeye.artefact.verify.protobuf_reader import OnnxFormatError
from sharpeye.core.types import FILTERS, RESIZE_MODES, InputSpec


def with_all_outputs(model: Any) -> bytes:
    """A model that outputs all of its values."""
    names = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.output[0] not in names:
            model.graph.output.add(name=node.output[0])
    return bytes(model.SerializeToString())


def compare_with_runtime(
    data: bytes, inferred: dict[str, InferredValue], image_shape: tuple[int, int, int]
) -> bool:
    """Fail unless ONNX Runtime computes values of the inferred shapes, for any batch.

    Returns whether the model ran: types, for example, are checked by the runtime only.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(data, options)
    except Exception:  # ONNX Runtime has no common base for its errors
        return False
    for count in (1, 3):
        pixels = np.random.default_rng(0).integers(0, 256, (count, *image_shape), dtype=np.uint8)
        try:
            values = session.run(None, {session.get_inputs()[0].name: pixels})
        except Exception:
            return False
        for output, value in zip(session.get_outputs(), values, strict=True):
            expected = inferred[output.name]
            batch = (count,) if expected.batched else expected.shape[:1]
            assert value.shape == (*batch, *expected.shape[1:])
            if expected.data is not None and count == 1:
                known = np.ones(expected.shape, bool) if expected.known is None else expected.known
                np.testing.assert_array_equal(value[known], expected.data[known])
    return True


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("filtering", FILTERS)
@pytest.mark.parametrize("fit", RESIZE_MODES)
def test_all_shapes_of_written_graphs_are_inferred(
    fit: Any, filtering: Any, channels: int, tmp_path: Path
) -> None:
    spec = InputSpec(12, 20, fit, channels=channels, filter=filtering)
    small_model(tmp_path / "model.onnx", spec)
    data = with_all_outputs(onnx.load(tmp_path / "model.onnx"))
    inferred = check_graph(parse_onnx(data), (12, 20, 3))
    assert inferred["fitted"].shape == (1, 12, 20, channels)
    assert compare_with_runtime(data, inferred, (12, 20, 3))


def test_all_shapes_of_a_trained_model_and_a_localizer_are_inferred(
    trained: Path, tmp_path: Path
) -> None:
    for file, side in ((trained / "model.onnx", 64), (write_localizer(tmp_path / "x.onnx"), SIDE)):
        data, shape = with_all_outputs(onnx.load(file)), (side, side, 3)
        assert compare_with_runtime(data, check_graph(parse_onnx(data), shape), shape)


def test_a_file_is_parsed_as_onnx_parses_it(trained: Path) -> None:
    data = (trained / "model.onnx").read_bytes()
    ours, theirs = parse_onnx(data), onnx.load_from_string(data)
    assert ours.metadata == {entry.key: entry.value for entry in theirs.metadata_props}
    assert [ours.ir_version, ours.opset] == [theirs.ir_version, theirs.opset_import[0].version]
    for node, proto in zip(ours.nodes, theirs.graph.node, strict=True):
        assert (node.op, *node.inputs, node.output) == (proto.op_type, *proto.input, *proto.output)
        values = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        texts = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
        assert node.attributes == texts
    for tensor, proto in zip(ours.initializers, theirs.graph.initializer, strict=True):
        assert tensor.name == proto.name
        np.testing.assert_array_equal(tensor.values, numpy_helper.to_array(proto))


def change(model: Any, dice: random.Random) -> None:
    """Make one random change of a graph."""
    graph = model.graph
    node, kind = dice.choice(graph.node), dice.randrange(6)
    names = [name for node in graph.node for name in node.output]
    names += [tensor.name for tensor in graph.initializer] + ["image", ""]
    attributes = [attribute for attribute in node.attribute if attribute.type in (2, 7)]
    if kind == 0:
        node.op_type = dice.choice(sorted(OP_TABLE))
    elif kind == 1 and node.input:
        node.input[dice.randrange(len(node.input))] = dice.choice(names)
    elif kind == 2 and attributes:
        attribute = dice.choice(attributes)
        attribute.i = dice.choice([-3, -1, 0, 1, 2, 5, 2**62]) if attribute.type == 2 else 0
        attribute.ints[:1] = [dice.choice([-1, 0, 1, 2, 9, 2**40])] if attribute.type == 7 else []
    elif kind == 3:
        small = [tensor for tensor in graph.initializer if np.prod(tensor.dims) <= 16]
        tensor = dice.choice(small)
        values = numpy_helper.to_array(tensor).copy().reshape(-1)
        values[dice.randrange(values.size)] = dice.choice([0, 1, 2, 3, 5, 100])
        longer = np.concatenate([values, values[:1]])
        values = longer if dice.random() < 0.3 else values.reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    elif kind == 4 and node.input:
        del node.input[-1]
    elif kind == 5:
        name = dice.choice(["axis", "axes", "keepdims", "perm", "pads", "group", "to"])
        value = dice.choice([1, [1, 1], 2.5, "x", [0, 3, 1, 2]])
        node.attribute.append(helper.make_attribute(name, value))


def test_random_changes_are_refused_or_inferred_correctly(tmp_path: Path) -> None:
    """Seeded; 12,000 more were tried by hand, also on networks with box heads and OOD scores."""
    dice = random.Random(0)
    small_model(tmp_path / "model.onnx", InputSpec(16, 16))
    valid = (tmp_path / "model.onnx").read_bytes()
    refused = ran = 0
    for _ in range(400):
        model = onnx.load_from_string(valid)
        for _ in range(dice.randint(1, 3)):
            change(model, dice)
        data = with_all_outputs(model)
        try:
            inferred = check_graph(parse_onnx(data), (16, 16, 3))
        except (GraphError, OnnxFormatError):
            refused += 1
            continue
        ran += compare_with_runtime(data, inferred, (16, 16, 3))
    assert refused > 150
    assert ran > 30


def test_all_accepted_operations_are_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "model-file.md"
    listed = page.read_text(encoding="utf-8").partition("with the attributes that it writes:")[2]
    names = re.findall(r"`(\w+)`", listed.partition("- **Sizes**")[0])
    assert names == sorted(OP_TABLE)


def test_large_networks_are_accepted_and_larger_ones_are_not(tmp_path: Path) -> None:
    """A network may need more for larger images."""

    def convolved(side: int, width: int, times: int) -> Any:
        kernel = numpy_helper.from_array(np.ones((width, 3, 3, 3), np.float32), "first")
        again = numpy_helper.from_array(np.ones((width, width, 3, 3), np.float32), "again")
        nodes = [
            helper.make_node("Transpose", ["image"], ["upright"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["upright"], ["floats"], to=1),
            helper.make_node("Conv", ["floats", "first"], ["x0"], pads=[1] * 4),
        ]
        for i in range(times):
            nodes.append(helper.make_node("Conv", [f"x{i}", "again"], [f"x{i + 1}"], pads=[1] * 4))
        image = helper.make_tensor_value_info("image", 2, ["N", side, side, 3])
        last = helper.make_tensor_value_info(f"x{times}", 1, None)
        graph = helper.make_graph(nodes, "x", [image], [last], [kernel, again])
        opset = [helper.make_opsetid("", 18)]
        return parse_onnx(
            helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
        )

    # VGG-19 has 19.6 thousand million multiplications at 224 pixels.
    for side, width, times in ((224, 64, 10), (1024, 32, 10), (32, 256, 16)):
        check_graph(convolved(side, width, times), (side, side, 3))
    for side, width, times in ((224, 256, 10), (32, 256, 100), (4096, 256, 1)):
        with pytest.raises(GraphError, match="more memory or time"):
            check_graph(convolved(side, width, times), (side, side, 3))
